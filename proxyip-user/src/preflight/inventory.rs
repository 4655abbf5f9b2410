//! What a support bundle says of this host. Nothing here changes anything.

use std::fs;
use std::path::Path;

use anyhow::Result;
use nix::ifaddrs::getifaddrs;
use serde_json::{Map, Value, json};

use crate::bpf::inventory;
use crate::bpf::pins::list;
use crate::config::{Config, Netns};
use crate::desired::targets::targets;
use crate::host::matching::files;
use crate::host::namespace::Namespace;

/// Below `/proc/sys`: what decides about connections, and about loading programs.
const SYSCTLS: &[&str] = &[
    "kernel/kptr_restrict",
    "kernel/unprivileged_bpf_disabled",
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/rmem_max",
    "net/core/somaxconn",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/tcp_abort_on_overflow",
    "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_sack",
    "net/ipv4/tcp_synack_retries",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_timestamps",
    "net/ipv4/tcp_window_scaling",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_loose",
];

/// The host, and the namespaces that the configuration names; the agent's own without one.
#[must_use]
pub fn inventory(config: Option<&Config>, pin_path: &Path) -> Value {
    json!({
        "kernel": kernel(),
        "mounts": lines("/proc/self/mountinfo", |line| {
            line.contains(" - bpf ") || line.contains(" - cgroup2 ")
        }),
        "cgroup": lines("/proc/self/cgroup", |_| true),
        "pins": pins(pin_path),
        "programs": inventory::programs(),
        "maps": inventory::maps(),
        "links": inventory::links(),
        "namespaces": namespaces(config),
    })
}

fn kernel() -> Value {
    json!({
        "release": lines("/proc/sys/kernel/osrelease", |_| true),
        "version": lines("/proc/version", |_| true),
        "command_line": lines("/proc/cmdline", |_| true),
        "uptime": lines("/proc/uptime", |_| true),
    })
}

/// The lines of a file that are wanted; a file that cannot be read is an error.
fn lines(path: &str, wanted: impl Fn(&str) -> bool) -> Value {
    match fs::read_to_string(path) {
        Ok(text) => text.lines().filter(|line| wanted(line)).collect(),
        Err(error) => json!({ "error": format!("{path}: {error}") }),
    }
}

/// The names in each directory of pins.
fn pins(pin_path: &Path) -> Value {
    let read = || -> Result<Map<String, Value>> {
        let directory = |path: &std::path::PathBuf| {
            let names = list(path)?.into_iter().map(|pin| Value::from(pin.display().to_string()));
            Ok((path.display().to_string(), names.collect()))
        };
        list(pin_path)?.iter().map(directory).collect()
    };
    read().map_or_else(|error| json!({ "error": format!("{error:#}") }), Value::Object)
}

fn namespaces(config: Option<&Config>) -> Vec<Value> {
    let named = config.map(|config| targets(&config.interfaces, files)).unwrap_or_default();
    let mut all: Vec<_> = named.into_iter().map(|target| target.netns).collect();
    if all.is_empty() {
        all.push(Netns::Host);
    }
    all.iter().map(namespace).collect()
}

fn namespace(netns: &Netns) -> Value {
    let name = match netns {
        Netns::Host => "host".into(),
        Netns::Path(path) => path.display().to_string(),
    };
    let found = Namespace::open(netns).and_then(|namespace| {
        namespace.run(|| {
            // Of the thread: it is the one in the namespace.
            let counters = lines("/proc/thread-self/net/dev", |line| line.contains(':'));
            Ok(json!({
                "netns": name, "sysctls": sysctls(), "interfaces": interfaces(), "counters": counters,
            }))
        })
    });
    found.unwrap_or_else(|error| json!({ "netns": name, "error": format!("{error:#}") }))
}

/// Those that this kernel has.
fn sysctls() -> Map<String, Value> {
    let value = |name: &&str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some((name.replace('/', "."), text.trim().into()))
    };
    SYSCTLS.iter().filter_map(value).collect()
}

/// A line for each address, and for each interface.
fn interfaces() -> Value {
    match getifaddrs() {
        Ok(all) => {
            let line = |one: nix::ifaddrs::InterfaceAddress| {
                let address = one.address.map(|address| address.to_string());
                json!({
                    "name": one.interface_name, "flags": format!("{:?}", one.flags), "address": address,
                })
            };
            all.map(line).collect()
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_there_without_a_configuration() {
        let inventory = inventory(None, Path::new("/sys/fs/bpf/proxyip-of-nobody"));
        assert!(inventory["kernel"]["release"].is_array(), "{inventory}");
        assert_eq!(inventory["pins"], json!({}));
        let host = &inventory["namespaces"][0];
        assert_eq!(host["netns"], "host");
        assert!(host["sysctls"]["net.ipv4.tcp_syncookies"].is_string(), "{host}");
        let interfaces = host["interfaces"].as_array().unwrap();
        assert!(interfaces.iter().any(|one| one["name"] == "lo"), "{interfaces:?}");
    }

    #[test]
    fn a_namespace_that_is_not_there_is_an_error_in_its_place() {
        let found = namespace(&Netns::Path("/run/netns/of-nobody".into()));
        assert_eq!(found["netns"], "/run/netns/of-nobody");
        assert!(found["error"].is_string(), "{found}");
    }
}
