//! The other ways in which a server gets to know its clients, and the server.

use std::fs;
use std::path::PathBuf;

use proxyip_tests::{Process, Site};

/// nginx serves these ports without headers.
pub(crate) const DIRECT: u16 = 7001;
pub(crate) const NOT_GUARDED: u16 = 7002;
pub(crate) const ACCEPT: u16 = 7003;
pub(crate) const TRANSLATE: u16 = 7004;
const BEHIND_HAPROXY: u16 = 7011;
const BEHIND_MMPROXY: u16 = 7012;
/// Here nginx reads the header itself.
pub(crate) const OWN: u16 = 7005;
pub(crate) const HAPROXY: u16 = 7006;
pub(crate) const MMPROXY: u16 = 7007;

/// The variable that names mmproxy's program.
const MMPROXY_BINARY: &str = "PROXYIP_MMPROXY";

/// The table of routes by which answers to clients come back to a proxy on the same host.
const TABLE: &str = "4077";

/// nginx with one worker and no logs. It answers each request with the client's address.
pub(crate) fn nginx(site: &Site, ports: &[u16]) -> Process {
    let directory = site.scratch.path("nginx");
    fs::create_dir(&directory).expect("a directory for nginx");
    let home = directory.display();
    let listen = |port: &u16| format!("listen {port} backlog=4096; ");
    let ports_of_all: String = ports.iter().map(listen).collect();
    let config = format!(
        r#"
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 2000000000;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{ {ports_of_all} location / {{ return 200 "$remote_addr\n"; }} }}
    server {{
        listen {OWN} proxy_protocol backlog=4096;
        location / {{ return 200 "$proxy_protocol_addr\n"; }}
    }}
}}
"#
    );
    let config = site.scratch.write("nginx.conf", &config);
    let mut command = site.server_command("nginx");
    command.args(["-c", &config, "-p", &home.to_string(), "-e"]);
    command.arg(directory.join("error.log"));
    let process = Process::start("nginx", site.scratch.directory(), &mut command);
    process.listening(&site.net.server, OWN)
}

/// nginx with all ports that contenders need.
pub(crate) fn nginx_for_contenders(site: &Site) -> Process {
    let ports = [DIRECT, NOT_GUARDED, ACCEPT, TRANSLATE, BEHIND_HAPROXY, BEHIND_MMPROXY];
    nginx(site, &ports)
}

/// Whatever a server on this host sends to a client comes to the proxy that connected with the client's address.
pub(crate) fn route_answers_to_proxies(site: &Site) {
    let server = &site.net.server;
    server.ip(&format!("rule add from 127.0.0.1/8 iif lo table {TABLE}"));
    server.ip(&format!("route add local 0.0.0.0/0 dev lo table {TABLE}"));
}

/// `HAProxy` on the server's host. It connects to the server with the client's address.
pub(crate) fn haproxy(site: &Site, behind: Option<u16>) -> Process {
    let behind = behind.unwrap_or(BEHIND_HAPROXY);
    let config = format!(
        "global\n    maxconn 4096\n    nbthread 1\n\
         defaults\n    mode tcp\n    timeout connect 3s\n    timeout client 30s\n    \
         timeout server 30s\n\
         listen front\n    bind :{HAPROXY} accept-proxy\n    \
         server s1 127.0.0.1:{behind} source 0.0.0.0 usesrc clientip\n"
    );
    let config = site.scratch.write("haproxy.cfg", &config);
    let mut command = site.server_command("haproxy");
    command.args(["-db", "-f", &config]);
    let process = Process::start("haproxy", site.scratch.directory(), &mut command);
    process.listening(&site.net.server, HAPROXY)
}

/// mmproxy on the server's host, which does the same.
///
/// # Panics
/// When it is not there.
pub(crate) fn mmproxy(site: &Site, behind: Option<u16>) -> Process {
    let path = std::env::var_os(MMPROXY_BINARY).map(PathBuf::from);
    let path = path.unwrap_or_else(|| panic!("{MMPROXY_BINARY} must name mmproxy's program"));
    assert!(path.is_file(), "{MMPROXY_BINARY}={} is no file", path.display());
    let behind = behind.unwrap_or(BEHIND_MMPROXY);
    let mut command = site.server_command(&path.display().to_string());
    // It would write a line for each RST with which the load generator ends a connection.
    command.env("RUST_LOG", "off");
    command.args(["-l", &format!("0.0.0.0:{MMPROXY}")]);
    command.args(["-4", &format!("127.0.0.1:{behind}"), "-6", &format!("[::1]:{behind}")]);
    let process = Process::start("mmproxy", site.scratch.directory(), &mut command);
    process.listening(&site.net.server, MMPROXY)
}
