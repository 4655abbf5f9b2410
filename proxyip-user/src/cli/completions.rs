//! `proxyip completions`

use anyhow::Result;
use clap::{CommandFactory, ValueEnum};
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};

use super::{Cli, print};

/// Print what a shell needs to complete this command line.
///
/// For bash, in a file of /usr/share/bash-completion/completions named proxyip; for zsh, in a file named _proxyip
/// in a directory of $fpath; for fish, in /`usr/share/fish/vendor_completions.d/proxyip.fish`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// A shell.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    print(script(arguments.shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let (mut command, mut script) = (Cli::command(), Vec::new());
    let name = "proxyip";
    match shell {
        Shell::Bash => generate(Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(Zsh, &mut command, name, &mut script),
        Shell::Fish => generate(Fish, &mut command, name, &mut script),
    }
    script
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What bash would offer for these words, the last of which is not complete.
    fn offered_by_bash(words: &[&str]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxyip.bash");
        std::fs::write(&path, script(Shell::Bash)).unwrap();
        let ask = r#"source "$1"; shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
            _proxyip proxyip "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", ask, "bash"]).arg(&path).arg("proxyip").args(words);
        let output = bash.output().expect("bash");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_verbs_options_and_values() {
        assert_eq!(offered_by_bash(&["fl"]), ["flows"]);
        assert_eq!(offered_by_bash(&["flows", "--li"]), ["--listener"]);
        assert_eq!(offered_by_bash(&["acl", "dis"]), ["disconnect"]);
        assert_eq!(offered_by_bash(&["completions", "z"]), ["zsh"]);
    }

    #[test]
    fn each_shell_knows_each_verb() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for verb in Cli::command().get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell:?}: {}", verb.get_name());
            }
        }
    }
}
