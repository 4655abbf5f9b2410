//! An agent that finds what another version has pinned.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{
    Agent, Answer, Guard, HandOff, Process, Site, address, agent_binary, attempt, run,
};

use crate::common::{
    CLIENT, ask_names, assert_both, exchange, header_of_client, open_and_send, open_for,
    socket_address, trusted_dial,
};

/// What an agent says that does not start, with or without a layout of its own.
fn refused(site: &Site, config: &str, layout: Option<&str>) -> String {
    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["run", "--config", config]);
    command.envs(layout.map(|layout| ("PROXYIP_TEST_LAYOUT", layout)));
    let answer = Answer::from(attempt(&mut command));
    assert_eq!(answer.code, 1, "{}{}", answer.stdout, answer.stderr);
    answer.stderr
}

/// All pins, with their inodes.
fn pins(directory: &Path) -> Vec<(String, u64)> {
    let mut pins = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory of pins") {
        let entry = entry.expect("an entry");
        if entry.path().is_dir() {
            pins.extend(self::pins(&entry.path()));
        }
        pins.push((entry.path().display().to_string(), entry.metadata().expect("a pin").ino()));
    }
    pins.sort();
    pins
}

#[test]
fn a_map_of_another_size_is_refused_and_nothing_changes() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = Guard::ports(&[80]);
    let mut agent = Agent::start(&site, &guard);
    let (stream, _) = open_for(&site, 1);
    agent.kill();
    let pin = site.scratch.pin_path().join("maps-10/TRANSLATIONS");
    let path = pin.display().to_string();
    let own = pin.with_file_name("ours");
    fs::rename(&pin, &own).expect("a pin can be renamed");
    let make = |value: &str| {
        let [key, entries, flags] = ["48", "262144", "1"];
        let sizes = ["key", key, "value", value, "entries", entries, "flags", flags];
        let whole = [&["map", "create", &path, "type", "hash"][..], &sizes, &["name", "other"]];
        run("bpftool", &whole.concat());
    };
    make("24");
    let before = pins(&site.scratch.pin_path());
    let config = agent.config().to_owned();
    let said = refused(&site, &config, None);
    for part in [&*path, "has values of 24 bytes instead of 16", "Nothing has been changed"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(pins(&site.scratch.pin_path()), before);
    // The programs before go on.
    exchange(&stream);
    let stream = open_and_send(&site, &trusted_dial(80), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));
    fs::rename(&own, &pin).expect("a pin can be renamed");
    agent.start_again();
    site.finish(&mut agent, &[]);
}

/// Its programs would know none of the connections that are there.
#[test]
fn an_agent_of_another_layout_does_not_start_and_detaches_with_patience() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(HandOff::Translate));
    let (stream, _) = open_for(&site, 1);
    agent.kill();
    let before = pins(&site.scratch.pin_path());
    let config = agent.config().to_owned();
    let said = refused(&site, &config, Some("77"));
    for part in ["layout 10", "layout 77", "Nothing has been changed", "proxyip detach --pin-path"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(pins(&site.scratch.pin_path()), before);
    exchange(&stream);
    drop(open_for(&site, 2));

    let mut command = site.net.server.command(&agent_binary().display().to_string());
    command.args(["detach", "--drain", "60", "--pin-path"]).arg(site.scratch.pin_path());
    command.env("PROXYIP_TEST_LAYOUT", "77");
    let mut detaching = Process::start("detach", site.scratch.directory(), &mut command);
    detaching.ready("it waits", |process| {
        process.stderr().contains("translated connections: 1;").then_some(())
    });
    exchange(&stream);
    drop(stream);
    assert_eq!(detaching.wait().code(), Some(0), "{}", detaching.stderr());
    assert!(!site.scratch.pin_path().exists());
    agent.start_again();
    drop(open_for(&site, 3));
    site.finish(&mut agent, &[]);
}
