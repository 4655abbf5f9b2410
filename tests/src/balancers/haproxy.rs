//! `HAProxy`.

use crate::process::Process;
use crate::site::Site;

/// `HAProxy` in TCP mode: takes connections on IPv4 and IPv6 and passes them on to one server.
#[derive(Debug)]
pub struct HaProxy {
    _process: Process,
}

impl HaProxy {
    /// Listens on `port` and connects to `server` (`ADDRESS:PORT`, IPv6 without brackets). `settings` ends the
    /// `server` line, for example `send-proxy-v2`.
    #[must_use]
    pub fn start(site: &Site, port: u16, server: &str, settings: &str) -> Self {
        // One dual-stack socket would announce IPv4 clients as TCP6 with IPv4-mapped addresses.
        let config = format!(
            "global\n    maxconn 4000\n\
             defaults\n    mode tcp\n    timeout connect 10s\n    timeout client 10m\n    \
             timeout server 10m\n\
             listen front\n    bind :{port}\n    bind :::{port} v6only\n    \
             server s1 {server} {settings}\n"
        );
        let file = format!("haproxy-{port}");
        let config = site.scratch.write(&format!("{file}.cfg"), &config);
        let mut command = site.net.balancer.command("haproxy");
        command.args(["-db", "-f", &config]);
        let process = Process::start(&file, site.scratch.directory(), &mut command);
        Self { _process: process.listening(&site.net.balancer, port) }
    }
}
