//! `holdfast-edge`: the agent, its local commands, and by argv[0] the CNI plugin.

mod alone;
mod cli;
mod clock_offset;
mod config;
mod connect;
mod dataplane;
mod dialing;
mod docker;
mod happenings;
mod host;
mod identity;
mod local;
mod network;
mod probe;
mod run;
mod token_key;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let program = std::env::args().next().unwrap_or_default();
    if program.rsplit('/').next() == Some(holdfast_cni::PLUGIN_NAME) {
        return cni_plugin();
    }
    let cli = cli::Cli::parse();
    let outcome = match cli.command {
        cli::Command::Agent(flags) => run::agent(flags),
        cli::Command::Docker { command } => docker_command(&command),
        cli::Command::Local(command) => local::client::run(&cli.socket, command),
    };
    match outcome {
        Ok(code) => code,
        Err(err) => {
            eprintln!("holdfast-edge: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn docker_command(command: &cli::DockerCommand) -> anyhow::Result<ExitCode> {
    let cli::DockerCommand::Forget = command;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(docker::forward::forget()).map_err(anyhow::Error::msg)? {
        true => println!("removed"),
        false => println!("nothing to remove"),
    }
    Ok(ExitCode::SUCCESS)
}

fn cni_plugin() -> ExitCode {
    let env = std::env::vars().collect();
    let code = holdfast_cni::plugin_main(&env, &mut std::io::stdin().lock(), &mut std::io::stdout().lock());
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
