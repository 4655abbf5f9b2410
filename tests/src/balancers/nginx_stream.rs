//! nginx as a load balancer.

use crate::process::Process;
use crate::site::Site;

/// nginx's stream module, which sends version 1 headers.
#[derive(Debug)]
pub struct NginxStream {
    _process: Process,
}

impl NginxStream {
    /// Listens on `port`, IPv4 and IPv6, and connects to `server`, `ADDRESS:PORT`.
    #[must_use]
    pub fn start(site: &Site, port: u16, server: &str) -> Self {
        let file = format!("nginx-stream-{port}");
        let home = site.scratch.directory().display();
        let config = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {home}/{file}.pid;
error_log {home}/{file}.log info;
events {{ worker_connections 1024; }}
stream {{
    server {{
        listen {port};
        listen [::]:{port};
        proxy_pass {server};
        proxy_protocol on;
    }}
}}
"
        );
        let config = site.scratch.write(&format!("{file}.conf"), &config);
        let mut command = site.net.balancer.command("nginx");
        command.args(["-c", &config, "-p", &home.to_string(), "-e"]);
        command.arg(site.scratch.path(&format!("{file}.log")));
        let process = Process::start(&file, site.scratch.directory(), &mut command);
        Self { _process: process.listening(&site.net.balancer, port) }
    }
}
