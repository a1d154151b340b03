//! Compiling, in a short-lived child with limits.
//!
//! The code generator takes up to 150 MB and is fed by foreign bytes: a child gives all memory back, and neither
//! its hunger nor its crash touches running pods.

use crate::{EngineConfig, EngineError, Form, form_of};
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use wasmtime::Engine;

/// Longest message that a child says before it dies, in bytes.
const MAX_MESSAGE: u64 = 4 << 10;
/// Exit code of a child that refuses the module.
const EXIT_NOT_WASM: i32 = 65;

/// Where code is compiled.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// In a child: `program compile --input … --output … --config …`, see [`run_compile_child`].
    Child {
        /// The program.
        program: PathBuf,
    },
    /// In this process, without limits: for tests.
    InProcess,
}

impl Compiler {
    /// Compiles the file `input` into the new file `output`. Blocks, for at most the configured time.
    ///
    /// # Errors
    /// What is wrong with the module, or that a limit was hit.
    pub fn compile(&self, config: &EngineConfig, input: &Path, output: &Path) -> Result<(), EngineError> {
        match self {
            Compiler::InProcess => {
                let bytes = std::fs::read(input).map_err(EngineError::file("cannot read", input))?;
                let code = compile_in_this_process(config, &bytes)?;
                std::fs::write(output, code).map_err(EngineError::file("cannot write", output))
            }
            Compiler::Child { program } => compile_in_child(program, config, input, output),
        }
    }
}

/// Compiles bytes here and now.
///
/// # Errors
/// What is wrong with the module.
pub fn compile_in_this_process(config: &EngineConfig, bytes: &[u8]) -> Result<Vec<u8>, EngineError> {
    let form = form_of(bytes)?;
    let engine = Engine::new(&config.for_compiling()).map_err(|err| EngineError::Setup(format!("{err:#}")))?;
    match form {
        Form::Component => engine.precompile_component(bytes),
        Form::Module => engine.precompile_module(bytes),
    }
    .map_err(|err| EngineError::Compile(format!("{err:#}")))
}

/// The work of the child: limits itself, reads `input`, writes `output`. Returns the exit code; the reason of a
/// failure went to standard error.
pub fn run_compile_child(input: &Path, output: &Path, config_word: &str) -> i32 {
    match compile_child(input, output, config_word) {
        Ok(()) => 0,
        Err(err) => {
            let code = if matches!(err, EngineError::NotWasm(_)) { EXIT_NOT_WASM } else { 1 };
            let text: String = match err {
                EngineError::NotWasm(why) | EngineError::Compile(why) => why,
                other => other.to_string(),
            };
            eprint!("{}", text.chars().take(MAX_MESSAGE as usize / 4).collect::<String>());
            code
        }
    }
}

fn compile_child(input: &Path, output: &Path, config_word: &str) -> Result<(), EngineError> {
    let config = EngineConfig::from_word(config_word)?;
    let limit = |resource, most: u64| {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .map_err(|err| EngineError::Setup(format!("cannot limit the compiler: {err}")))
    };
    // Data counts what is really writable: thread stacks and the arenas in use, not the allocator's reservations.
    limit(Resource::Data, config.compile_memory_bytes)?;
    limit(Resource::Cpu, config.compile_timeout.as_secs().max(1))?;
    limit(Resource::Core, 0)?;
    // Nobody waits for the result once the host is gone.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|err| EngineError::Setup(err.to_string()))?;
    Compiler::InProcess.compile(&config, input, output)
}

fn compile_in_child(program: &Path, config: &EngineConfig, input: &Path, output: &Path) -> Result<(), EngineError> {
    let mut child = Command::new(program)
        .arg("compile")
        .arg("--input")
        .arg(input)
        .arg("--output")
        .arg(output)
        .arg("--config")
        .arg(config.to_word()?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(EngineError::file("cannot run", program))?;
    // Twice the CPU limit in wall time: a busy box still ends it by its own clock.
    let status = wait_until(&mut child, Instant::now() + config.compile_timeout * 2);
    let mut message = String::new();
    if let Some(stderr) = child.stderr.take() {
        // The child is gone, so the pipe ends; a message that is no UTF-8 is no message.
        let _ = stderr.take(MAX_MESSAGE).read_to_string(&mut message);
    }
    let message = message.trim().to_string();
    match status.map_err(EngineError::file("cannot wait for", program))? {
        None => Err(EngineError::Compile(format!("not done within {:?}", config.compile_timeout * 2))),
        Some(status) if status.success() => Ok(()),
        Some(status) if status.code() == Some(EXIT_NOT_WASM) => Err(EngineError::NotWasm(message)),
        Some(status) if status.code().is_some() && !message.is_empty() => Err(EngineError::Compile(message)),
        Some(status) => Err(EngineError::Compile(format!(
            "the compiler ended with {status} (limits: {} MiB, {:?}){}{message}",
            config.compile_memory_bytes >> 20,
            config.compile_timeout,
            if message.is_empty() { "" } else { ": " },
        ))),
    }
}

/// Waits for the end; at the deadline kills and returns `None`.
fn wait_until(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
