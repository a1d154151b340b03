//! Calls one plugin: ours in this process, others as the specification says.

use super::{Work, conflist};
use crate::error::{CniError, DECODING_FAILURE, IO_FAILURE, PodNetworkError};
use crate::{PLUGIN_NAME, plugin_main};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a plugin may take.
const PLUGIN_LIMIT: Duration = Duration::from_secs(60);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// Most that a plugin may print.
const MAX_OUTPUT: u64 = 4 << 20;

impl Work {
    /// Runs a plugin and returns what it printed. Blocks.
    pub(super) fn plugin(
        &self,
        verb: &'static str,
        plugin: &Value,
        env: &BTreeMap<String, String>,
        conf: &Value,
    ) -> Result<Vec<u8>, PodNetworkError> {
        let name = conflist::plugin_type(plugin);
        let input = conf.to_string();
        let outcome = if name == PLUGIN_NAME {
            let mut output = Vec::new();
            match plugin_main(env, &mut input.as_bytes(), &mut output) {
                0 => Ok(output),
                _ => Err(read_error(&output)),
            }
        } else {
            self.find(name).and_then(|path| execute(&path, env, input.as_bytes()))
        };
        outcome.map_err(|source| PodNetworkError::Plugin { plugin: name.to_string(), verb, source })
    }

    fn find(&self, name: &str) -> Result<PathBuf, CniError> {
        if name.contains('/') || name.starts_with('.') {
            return Err(CniError::with(IO_FAILURE, "invalid plugin name", name));
        }
        let found = self.config.plugin_dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
        found.ok_or_else(|| {
            let dirs: Vec<String> = self.config.plugin_dirs.iter().map(|dir| dir.display().to_string()).collect();
            CniError::with(IO_FAILURE, format!("failed to find plugin {name:?} in path"), dirs.join(":"))
        })
    }
}

fn read_error(output: &[u8]) -> CniError {
    serde_json::from_slice(output).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(output).trim().to_string();
        CniError::with(DECODING_FAILURE, "the plugin failed without an error that can be read", text)
    })
}

fn execute(path: &PathBuf, env: &BTreeMap<String, String>, input: &[u8]) -> Result<Vec<u8>, CniError> {
    let failed =
        |what: &str, err: &std::io::Error| CniError::with(IO_FAILURE, format!("{what} {}", path.display()), err);
    let mut child = Command::new(path)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|err| failed("cannot run", &err))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (output, status) = std::thread::scope(|scope| {
        // A plugin that does not read must not keep us: its end closes the pipe.
        scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
        let reader = scope.spawn(move || {
            let mut output = Vec::new();
            stdout.map(|pipe| pipe.take(MAX_OUTPUT).read_to_end(&mut output));
            output
        });
        let end = Instant::now() + PLUGIN_LIMIT;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break Err(std::io::Error::from(std::io::ErrorKind::TimedOut));
                }
                Err(err) => break Err(err),
            }
        };
        (reader.join().unwrap_or_default(), status)
    });
    match status {
        Err(err) => Err(failed("waiting for", &err)),
        Ok(status) if status.success() => Ok(output),
        Ok(_) => Err(read_error(&output)),
    }
}
