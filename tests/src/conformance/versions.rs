//! The head of the page, with the versions of those who were asked.

use std::process::Command;

use super::prose::wrapped;
use crate::command::{attempt, run};

const SPECIFICATION: &str = "https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt";

/// Pins the crates.
const LOCK_FILE: &str = include_str!("../../../Cargo.lock");

/// Everything above the tables.
pub(super) fn head(cases: usize) -> String {
    let what = wrapped(&format!(
        "What proxyip makes of {cases} headers and would-be headers of the PROXY protocol, and what others make of \
         the same bytes. Source of the rules: [the specification]({SPECIFICATION}), whose sections are named."
    ));
    let how = wrapped(
        "This page is generated, as root: `cargo xtask conformance > docs/conformance.md`. Everything in it was \
         tried: proxyip, HAProxy and nginx got each case over TCP, the crates in memory. A test compares the page \
         with what comes of it now. The cases are in `tests/src/conformance/vectors/`.",
    );
    format!(
        "# Conformance\n\n{what}\n\n{how}\n\n\
         - proxyip: hand-offs accept and translate, between which there was no difference\n\
         - HAProxy {}, `bind … accept-proxy`\n\
         - nginx {}, `listen … proxy_protocol`\n\
         - [`ppp`](https://crates.io/crates/ppp) {}, with its TLVs read\n\
         - [`proxy-header`](https://crates.io/crates/proxy-header) {}, with its TLVs read\n\
         - [`proxyproto`](https://crates.io/crates/proxyproto) {}, with its checksums verified\n\n",
        haproxy(),
        nginx(),
        locked("ppp"),
        locked("proxy-header"),
        locked("proxyproto"),
    )
}

/// From `HAProxy version 2.6.12-1 2026/10/17 - …`.
fn haproxy() -> String {
    let text = run("haproxy", &["-v"]);
    text.split_whitespace().nth(2).expect("a version").to_owned()
}

/// From `nginx version: nginx/1.22.1`, on standard error.
fn nginx() -> String {
    let output = attempt(Command::new("nginx").arg("-v"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.trim().rsplit('/').next().expect("a version").to_owned()
}

/// The version of a crate that was linked.
fn locked(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = LOCK_FILE.split_once(&entry).expect("the crate is in the lock file");
    rest.split('"').next().expect("a version")
}
