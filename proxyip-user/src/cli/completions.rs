//! `proxyip completions`

use anyhow::Result;
use clap::{Command, ValueEnum};
use clap_complete::generate;
use clap_complete::shells::{Bash, Fish, Zsh};

use super::output::print;

/// Print what a shell needs to complete this command line.
///
/// For bash, in `/usr/share/bash-completion/completions/proxyip`; for zsh, in a file named `_proxyip` in a directory
/// of `$fpath`; for fish, in `/usr/share/fish/vendor_completions.d/proxyip.fish`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script for this command line.
pub(super) fn run(arguments: &Arguments, command: Command) -> Result<()> {
    print(script(arguments.shell, command))
}

fn script(shell: Shell, mut command: Command) -> Vec<u8> {
    let mut script = Vec::new();
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
    use std::fs;
    use std::path::PathBuf;
    use std::process;

    use super::*;

    /// Calls the completion function as bash does, for the words behind the script's name.
    const ASK_BASH: &str = r#"source "$1"; shift
        COMP_WORDS=(proxyip "$@") COMP_CWORD=$# COMPREPLY=()
        _proxyip proxyip "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;

    /// The completion system is there only while somebody types, so what the script tells it is printed: of each verb
    /// and option its name.
    const ASK_ZSH: &str = r#"compdef() { }
        _describe() { print -rl -- ${${(P)4}%%:*} }
        _arguments() {
            if [[ $@[-1] != *'->'* ]]; then
                print -rl -- ${${${@#\(*\)}#\*}%%[=\[:]*}
            elif (( $#verbs )); then
                state=${@[-1]##*->} line=($verbs[1])
                shift verbs
            else
                print -rl -- ${${${@#\(*\)}#\*}%%[=\[:]*}
                ${@[-2]##*:}
            fi
        }
        source "$1"; shift
        verbs=($@[1,-2])
        _proxyip"#;

    const ASK_FISH: &str = r#"source $argv[1]; complete --do-complete "proxyip $argv[2..]""#;

    /// A shell with its script in a file.
    struct Tried {
        shell: Shell,
        directory: tempfile::TempDir,
    }

    impl Tried {
        fn new(shell: Shell) -> Self {
            let tried = Self { shell, directory: tempfile::tempdir().unwrap() };
            fs::write(tried.path(), script(shell, crate::cli::command())).unwrap();
            tried
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("script")
        }

        /// Runs the shell without anybody's settings, and returns what it prints.
        fn run(&self, options: &[&str], words: &[&str]) -> String {
            let (name, bare) = match self.shell {
                Shell::Bash => ("bash", ["--noprofile", "--norc"].as_slice()),
                Shell::Zsh => ("zsh", ["-f"].as_slice()),
                Shell::Fish => ("fish", ["--no-config"].as_slice()),
            };
            let mut command = process::Command::new(name);
            command.args(bare).args(options).arg(self.path()).args(words);
            let output = command.env("HOME", self.directory.path()).output();
            let output = output.unwrap_or_else(|error| {
                panic!("cannot run {name}: {error}; `cargo xtask test` installs it")
            });
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{name} {words:?}: {said}");
            String::from_utf8(output.stdout).unwrap()
        }

        fn check_syntax(&self) {
            self.run(&[if self.shell == Shell::Fish { "--no-execute" } else { "-n" }], &[]);
        }

        /// What it offers for these words; the last one is not complete.
        fn offered(&self, words: &[&str]) -> Vec<String> {
            let said = match self.shell {
                Shell::Bash => self.run(&["-c", ASK_BASH, "bash"], words),
                Shell::Zsh => self.run(&["-c", ASK_ZSH, "zsh"], words),
                Shell::Fish => self.run(&["-c", ASK_FISH], words),
            };
            let beginning = words.last().copied().unwrap_or_default();
            // fish says what each is for, behind a tab.
            let words = said.lines().filter_map(|line| line.split('\t').next());
            words.filter(|word| word.starts_with(beginning)).map(str::to_owned).collect()
        }

        /// A command is what `words` name; asks for its options, and for the verbs below it.
        fn assert_offered(&self, command: &Command, words: &[&str]) {
            let offered = self.offered(&[words, &["--"]].concat());
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                let option = format!("--{option}");
                assert!(
                    offered.contains(&option),
                    "{:?} {words:?} {option}: {offered:?}",
                    self.shell
                );
            }
            for verb in command.get_subcommands() {
                let words = [words, &[verb.get_name()]].concat();
                assert_eq!(self.offered(&words), [verb.get_name()], "{:?} {words:?}", self.shell);
                self.assert_offered(verb, &words);
            }
        }
    }

    #[test]
    fn each_shell_can_read_its_script() {
        for shell in Shell::value_variants() {
            Tried::new(*shell).check_syntax();
        }
    }

    #[test]
    fn bash_offers_each_verb_and_its_options() {
        Tried::new(Shell::Bash).assert_offered(&crate::cli::command(), &[]);
    }

    #[test]
    fn zsh_offers_each_verb_and_its_options() {
        Tried::new(Shell::Zsh).assert_offered(&crate::cli::command(), &[]);
    }

    #[test]
    fn fish_offers_each_verb_and_its_options() {
        Tried::new(Shell::Fish).assert_offered(&crate::cli::command(), &[]);
    }

    #[test]
    fn values_are_offered_too() {
        let columns = ["flows", "--columns", "cl"];
        for shell in [Shell::Bash, Shell::Fish] {
            assert_eq!(Tried::new(shell).offered(&columns), ["client"], "{shell:?}");
        }
        assert_eq!(Tried::new(Shell::Bash).offered(&["completions", "z"]), ["zsh"]);
    }

    #[test]
    fn what_begins_otherwise_is_not_offered() {
        for shell in Shell::value_variants() {
            let tried = Tried::new(*shell);
            assert_eq!(tried.offered(&["acl", "dis"]), ["disconnect"], "{shell:?}");
            assert_eq!(tried.offered(&["acl", "flows"]), Vec::<String>::new(), "{shell:?}");
            assert_eq!(tried.offered(&["flows", "--li"]), ["--listener"], "{shell:?}");
        }
    }
}
