//! nginx as a web server, and the certificates that it needs for TLS.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::run;
use crate::process::Process;
use crate::site::Site;
use crate::wait::eventually;

/// nginx with one `server` block; its access log holds `ADDRESS PORT STATUS "REQUEST"`.
#[derive(Debug)]
pub struct Nginx {
    _process: Process,
    access_log: PathBuf,
    error_log: PathBuf,
}

impl Nginx {
    /// Serves HTTP on `port`, IPv4 and IPv6.
    #[must_use]
    pub fn plain(site: &Site, port: u16) -> Self {
        let listen = format!("listen {port}; listen [::]:{port};");
        Self::start(site, port, &listen)
    }

    /// Serves HTTP on `port` with one dual-stack socket.
    #[must_use]
    pub fn dual_stack(site: &Site, port: u16) -> Self {
        Self::start(site, port, &format!("listen [::]:{port} ipv6only=off;"))
    }

    /// Serves HTTP on `port` of IPv4 with these further parameters of the `listen` directive.
    #[must_use]
    pub fn with_parameters(site: &Site, port: u16, parameters: &str) -> Self {
        Self::start(site, port, &format!("listen {port} {parameters};"))
    }

    /// Serves HTTPS on `port`, IPv4 and IPv6.
    #[must_use]
    pub fn tls(site: &Site, port: u16, authority: &Authority) -> Self {
        let Authority { certificate, key, .. } = authority;
        let listen = format!(
            "listen {port} ssl; listen [::]:{port} ssl;
             ssl_certificate {certificate}; ssl_certificate_key {key};"
        );
        Self::start(site, port, &listen)
    }

    /// Serves HTTP on `port`, IPv4 and IPv6. nginx itself reads the client's address from a PROXY header.
    /// `PEER_ADDRESS PEER_PORT ` comes first in its answers and its access log.
    #[must_use]
    pub fn proxy_protocol(site: &Site, port: u16) -> Self {
        let listen = format!("listen {port} proxy_protocol; listen [::]:{port} proxy_protocol;");
        let client = "$remote_addr $remote_port $proxy_protocol_addr $proxy_protocol_port";
        Self::start_naming(site, port, &listen, client)
    }

    fn start(site: &Site, port: u16, listen: &str) -> Self {
        Self::start_naming(site, port, listen, "$remote_addr $remote_port")
    }

    /// Names the client by these variables.
    fn start_naming(site: &Site, port: u16, listen: &str, client: &str) -> Self {
        let directory = site.scratch.path("nginx");
        fs::create_dir(&directory).expect("a directory for nginx");
        let home = directory.display();
        let config = format!(
            r#"
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log info;
worker_processes 1;
events {{ worker_connections 4096; }}
http {{
    log_format peer '{client} $status "$request"';
    access_log {home}/access.log peer;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        {listen}
        location / {{ return 200 "{client}\n"; }}
    }}
}}
"#
        );
        let config = site.scratch.write("nginx.conf", &config);
        let mut command = site.server_command("nginx");
        command.args(["-c", &config, "-p", &home.to_string(), "-e"]);
        command.arg(directory.join("error.log"));
        let process = Process::start("nginx", site.scratch.directory(), &mut command);
        let [access_log, error_log] = ["access.log", "error.log"].map(|file| directory.join(file));
        Self { _process: process.listening(&site.net.server, port), access_log, error_log }
    }

    /// The access log so far.
    #[must_use]
    pub fn access_log(&self) -> Vec<String> {
        lines(&self.access_log)
    }

    /// The error log so far. It has a line for each connection that ends out of order or without a request.
    #[must_use]
    pub fn error_log(&self) -> Vec<String> {
        lines(&self.error_log)
    }

    /// Waits for the access log's line number `number`, counted from 1.
    #[must_use]
    pub fn access_log_line(&self, number: usize) -> String {
        eventually(&format!("line {number} of nginx's access log"), || {
            self.access_log().into_iter().nth(number - 1)
        })
    }
}

fn lines(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A certificate authority and a certificate of it for `www.example.com`.
#[derive(Debug)]
pub struct Authority {
    /// File with the authority's certificate, which clients trust.
    pub root: String,
    certificate: String,
    key: String,
}

impl Authority {
    /// Makes both.
    #[must_use]
    pub fn new(site: &Site) -> Self {
        let path = |file: &str| site.scratch.path(file).display().to_string();
        let (root, root_key) = (path("root.pem"), path("root.key"));
        let (certificate, key) = (path("www.pem"), path("www.key"));
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let make = |subject: &str, key: &str, certificate: &str, more: &[&str]| {
            let mut arguments = vec!["req", "-x509", "-days", "2", "-subj", subject];
            arguments.extend(new_key);
            arguments.extend(["-keyout", key, "-out", certificate]);
            arguments.extend(more);
            run("openssl", &arguments);
        };
        make("/CN=Test authority", &root_key, &root, &[]);
        let names = ["-addext", "subjectAltName=DNS:www.example.com"];
        let signer = ["-CA", &root, "-CAkey", &root_key, "-addext", "basicConstraints=CA:FALSE"];
        make("/CN=www.example.com", &key, &certificate, &[names.as_slice(), &signer].concat());
        Self { root, certificate, key }
    }
}
