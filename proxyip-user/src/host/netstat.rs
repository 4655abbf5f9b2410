//! `/proc/net/netstat` of the calling thread's network namespace.
//!
//! By hand: procfs reads the namespace of the process, and brings readers of everything else in `/proc`.

use std::fs;

/// How often an accept queue was full; 0 if that cannot be read.
pub(crate) fn listen_overflows() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap_or_default();
    value(&text, "ListenOverflows").unwrap_or(0)
}

/// The file has a line of names, then a line of values.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let index = names.split(' ').position(|other| other == name)?;
    values.split(' ').nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netstat_is_read_by_name() {
        let text = "TcpExt: A ListenOverflows B\nTcpExt: 1 23 4\nIpExt: C\nIpExt: 9\n";
        assert_eq!(value(text, "ListenOverflows"), Some(23));
        assert_eq!(value("", "ListenOverflows"), None);
    }
}
