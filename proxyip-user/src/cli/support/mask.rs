//! Hides addresses in texts that somebody else will read.

use std::net::{IpAddr, SocketAddr};

/// What stands for an address.
const MASK: &str = "[address]";

/// The text without the addresses in it; ports and prefix lengths stay unless they are part of `IP:PORT`.
pub(super) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find(is_part) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (run, behind) = from.split_at(end);
        out.push_str(before);
        // A sentence may go on with a colon or end with a full stop.
        let core = run.trim_end_matches(['.', ':']);
        let within_word = before.ends_with(is_word) || behind.starts_with(is_word);
        let is_address = core.parse::<IpAddr>().is_ok() || core.parse::<SocketAddr>().is_ok();
        // `fe80::` ends with colons of its own.
        let whole = run.parse::<IpAddr>().is_ok();
        match (whole || is_address) && !within_word {
            true if whole => out.push_str(MASK),
            true => {
                out.push_str(MASK);
                out.push_str(&run[core.len()..]);
            }
            false => out.push_str(run),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn is_part(c: char) -> bool {
    c.is_ascii_hexdigit() || matches!(c, '.' | ':')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hidden_and_nothing_else() {
        for (text, expected) in [
            ("client 203.0.113.9:51234 left", "client [address] left"),
            ("deny 203.0.113.0/24.", "deny [address]/24."),
            ("from [2001:db8::9]:443, 2001:db8::9", "from [[address]]:443, [address]"),
            ("::ffff:203.0.113.9: reset", "[address]: reset"),
            ("fe80:: and ::", "[address] and [address]"),
            ("at 10:38:31.123, proxyip 0.1.0", "at 10:38:31.123, proxyip 0.1.0"),
            ("Foo::bar add::face_it dead:beef", "Foo::bar add::face_it dead:beef"),
            ("proxyip.toml:3: listener.ports", "proxyip.toml:3: listener.ports"),
            (r#"{"client":"203.0.113.9:1"}"#, r#"{"client":"[address]"}"#),
            ("", ""),
        ] {
            assert_eq!(masked(text), expected);
        }
    }
}
