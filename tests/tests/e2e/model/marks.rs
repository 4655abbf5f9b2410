//! The marks that a firewall sees on the packets of connections.

use std::collections::BTreeMap;

use proxyip_tests::{Namespace, attempt};
use serde_json::Value;

/// Remembers each mark, by the peer's port.
const TABLE: &str = "table inet model { \
     set marked { type inet_service . mark; flags dynamic; size 65535; }; \
     chain input { type filter hook input priority raw; \
     meta mark != 0 add @marked { tcp sport . meta mark }; }; }";

/// Has the marks of this namespace's packets remembered from now on.
pub(super) fn remember(namespace: &Namespace) {
    nft(namespace, &[TABLE]);
}

/// Forgets them.
pub(super) fn forget(namespace: &Namespace) {
    nft(namespace, &["flush", "set", "inet", "model", "marked"]);
}

/// Those that are remembered, by the peer's port.
pub(super) fn remembered(namespace: &Namespace) -> BTreeMap<u16, u32> {
    let text = nft(namespace, &["-j", "list", "set", "inet", "model", "marked"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let objects = list["nftables"].as_array().expect("a list").iter();
    let elements = objects.filter_map(|one| one["set"]["elem"].as_array()).flatten();
    let element = |one: &Value| {
        let number = |at: usize| one["concat"][at].as_u64().expect("a number");
        let port = number(0).try_into().expect("a port");
        (port, number(1).try_into().expect("a mark"))
    };
    elements.map(element).collect()
}

fn nft(namespace: &Namespace, words: &[&str]) -> String {
    let output = attempt(namespace.command("nft").args(words));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {words:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
