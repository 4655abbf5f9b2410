//! `proxyip config`

use anyhow::Result;
use clap::Subcommand;

use super::output::print;
use crate::config::schema::json_schema;

/// Print what the configuration file may have in it.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the JSON Schema of the configuration file, for editors and other programs.
    Schema,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.verb {
        Verb::Schema => print(serde_json::to_string_pretty(&json_schema())? + "\n"),
    }
}
