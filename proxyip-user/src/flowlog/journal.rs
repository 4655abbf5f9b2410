//! The flow log's lines as entries of the systemd journal.

use std::io::{self, Write};

use anyhow::{Context, Result};
use log::{Level, Record};
use memchr::memchr;
use systemd_journal_logger::JournalLog;

/// `SYSLOG_IDENTIFIER` of the entries: `journalctl -t proxyip-flows`.
const IDENTIFIER: &str = "proxyip-flows";

/// Where journald listens.
pub(crate) const SOCKET: &str = "/run/systemd/journal/socket";

/// Makes an entry of each line that is written.
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
        let arguments = format_args!("{line}");
        // Becomes the journal's `info`; `Level::Info` becomes `notice`.
        self.0.journal_send(&Record::builder().level(Level::Debug).args(arguments).build())?;
        Ok(lines.len().min(end + 1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
