//! The programs below `examples`, as they are there.

use std::thread;

use proxyip_tests::{Agent, Dial, HandOff, Namespace, Process, Site, address, attempt, read_line};

use super::{guard, listen};
use crate::common::{
    CLIENT, CLIENT6, DESTINATION, DESTINATION6, auto_and_translate, header_of_client,
    header_of_client6, open_and_send, trusted_dial,
};

#[path = "../../../../examples/rust/src/main.rs"]
#[expect(dead_code, reason = "a program of its own")]
mod rust_example;

auto_and_translate!(in_c, in_python, in_ruby, in_rust);

fn in_c(hand_off: HandOff) {
    let site = Site::new();
    let include = include_str!("../../../../include/proxyip.h");
    site.scratch.write("proxyip.h", include);
    let source = site.scratch.write("client.c", include_str!("../../../../examples/c/client.c"));
    let program = site.scratch.path("client").display().to_string();
    let directory = site.scratch.directory().display().to_string();
    let mut gcc = std::process::Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-D_DEFAULT_SOURCE"]);
    let compiled = attempt(gcc.args(["-I", &directory, "-o", &program, &source]));
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    is_told(&site, hand_off, &[&program]);
}

fn in_python(hand_off: HandOff) {
    let site = Site::new();
    let text = include_str!("../../../../examples/python/client.py");
    let program = site.scratch.write("client.py", text);
    is_told(&site, hand_off, &["python3", &program]);
}

fn in_ruby(hand_off: HandOff) {
    let site = Site::new();
    let text = include_str!("../../../../examples/ruby/client.rb");
    let program = site.scratch.write("client.rb", text);
    is_told(&site, hand_off, &["ruby", &program]);
}

fn in_rust(hand_off: HandOff) {
    let site = Site::new();
    let listener = listen(&site, address::SERVER);
    // Ends with the test program.
    thread::spawn(move || rust_example::serve(&listener));
    assert_told(&site, hand_off);
}

/// Starts a server, on the server's IPv4 address and port 80, and asks it.
fn is_told(site: &Site, hand_off: HandOff, command: &[&str]) {
    let _server = start(site, &site.net.server, command);
    assert_told(site, hand_off);
}

fn start(site: &Site, namespace: &Namespace, command: &[&str]) -> Process {
    let mut process = namespace.command(command[0]);
    process.args(&command[1..]).args([address::SERVER, "80"]);
    Process::start("client", site.scratch.directory(), &mut process).listening(namespace, 80)
}

/// Clients of both families are told their addresses and where they connected to; others, that there is no header.
fn assert_told(site: &Site, hand_off: HandOff) {
    let mut agent = Agent::start(site, &guard(hand_off));
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

/// Address and port as the examples write them.
fn words(address: &str) -> String {
    let address = crate::common::socket_address(address);
    format!("{} {}", address.ip(), address.port())
}
