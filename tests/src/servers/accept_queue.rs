//! A program that has not called `accept()` yet.

use std::net::{TcpListener, TcpStream};

use crate::namespace::Namespace;

/// A listening socket. Only the test itself takes connections from it. Each connection that was ever established
/// waits in it, also if it has been reset since. A connection that is not there has never been there.
#[derive(Debug)]
pub struct AcceptQueue(TcpListener);

impl AcceptQueue {
    /// Listens on all addresses, IPv4 and IPv6.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn listen(namespace: &Namespace, port: u16) -> Self {
        let listener = namespace.enter(|| TcpListener::bind(("::", port))).expect("a listener");
        listener.set_nonblocking(true).expect("O_NONBLOCK");
        Self(listener)
    }

    /// Takes the next connection, if there is one.
    #[must_use]
    pub fn next(&self) -> Option<TcpStream> {
        self.0.accept().ok().map(|(stream, _)| stream)
    }
}
