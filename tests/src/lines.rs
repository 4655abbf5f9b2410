//! The agent's line protocol as a program of one's own would speak to it.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::api::connect;

/// A connection to the lookup socket.
#[derive(Debug)]
pub struct Lines {
    stream: BufReader<UnixStream>,
}

impl Lines {
    /// Connects. What takes longer than 20 seconds fails.
    ///
    /// # Panics
    /// When nobody answers there.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        Self { stream: BufReader::new(connect(socket)) }
    }

    /// The answer to a line, both without their ends.
    ///
    /// # Panics
    /// When none comes.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n").as_bytes()).expect("the agent reads");
        self.receive().expect("the agent answers")
    }

    /// Writes bytes in one call.
    ///
    /// # Errors
    /// Those of `write(2)`.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Sends nothing more.
    ///
    /// # Panics
    /// When the connection has ended.
    pub fn end(&self) {
        self.stream.get_ref().shutdown(Shutdown::Write).expect("a connection");
    }

    /// The next answer, without its end.
    ///
    /// # Errors
    /// Those of `read(2)`, and the end of the connection.
    pub fn receive(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end_matches('\n').to_owned()),
        }
    }
}
