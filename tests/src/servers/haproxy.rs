//! `HAProxy` as a web server that reads PROXY headers itself.

use crate::process::Process;
use crate::site::Site;

/// Answers every HTTP request with `ADDRESS PORT` of the client that the header names.
#[derive(Debug)]
pub struct AcceptProxy {
    _process: Process,
}

impl AcceptProxy {
    /// Listens on `port` of IPv4.
    #[must_use]
    pub fn start(site: &Site, port: u16) -> Self {
        let config = format!(
            "defaults\n    mode http\n    timeout connect 10s\n    timeout client 10m\n    \
             timeout server 10m\n\
             frontend web\n    bind :{port} accept-proxy\n    \
             http-request return status 200 content-type text/plain \
             lf-string \"%[src] %[src_port]\\n\"\n"
        );
        let config = site.scratch.write("accept-proxy.cfg", &config);
        let mut command = site.server_command("haproxy");
        command.args(["-db", "-f", &config]);
        let process = Process::start("accept-proxy", site.scratch.directory(), &mut command);
        Self { _process: process.listening(&site.net.server, port) }
    }
}
