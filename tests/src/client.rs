//! curl on the client.

use std::net::{IpAddr, SocketAddr};

use crate::command::attempt;
use crate::site::Site;

/// What curl saw.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// curl's exit code.
    pub code: i32,
    /// The HTTP status, 0 without an answer.
    pub status: u16,
    /// The answer's body, trimmed.
    pub body: String,
    /// curl's own end of the connection.
    pub client: Option<SocketAddr>,
}

impl Fetched {
    /// The client's address and port as the fixture's nginx writes them.
    ///
    /// # Panics
    /// When there was no connection.
    #[must_use]
    pub fn client_words(&self) -> String {
        let client = self.client.expect("curl had a connection");
        format!("{} {}", client.ip(), client.port())
    }
}

/// Runs curl on the client with these arguments, the URL among them.
///
/// # Panics
/// When curl does not report its connection.
#[must_use]
pub fn curl(site: &Site, arguments: &[&str]) -> Fetched {
    let mut command = site.net.client.command("curl");
    let report = "\n%{http_code} %{local_port} %{local_ip}";
    let output = attempt(
        command.args(["-sS", "--noproxy", "*", "--max-time", "15", "-w", report]).args(arguments),
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, report) = text.rsplit_once('\n').expect("curl reports its connection");
    let mut words = report.split(' ');
    let mut next = || words.next().unwrap_or_default();
    let (status, port, address) = (next(), next(), next());
    let client = address.parse::<IpAddr>().ok().zip(port.parse().ok());
    Fetched {
        code: output.status.code().expect("curl was not killed"),
        status: status.parse().expect("a status code"),
        body: body.trim().to_owned(),
        client: client.map(SocketAddr::from),
    }
}
