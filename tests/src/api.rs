//! The agent's API as a program of one's own would speak to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

/// A connection that stays open from request to request.
#[derive(Debug)]
pub struct Api {
    stream: BufReader<UnixStream>,
}

impl Api {
    /// Connects to the agent's socket.
    ///
    /// # Panics
    /// When nobody answers there.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket);
        let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        Self { stream: BufReader::new(stream) }
    }

    /// The status of the answer and its JSON.
    ///
    /// # Panics
    /// When it is no HTTP with JSON of a known length.
    pub fn request(&mut self, method: &str, path: &str) -> (u16, Value) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: proxyip\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes()).expect("the agent reads");
        let status = self.line();
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut length = None;
        loop {
            let line = self.line().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(number) = line.strip_prefix("content-length:") {
                length = Some(number.trim().parse().expect("a length"));
            }
        }
        let mut body = vec![0; length.expect("the length of the answer")];
        self.stream.read_exact(&mut body).expect("the agent answers");
        let json = serde_json::from_slice(&body).expect("the answer is JSON");
        (status.expect("a status line"), json)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("the agent answers");
        line.trim_end().to_owned()
    }
}
