//! How commands end: each exit code, and what it means.

use std::process::ExitCode;

/// An ending of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A command without codes of its own has done what it was asked for.
    Done,
    /// It has not.
    Failed,
    /// The command line or the configuration file is wrong. For the command line clap exits, with the same code.
    Usage,
    /// `lookup`: the flow is known.
    Found,
    /// `lookup`: it is not.
    NotFound,
    /// `lookup`: the agent could not be asked.
    NoLookup,
    /// `acl test`: the client may connect.
    Allowed,
    /// `acl test`: it may not.
    Denied,
    /// `acl test`: the agent could not be asked.
    NoTest,
    /// `reload`: the configuration is in force.
    Reloaded,
    /// `reload`: the old configuration stays.
    Refused,
    /// `reload`: the agent could not be asked.
    NoReload,
    /// `check`: no mistakes.
    Clean,
    /// `check`: probably mistakes.
    Doubtful,
    /// `check`: certainly mistakes.
    Wrong,
    /// `check --diff`: nothing differs.
    Same,
    /// `check --diff`: something does.
    Different,
    /// `check --diff`: it cannot be said.
    NoDifference,
}

/// Commands whose exit codes mean the same, and the meanings of 0, 1 and 2.
pub(crate) struct Group {
    pub(crate) commands: &'static [&'static str],
    pub(crate) exits: [Exit; 3],
}

/// All commands.
pub(crate) const GROUPS: [Group; 6] = [
    Group {
        commands: &[
            "run",
            "flows",
            "status",
            "top",
            "detach",
            "acl",
            "listener",
            "explain",
            "config",
            "support",
            "completions",
            "man",
        ],
        exits: [Exit::Done, Exit::Failed, Exit::Usage],
    },
    Group { commands: &["lookup"], exits: [Exit::Found, Exit::NotFound, Exit::NoLookup] },
    Group { commands: &["acl test"], exits: [Exit::Allowed, Exit::Denied, Exit::NoTest] },
    Group { commands: &["reload"], exits: [Exit::Reloaded, Exit::Refused, Exit::NoReload] },
    Group { commands: &["check"], exits: [Exit::Clean, Exit::Doubtful, Exit::Wrong] },
    Group { commands: &["check --diff"], exits: [Exit::Same, Exit::Different, Exit::NoDifference] },
];

impl Exit {
    /// What the process exits with.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done
            | Self::Found
            | Self::Allowed
            | Self::Reloaded
            | Self::Clean
            | Self::Same => 0,
            Self::Failed
            | Self::NotFound
            | Self::Denied
            | Self::Refused
            | Self::Doubtful
            | Self::Different => 1,
            Self::Usage
            | Self::NoLookup
            | Self::NoTest
            | Self::NoReload
            | Self::Wrong
            | Self::NoDifference => 2,
        }
    }

    /// What the documents say of it.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; `run`: ended by SIGINT or SIGTERM",
            Self::Failed => "failed; `acl disconnect`: also if one connection could not be ended",
            Self::Usage => "wrong usage or configuration file",
            Self::Found => "found",
            Self::NotFound => "not found",
            Self::NoLookup | Self::NoTest | Self::NoReload | Self::NoDifference => "any error",
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Reloaded => "the file is in force",
            Self::Refused => "the file was refused",
            Self::Clean => "nothing found",
            Self::Doubtful => "warnings, or findings in traffic",
            Self::Same => "no difference",
            Self::Different => "a difference",
            Self::Wrong => {
                "wrong usage or configuration file; or `proxyip run` would fail on this host"
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_command_has_its_codes() {
        let documented: BTreeSet<_> = GROUPS.iter().flat_map(|group| group.commands).collect();
        let command = Cli::command();
        for verb in command.get_subcommands() {
            assert!(documented.contains(&verb.get_name()), "{}", verb.get_name());
        }
        for name in documented {
            let (words, options): (Vec<_>, Vec<_>) =
                name.split(' ').partition(|word| !word.starts_with("--"));
            let found = words.iter().try_fold(&command, |at, word| at.find_subcommand(word));
            let found = found.unwrap_or_else(|| panic!("{name}"));
            let has = |option: &&str| {
                found.get_arguments().any(|one| one.get_long() == option.strip_prefix("--"))
            };
            assert!(options.iter().all(has), "{name}");
        }
    }

    #[test]
    fn a_group_has_the_codes_in_their_order() {
        for Group { commands, exits } in GROUPS {
            assert_eq!(exits.map(Exit::code), [0, 1, 2], "{commands:?}");
        }
    }

    #[test]
    fn clap_exits_with_the_code_of_wrong_usage() {
        let error = Cli::try_parse_from(["proxyip", "lookup"]).unwrap_err();
        for exit in [
            Exit::Usage,
            Exit::NoLookup,
            Exit::NoTest,
            Exit::NoReload,
            Exit::Wrong,
            Exit::NoDifference,
        ] {
            assert_eq!(i32::from(exit.code()), error.exit_code());
        }
    }
}
