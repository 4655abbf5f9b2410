//! The programs below `examples`, as they are there.

use std::net::{Shutdown, TcpStream};
use std::thread;

use nix::sys::signal::Signal;
use proxyip_tests::{
    Agent, Dial, HandOff, Namespace, Process, Site, address, attempt, eventually, read_line, reset,
};

use super::{guard, listen};
use crate::common::{
    CLIENT, CLIENT6, DESTINATION, DESTINATION6, header_of_client, header_of_client6, open_and_send,
    trusted_dial,
};

#[path = "../../../../examples/rust/src/main.rs"]
#[expect(dead_code, reason = "a program of its own")]
mod rust_example;

#[test]
fn in_c() {
    let site = Site::without_captures();
    let include = include_str!("../../../../include/proxyip.h");
    site.scratch.write("proxyip.h", include);
    let source = site.scratch.write("client.c", include_str!("../../../../examples/c/client.c"));
    let program = site.scratch.path("client").display().to_string();
    let directory = site.scratch.directory().display().to_string();
    let mut gcc = std::process::Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_DEFAULT_SOURCE"]);
    let compiled = attempt(gcc.args(["-I", &directory, "-o", &program, &source]));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    is_told(&site, HandOff::Auto, &[&program]);
}

#[test]
fn in_python() {
    let site = Site::without_captures();
    let text = include_str!("../../../../examples/python/client.py");
    let program = site.scratch.write("client.py", text);
    is_told(&site, HandOff::Translate, &["python3", &program]);
}

#[test]
fn in_ruby() {
    let site = Site::without_captures();
    let text = include_str!("../../../../examples/ruby/client.rb");
    let program = site.scratch.write("client.rb", text);
    is_told(&site, HandOff::Auto, &["ruby", &program]);
}

#[test]
fn in_rust() {
    let site = Site::without_captures();
    let listener = listen(&site, address::SERVER);
    // Ends with the test program.
    let serve = move || rust_example::serve(&listener);
    assert_told(&site, HandOff::Translate, || drop(thread::spawn(serve)));
}

/// Starts a server, on the server's IPv4 address and port 80, and asks it.
fn is_told(site: &Site, hand_off: HandOff, command: &[&str]) {
    let server = start(site, &site.net.server, command);
    server.signal(Signal::SIGSTOP);
    assert_told(site, hand_off, || server.signal(Signal::SIGCONT));
}

fn start(site: &Site, namespace: &Namespace, command: &[&str]) -> Process {
    let mut process = namespace.command(command[0]);
    process.args(&command[1..]).args([address::SERVER, "80"]);
    Process::start("client", site.scratch.directory(), &mut process).listening(namespace, 80)
}

/// Clients of both families are told their addresses and where they connected to; others, that there is no header.
/// Some have gone when the server, which stands still before, begins to serve.
fn assert_told(site: &Site, hand_off: HandOff, serve: impl FnOnce()) {
    let mut agent = Agent::start(site, &guard(hand_off));
    connect_and_go(site, |_| ());
    // Behind a FIN it is EPIPE and not ECONNRESET that the server gets.
    connect_and_go(site, |stream| stream.shutdown(Shutdown::Write).expect("a connection"));
    serve();
    for (header, client, destination) in
        [(header_of_client(), CLIENT, DESTINATION), (header_of_client6(), CLIENT6, DESTINATION6)]
    {
        let stream = open_and_send(site, &trusted_dial(80), &header);
        assert_eq!(read_line(&stream), format!("{} {}", words(client), words(destination)));
    }
    let stranger = Dial::to(address::SERVER, 80).from(address::STRANGER, 0);
    assert_eq!(read_line(&stranger.open(&site.net.balancer)), "no header");
    site.finish(&mut agent, &[]);
}

/// Opens a connection and resets it. On return, the server's kernel has seen both.
fn connect_and_go(site: &Site, first: impl FnOnce(&TcpStream)) {
    let list = "ss --no-header --numeric --tcp state established state close-wait sport = :80";
    let connections = || site.net.server.run(list).lines().count();
    let stream = open_and_send(site, &trusted_dial(80), &header_of_client());
    eventually("a connection", || (connections() == 1).then_some(()));
    first(&stream);
    reset(stream);
    eventually("its end", || (connections() == 0).then_some(()));
}

/// Address and port as the examples write them.
fn words(address: &str) -> String {
    let address = crate::common::socket_address(address);
    format!("{} {}", address.ip(), address.port())
}
