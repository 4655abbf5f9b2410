//! The agent's API as a program of one's own would speak to it.
//!
//! By hand: a client library would not send the malformed requests that some tests are about.

use std::fmt::Debug;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::namespace::Namespace;

const TIMEOUT: Duration = Duration::from_secs(20);

/// A socket of either kind.
trait Stream: Read + Write + Debug + Send {
    fn end(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// A connection that stays open from request to request.
#[derive(Debug)]
pub struct Api {
    stream: BufReader<Box<dyn Stream>>,
    host: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// Its `Content-Type`, empty if it has none.
    pub content_type: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body's JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        let text = || String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{}: {error}: {}", self.status, text()))
    }
}

/// Connects to a Unix socket. What takes longer than 20 seconds fails.
pub(crate) fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket);
    let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
    stream.set_read_timeout(Some(TIMEOUT)).expect("SO_RCVTIMEO");
    stream.set_write_timeout(Some(TIMEOUT)).expect("SO_SNDTIMEO");
    stream
}

impl Api {
    /// Connects to the agent's socket. What takes longer than 20 seconds fails.
    ///
    /// # Panics
    /// When nobody answers there.
    #[must_use]
    pub fn connect(socket: &Path) -> Self {
        let stream = connect(socket);
        Self { stream: BufReader::new(Box::new(stream)), host: "proxyip".into() }
    }

    /// Connects to an `IP:PORT` from inside `namespace`.
    ///
    /// # Panics
    /// When nobody answers there.
    #[must_use]
    pub fn connect_tcp(namespace: &Namespace, address: &str) -> Self {
        let stream = namespace.enter(|| TcpStream::connect(address));
        let stream = stream.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_read_timeout(Some(TIMEOUT)).expect("SO_RCVTIMEO");
        stream.set_write_timeout(Some(TIMEOUT)).expect("SO_SNDTIMEO");
        Self { stream: BufReader::new(Box::new(stream)), host: address.into() }
    }

    /// Names this host in requests.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The status of the answer and its JSON.
    ///
    /// # Panics
    /// When it is no HTTP with JSON.
    pub fn request(&mut self, method: &str, path: &str) -> (u16, Value) {
        let reply = self.reply(method, path);
        (reply.status, reply.json())
    }

    /// The JSON of an answer with status 200.
    ///
    /// # Panics
    /// When the status is different.
    pub fn get(&mut self, path: &str) -> Value {
        let (status, json) = self.request("GET", path);
        assert_eq!(status, 200, "{path}: {json}");
        json
    }

    /// The answer, with any status and content type.
    ///
    /// # Panics
    /// When it is not HTTP.
    pub fn reply(&mut self, method: &str, path: &str) -> Reply {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        self.send(request.as_bytes()).expect("the agent reads");
        self.receive().expect("the agent answers")
    }

    /// Writes bytes, which may be no HTTP.
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
        self.stream.get_ref().end().expect("a connection");
    }

    /// Reads the next answer.
    ///
    /// # Errors
    /// Those of `read(2)`, and the end of the connection.
    ///
    /// # Panics
    /// When what comes is no HTTP.
    pub fn receive(&mut self) -> io::Result<Reply> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.expect("a status line");
        let (mut length, mut chunked, mut content_type) = (0, false, String::new());
        loop {
            let line = self.line()?.to_ascii_lowercase();
            let Some((name, value)) = line.split_once(':') else { break };
            match (name, value.trim()) {
                ("content-length", value) => length = value.parse().expect("a length"),
                ("transfer-encoding", "chunked") => chunked = true,
                ("content-type", value) => value.clone_into(&mut content_type),
                _ => {}
            }
        }
        let body = if chunked { self.chunks()? } else { self.bytes(length)? };
        Ok(Reply { status, content_type, body })
    }

    /// Everything up to the end of the connection, in order or not.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }

    /// Reads once, at most so many bytes.
    ///
    /// # Errors
    /// Those of `read(2)`.
    pub fn read_some(&mut self, most: usize) -> io::Result<usize> {
        self.stream.read(&mut vec![0; most])
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).expect("the length of a chunk");
            body.extend(self.bytes(length)?);
            assert_eq!(self.line()?, "", "the end of a chunk");
            if length == 0 {
                return Ok(body);
            }
        }
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

/// Asks the agent's socket as a monitoring script would.
#[must_use]
pub fn is_ready(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).and_then(|()| stream.read_to_end(&mut answer)).is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}
