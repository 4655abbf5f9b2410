//! `proxyip man`

mod configuration;

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

use super::output::print;

/// Print the manual page, or write all pages: one for each verb, and proxyip.toml(5).
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Write all pages here, such as in /usr/local/share/man/man1; it is made if it does not exist.
    ///
    /// If its name is man1, proxyip.toml(5) is written to man5 beside it.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// Prints or writes the pages of this command line.
pub(super) fn run(arguments: &Arguments, command: Command) -> Result<()> {
    let command = with_names(command);
    match &arguments.directory {
        Some(directory) => write(&command, directory),
        None => print(main_page(command)?),
    }
}

fn main_page(command: Command) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    page(command).render(&mut text)?;
    Ok(text)
}

fn write(command: &Command, directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .and_then(|()| write_below(command, directory))
        .and_then(|()| write_configuration(directory))
        .with_context(|| format!("the pages cannot be written to {}", directory.display()))
}

/// The page of the configuration file, which belongs to another section.
fn write_configuration(directory: &Path) -> io::Result<()> {
    let of_section = directory.file_name().is_some_and(|name| name == "man1");
    let directory = if of_section { directory.with_file_name("man5") } else { directory.into() };
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(configuration::NAME), configuration::page())
}

/// The page of a command, and those of its verbs.
fn write_below(command: &Command, directory: &Path) -> io::Result<()> {
    page(command.clone()).generate_to(directory)?;
    command.get_subcommands().try_for_each(|verb| write_below(verb, directory))
}

/// With the names that each verb has on the command line.
fn with_names(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

fn page(command: Command) -> Man {
    Man::new(command).source(concat!("proxyip ", env!("CARGO_PKG_VERSION"))).manual("proxyip")
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    fn command() -> Command {
        with_names(crate::cli::command())
    }

    /// The names of this command's pages and of those below it.
    fn pages(command: &Command, prefix: &str) -> Vec<String> {
        let name = format!("{prefix}{}", command.get_name());
        let below = command.get_subcommands().flat_map(|verb| pages(verb, &format!("{name}-")));
        std::iter::once(format!("{name}.1")).chain(below).collect()
    }

    #[test]
    fn each_verb_has_a_page_that_the_formatter_likes() {
        let directory = tempfile::tempdir().unwrap();
        write(&command(), directory.path()).unwrap();
        let expected = pages(&crate::cli::command(), "");
        assert!(expected.contains(&"proxyip-acl-disconnect.1".into()), "{expected:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), expected.len() + 1);
        assert_formats(&directory.path().join(configuration::NAME));
        for name in expected {
            let path = directory.path().join(&name);
            let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
                assert!(page.contains(part), "{name} has no {part}");
            }
            let title = format!(".TH {} 1 ", name.trim_end_matches(".1"));
            assert!(page.starts_with(&title) || page.contains(&title), "{name}: {page}");
            assert!(page.contains("proxyip 0."), "{name} does not name the version");
            assert_formats(&path);
        }
    }

    #[test]
    fn the_page_of_the_configuration_is_written_to_its_section() {
        let directory = tempfile::tempdir().unwrap();
        write(&command(), &directory.path().join("man1")).unwrap();
        let page = directory.path().join("man5").join(configuration::NAME);
        assert_eq!(fs::read_to_string(page).unwrap(), configuration::page());
        assert!(!directory.path().join("man1").join(configuration::NAME).exists());
    }

    /// With man-db's own formatter.
    fn assert_formats(page: &Path) {
        let mut man = process::Command::new("man");
        man.args(["--warnings", "--local-file"]).arg(page).env("MANPAGER", "cat");
        let output = man.env("MANWIDTH", "80").output().unwrap_or_else(|error| {
            panic!("cannot run man: {error}; `cargo xtask test` installs man-db")
        });
        assert!(output.status.success(), "{}: {output:?}", page.display());
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(warnings, "", "{}", page.display());
        assert!(!output.stdout.is_empty(), "{} is empty", page.display());
    }

    #[test]
    fn the_main_page_names_each_verb() {
        let page = String::from_utf8(main_page(command()).unwrap()).unwrap();
        for verb in crate::cli::command().get_subcommands() {
            let name = format!("proxyip\\-{}(1)", verb.get_name());
            assert!(page.contains(&name), "{name}: {page}");
        }
    }
}
