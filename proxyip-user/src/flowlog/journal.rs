//! The flow log's lines as entries of the systemd journal.

use std::io::{self, Write};

use anyhow::{Context, Result};
use log::{Level, Record};
use memchr::memchr;
use serde_json::{Map, Value};
use systemd_journal_logger::JournalLog;

/// `SYSLOG_IDENTIFIER` of the entries: `journalctl -t proxyip-flows`.
const IDENTIFIER: &str = "proxyip-flows";

/// Where journald listens.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// Texts of a JSON line that its entry has as fields, too, in capitals: `journalctl -t proxyip-flows LISTENER=web`. None
/// is the name of a field that the journal knows.
const FIELDS: [&str; 8] =
    ["event", "verdict", "reason", "listener", "client", "destination", "peer", "local"];

/// Makes an entry of each line that is written.
///
/// systemd-journal-logger asks for a [`Record`] where libsystemd asks for a message and fields. But it says at once
/// whether there is a journal, returns the error of each entry as it is, and needs no other crate. Both send an entry
/// that is too long for a datagram as a file in memory.
pub(crate) struct Journal(JournalLog);

impl Journal {
    /// Over the socket of journald's
    /// [native protocol](https://systemd.io/JOURNAL_NATIVE_PROTOCOL/).
    pub(crate) fn open() -> Result<Self> {
        let context = || {
            format!(
                "log.to: the systemd journal, {SOCKET}, cannot be written to; is systemd-journald running?"
            )
        };
        let log = JournalLog::empty().with_context(context)?;
        Ok(Self(log.with_syslog_identifier(IDENTIFIER.into())))
    }
}

impl Write for Journal {
    /// Takes the first line.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let end = memchr(b'\n', lines).unwrap_or(lines.len());
        let line = String::from_utf8_lossy(&lines[..end]);
        let members = members(&line);
        let fields: Vec<_> = fields(&members).collect();
        let mut record = Record::builder();
        // Becomes the journal's `info`; `Level::Info` becomes `notice`.
        record.level(Level::Debug).key_values(&fields);
        self.0.journal_send(&record.args(format_args!("{line}")).build())?;
        Ok(lines.len().min(end + 1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a JSON line has; a line of VPC has nothing.
fn members(line: &str) -> Map<String, Value> {
    serde_json::from_str(line).unwrap_or_default()
}

/// Names and values of the fields that the entry has beside the line itself.
fn fields(members: &Map<String, Value>) -> impl Iterator<Item = (&'static str, &str)> {
    FIELDS.into_iter().filter_map(|name| Some((name, members.get(name)?.as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields_of(line: &str) -> Vec<(&'static str, String)> {
        fields(&members(line)).map(|(name, value)| (name, value.to_owned())).collect()
    }

    #[test]
    fn texts_of_a_json_line_are_fields_and_other_lines_have_none() {
        let line =
            r#"{"event":"refuse","reason":5,"listener":"web","local":"[::1]:80","time":"T"}"#;
        let expected = [("event", "refuse"), ("listener", "web"), ("local", "[::1]:80")];
        assert_eq!(fields_of(line), expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(fields_of("2 - - 203.0.113.9 10.0.1.2 51234 443 6 ACCEPT OK"), []);
    }
}
