//! Hosts whose administrators have hardened the kernel's BPF.

use std::fs;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Guard, HandOff, Site, address, turn};

use crate::common::{assert_handed_off, open_for};

/// A sysctl of the whole host, set back on drop.
struct Sysctl {
    path: &'static str,
    before: String,
}

impl Sysctl {
    fn set(path: &'static str, value: &str) -> Self {
        let before = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        fs::write(path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path, before }
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        let _ = fs::write(self.path, &self.before);
    }
}

/// Blinded constants make programs longer, and hidden addresses make them harder to look at.
#[test]
fn programs_are_loaded_and_work_where_bpf_is_hardened() {
    let _alone = turn::alone();
    let _sysctls = [
        Sysctl::set("/proc/sys/net/core/bpf_jit_harden", "2"),
        Sysctl::set("/proc/sys/kernel/kptr_restrict", "2"),
        Sysctl::set("/proc/sys/kernel/unprivileged_bpf_disabled", "2"),
    ];
    for hand_off in [HandOff::Auto, HandOff::Translate] {
        let site = Site::without_captures();
        let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
        let mut agent = Agent::start(&site, &Guard::ports(&[80]).hand_off(hand_off));
        open_for(&site, 1);
        assert_handed_off(&agent, hand_off);
        agent.assert_healthy(&[]);
    }
}
