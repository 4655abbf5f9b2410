//! What to write instead of a command line that lacks something.

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is missing, and how the whole may look.
const TIPS: [(&str, &str); 3] = [
    (
        "<CIDR>...",
        "the listener's name comes before the networks, as in `web 203.0.113.9`; `proxyip status` names the listeners",
    ),
    (
        "<CLIENT>",
        "the listener's name comes before the client, as in `web 203.0.113.9`; `proxyip status` names the listeners",
    ),
    (
        "--config <FILE>",
        "without a file, `proxyip run --interface eth0 --port 443 --trust 10.0.0.0/16` guards a port; `proxyip config \
         schema` prints what a file may have",
    ),
];

/// The error, with a tip if there is one.
pub(super) fn with_tip(mut error: Error) -> Error {
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
        && let Some((_, tip)) = TIPS.iter().find(|(what, _)| missing.iter().any(|one| one == what))
    {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![(*tip).into()]));
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn what_is_missing_has_a_tip() {
        for (line, part) in [
            ("acl deny 203.0.113.9", "name comes before the networks"),
            ("acl allow 203.0.113.0/24", "`web 203.0.113.9`"),
            ("acl test 203.0.113.9", "name comes before the client"),
            ("run", "--interface eth0 --port 443"),
        ] {
            let error = Cli::try_parse_from(["proxyip"].into_iter().chain(line.split(' ')));
            let text = with_tip(error.unwrap_err()).to_string();
            assert!(text.contains("tip: ") && text.contains(part), "{line}: {text}");
        }
        let error = Cli::try_parse_from(["proxyip", "lookup"]).unwrap_err();
        assert!(!with_tip(error).to_string().contains("tip: "));
    }
}
