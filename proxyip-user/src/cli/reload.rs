//! `proxyip reload`

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use hyper::Method;
use hyper::body::Bytes;
use proxyip_api::reload::Reloaded;

use super::exit::Exit;
use super::output::{fail, print};
use super::reading::{Reading, ask};
use crate::client::{self, ClientError};

/// A configuration may name lists of millions of networks.
const PATIENCE: Duration = Duration::from_mins(2);

/// Have the agent read its configuration file again, and say whether it is in force.
///
/// The agent also reopens its flow log. It does the same at SIGHUP, which says nothing.
///
/// Exit code: 0 the file is in force, 1 it was refused and the old configuration stays in force, 2 any other error.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    reading: Reading,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let (exit, sentence) = match ask(reload(arguments)) {
        Ok(Ok(())) => return Exit::Reloaded.into(),
        Ok(Err(sentence)) => (Exit::Refused, sentence),
        Err(error) => (Exit::NoReload, format!("{error:#}")),
    };
    fail(sentence, exit)
}

/// The inner error is the agent's: it refuses the file.
async fn reload(Arguments { reading }: &Arguments) -> Result<Result<(), String>> {
    let request = client::request_within(PATIENCE, &reading.socket, (Method::POST, "/v1/reload"));
    match request.await {
        Ok((reloaded, json)) => show(reading, &reloaded, &json).map(Ok),
        Err(ClientError::Refused { status, sentence }) if status.as_u16() == 409 => {
            Ok(Err(format!("the old configuration stays in force: {sentence}")))
        }
        Err(error) => Err(error.into()),
    }
}

fn show(reading: &Reading, reloaded: &Reloaded, json: &Bytes) -> Result<()> {
    if reading.json {
        return print([&json[..], b"\n"].concat());
    }
    for warning in &reloaded.warnings {
        writeln!(io::stderr(), "proxyip: warning: {warning}").ok();
    }
    print("the configuration is in force\n")
}
