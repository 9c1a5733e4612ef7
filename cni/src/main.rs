//! The Margay CNI plugin, installed as `/opt/cni/bin/margay`.
//!
//! ```text
//!  environment, stdin ──► Call ──one gRPC call over a unix socket──► agent
//!                stdout ◄── result or error, JSON ◄──────────────────┘
//! ```
//!
//! It decides nothing and keeps nothing: no credentials, no files, no locks. What cannot be read is refused here with the specification's
//! code; everything else is the agent's to answer. An agent that is away or silent is a "try again later" within five seconds, which makes
//! the kubelet repeat the call, also DEL. `CNI_PATH` is not read, because no other plugin is delegated to.

mod agent;
mod call;
mod environment;

use call::Call;
use environment::{Environment, Verb};
use margay_proto::cni::{AddResult, Code, Error, NetworkConfig, Version, VersionReply};
use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let outcome = run(Instant::now() + PATIENCE);
    let (output, exit) = match outcome {
        Ok(output) => (output, ExitCode::SUCCESS),
        Err(error) => (json(&error), ExitCode::FAILURE),
    };
    // A runtime that closed its end of the pipe learns the outcome from the exit code.
    match std::io::stdout().write_all(output.as_bytes()) {
        Ok(()) => exit,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Answers the call; the text for standard output.
fn run(deadline: Instant) -> Result<String, Error> {
    // Read whatever else is wrong: a runtime must not find the pipe closed, and errors are told in the version of its configuration.
    let input = standard_input()?;
    let told = NetworkConfig::parse(&input).map_or_else(|_| Version::default(), |c| c.cni_version);
    let environment =
        Environment::read(|name| std::env::var_os(name)).map_err(|error| error.in_version(told))?;
    if environment.verb == Verb::Version {
        return Ok(json(&VersionReply::to(&input)));
    }
    let call = Call::parse(environment, &input)?;
    let version = call.version;
    let result =
        on_runtime(agent::ask(call, deadline)).map_err(|error| error.in_version(version))?;
    Ok(result.map_or_else(String::new, |result: AddResult| {
        json(&result.in_version(version))
    }))
}

fn on_runtime<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let failed = |e: std::io::Error| {
        Error::new(Code::IO_FAILURE, "cannot start the plugin").with_details(e.to_string())
    };
    runtime.map_err(failed)?.block_on(answer)
}

fn standard_input() -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Ok(input);
    }
    stdin
        .take(MAX_INPUT + 1)
        .read_to_end(&mut input)
        .map_err(|e| {
            Error::new(
                Code::IO_FAILURE,
                "network configuration cannot be read from standard input",
            )
            .with_details(e.to_string())
        })?;
    if input.len() as u64 > MAX_INPUT {
        return Err(Error::new(
            Code::INVALID_CONFIG,
            format!("network configuration is longer than {MAX_INPUT} bytes"),
        ));
    }
    Ok(input)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("results and errors hold only strings, numbers and lists")
}

/// From start to answer, connecting and retries included. Five seconds are promised; the rest is for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(4);
/// Bytes of standard input; a GC list of some ten thousand attachments, and below gRPC's limit of 4 MiB a message.
const MAX_INPUT: u64 = 1 << 20;
