//! `holdfast-wasm`: the process that runs a node's Wasm pods, and the short-lived compiler that it starts.

mod options;

use anyhow::Context;
use clap::Parser;
use options::{Command, Options, ServeOptions};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match Options::parse().command {
        Command::Compile { input, output, config } => {
            let code = holdfast_wasm_engine::run_compile_child(&input, &output, &config);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Command::Serve(options) => match serve(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(err) => {
                eprintln!("holdfast-wasm: {err:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log).with_context(|| format!("--log {:?}", options.log))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let config = options.host_config();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = CancellationToken::new();
        let serving = holdfast_wasm_host::serve(config, stop.clone());
        tokio::pin!(serving);
        tokio::select! {
            outcome = &mut serving => return outcome.map_err(anyhow::Error::from),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        serving.await.map_err(anyhow::Error::from)
    })
}
