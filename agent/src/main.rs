//! The binary `sealane`: parses, starts logging and hands over. Where an error meets the user.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Parser;
use sealane::{
    app,
    cli::{self, CaCommand, Cli, Command, OutputFormat, PolicyCommand},
    commands,
    config::{AgentConfig, CaServeConfig, GatewayConfig, KeepConfig, LogConfig},
    offload::sys,
    telemetry,
};

/// For what runs when everything has been told to end.
const LAST_STEPS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return unread(&error),
    };
    let output = command.output();
    match run(command) {
        Ok(code) => code,
        Err(error) => {
            let error = explain(&error);
            // Nothing is left to do when nobody reads.
            let _ = writeln!(io::stderr(), "sealane: {error}");
            failed(&error, output == Some(OutputFormat::Json))
        }
    }
}

/// Arguments that make no sense, or ask for help.
fn unread(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let json = cli::asks_for_json(env::args_os().skip(1));
    failed(&cli::complaint(error), json)
}

fn failed(error: &str, json: bool) -> ExitCode {
    if json {
        let answer = serde_json::json!({ "error": error });
        let _ = writeln!(io::stdout(), "{answer:#}");
    }
    ExitCode::from(commands::FAILED)
}

/// The error and its causes, without those whose text the one above has already.
fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Agent(args) => {
            let config = AgentConfig::try_from(args.as_ref())?;
            serve(&config.serve.log.clone(), app::run(config))
        }
        Command::Gateway(args) => {
            let config = GatewayConfig::try_from(args.as_ref())?;
            serve(&config.serve.log.clone(), app::run_gateway(config))
        }
        Command::Status(args) => ask(commands::status(&args, &mut io::stdout())),
        Command::Connections(args) => ask(commands::connections(&args, &mut io::stdout())),
        Command::Certs(args) => ask(commands::certs(&args, &mut io::stdout())),
        Command::Flows(args) => ask(commands::flows(&args, &mut io::stdout())),
        Command::Verify(args) => ask(commands::verify(&args, &mut io::stdout())),
        Command::Capture(args) => ask(commands::capture(&args, &mut io::stdout())),
        Command::Explain(args) => ask(commands::explain(&args, &mut io::stdout())),
        Command::TlsCheck(args) => ask(commands::tls_check(&args, &mut io::stdout())),
        Command::AuthzCheck(args) => ask(commands::authz_check(&args, &mut io::stdout())),
        Command::Policy(PolicyCommand::Lint(args)) => commands::lint(&args, &mut io::stdout()),
        Command::Policy(PolicyCommand::Diff(args)) => ask(commands::diff(&args, &mut io::stdout())),
        Command::Ca(CaCommand::Serve(args)) => {
            let config = CaServeConfig::try_from(args.as_ref())?;
            serve(&config.log.clone(), app::serve_ca(config))
        }
        Command::Ca(CaCommand::Keep(args)) => {
            let config = KeepConfig::try_from(&args)?;
            serve(&config.log.clone(), commands::ca_keep(config))
        }
        Command::Ca(CaCommand::Status(args)) => ask(commands::ca_status(&args, &mut io::stdout())),
        Command::Ca(CaCommand::Rotate(args)) => ask(commands::ca_rotate(&args, &mut io::stdout())),
        Command::Ca(CaCommand::Issue(args)) => commands::ca_issue(&args, &mut io::stdout()),
        Command::Preflight(args) => commands::preflight(&args, &mut io::stdout()),
        Command::Cleanup(args) => commands::cleanup(&args, &mut io::stdout()),
    }
}

fn serve(
    log: &LogConfig,
    serving: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    sys::one_heap();
    telemetry::init(log).context("starting the log")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let served = runtime.block_on(serving);
    // Whatever hangs: it must not be for the kubelet to end this.
    runtime.shutdown_timeout(LAST_STEPS);
    served.map(|()| ExitCode::SUCCESS)
}

fn ask(question: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?
        .block_on(question)
}
