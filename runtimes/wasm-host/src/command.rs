//! Running a command to its end: containers and exec sessions of `wasi:cli` components and core modules.

use crate::guest::{self, GuestSpec};
use crate::limits::MAX_TRAP_TEXT;
use crate::modules::Linked;
use holdfast_wasm_engine::WasmEngine;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

/// Exit code of a trap, as of a process that aborts.
pub const EXIT_TRAP: i32 = 134;
/// Exit code of a killed guest.
pub const EXIT_KILLED: i32 = 137;
/// Exit code of a guest that was asked to stop: it has no signal handler, so it ends like a process without one.
pub const EXIT_TERMINATED: i32 = 143;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit code.
    pub code: i32,
    /// `Completed`, `Error` or `OOMKilled`.
    pub reason: &'static str,
    /// What the trap says, if it was one.
    pub message: String,
}

impl Outcome {
    /// An ordinary end.
    pub fn exited(code: i32) -> Outcome {
        Outcome { code, reason: if code == 0 { "Completed" } else { "Error" }, message: String::new() }
    }
}

/// Runs the command. Dropping the future ends it at the next tick.
pub async fn run(engine: &WasmEngine, linked: &Linked, context: WasiCtxBuilder, spec: &GuestSpec) -> Outcome {
    let _running = engine.running();
    let (result, refused) = match linked {
        Linked::Command(pre) => {
            let mut store = guest::store(engine.engine(), context, spec);
            let result = async {
                let command = pre.instantiate_async(&mut store).await?;
                command.wasi_cli_run().call_run(&mut store).await
            };
            let result = spec.meter.run(result).await.map(|end| i32::from(end.is_err()));
            (result, store.data().limiter.refused)
        }
        Linked::Core(pre) => {
            let mut store = guest::core_store(engine.engine(), context, spec);
            let result = async {
                let instance = pre.instantiate_async(&mut store).await?;
                let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                start.call_async(&mut store, ()).await
            };
            let result = spec.meter.run(result).await.map(|()| 0);
            (result, store.data().limiter.refused)
        }
        Linked::Http(_) => (Err(wasmtime::Error::msg("a wasi:http component is no command")), false),
    };
    match result {
        Ok(code) => Outcome::exited(code),
        Err(err) => match err.downcast_ref::<I32Exit>() {
            Some(exit) => Outcome::exited(exit.0),
            // A guest that was refused memory mostly aborts: tell it as the kernel's out-of-memory killer would.
            None if refused => {
                Outcome { code: EXIT_KILLED, reason: "OOMKilled", message: "the memory limit was reached".into() }
            }
            None => Outcome { code: EXIT_TRAP, reason: "Error", message: trap_text(&err) },
        },
    }
}

/// What an error of a guest says, cut to a bearable length.
pub fn trap_text(err: &wasmtime::Error) -> String {
    let mut text = format!("{err:#}");
    if text.len() > MAX_TRAP_TEXT {
        let cut = (0..=MAX_TRAP_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}
