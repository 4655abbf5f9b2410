//! What somebody should look at. Each kind comes from one list: its label, what it means, and what the operator does next.

use std::borrow::Cow;
use std::fmt;

use proxyip_common::labels;
use serde::{Deserialize, Serialize};

labels! {
    /// The kinds of findings, and of warnings of a configuration.
    FindingKind:
    NotAttached "not_attached" "a kernel program is not attached where it belongs, so connections keep their headers"
        "The agent attaches it again by itself, and says here why it cannot. Look for other software that changes BPF programs: `bpftool net` and `bpftool cgroup tree` show what is attached."
    InterfaceGone "interface_gone" "an interface of the configuration does not exist"
        "Bring the interface back: the agent attaches to it within a second. If it is gone for good, remove its `[[interface]]` from the configuration."
    NamespaceLost "namespace_lost" "a network namespace of the configuration is not there, cannot be served, or cannot be seen any more"
        "Read the reason behind the sentence. The agent tries again by itself. If the namespace is gone for good, remove its `[[interface]]` and run `proxyip reload`."
    NamespaceWaits "namespace_waits" "network namespaces that a pattern has found wait to be served"
        "Wait: the agent serves one after another, many in a second. If the number does not fall, read the agent's log."
    NamespaceTwice "namespace_twice" "a pattern of the configuration finds a network namespace by two names"
        "Nothing is wrong if both names should mean the same: the namespace is served by the first. If not, write the pattern so that it finds one of them."
    NamespaceUnmounted "namespace_unmounted" "files that a pattern of the configuration finds have no network namespace mounted on them, so what is meant by them is not guarded"
        "In a container, mount the directory of the host with propagation (`mountPropagation: HostToContainer`). Remove files that were left over."
    MatchesNothing "matches_nothing" "an entry of the configuration with a pattern finds no interface"
        "Wait, if its interfaces or namespaces are still to come: the agent serves them within a second. Otherwise compare the pattern with `ip link` in the namespace, and with the names of the files."
    StillAttached "still_attached" "a kernel program is still attached where the configuration does not want it any more, or may not want it"
        "Read the reason in the sentence. The agent tries again every second. If it cannot see namespaces in which programs go on guarding, bring the mount with their files back."
    SetsUnpinned "sets_unpinned" "the programs of named sets are not pinned as the namespaces need them, so rules of iptables may not find them"
        "Read the reason in the sentence, and run `proxyip reload` when it is mended."
    ThreadFails "thread_fails" "a thread of the agent fails, so its work is not done"
        "Wait: the agent tries again by itself. If it goes on, read the agent's log, and report the fault with the output of `proxyip support`."
    ConfigMixed "config_mixed" "the kernel's maps have parts of two configurations"
        "Wait: the agent tries every second to put the old configuration in force again. If it goes on, restart the agent."
    ReloadRefused "reload_refused" "the last reload was refused, and the configuration before it stays in force"
        "Correct what the sentence names, and run `proxyip reload`."
    Degraded "degraded" "new connections to a port are translated for a while, because the stack refused those that were handed over, or took them late"
        "Look for firewall rules that drop an ACK without a SYN before it (`proxyip explain stack_refuses`), or for a redirect of incoming packets (`proxyip explain delayed`). Accept is tried again by itself: `proxyip status` says when."
    Drained "drained" "a command has drained a port: new connections are refused, and established ones go on"
        "Run `proxyip listener resume` with the listener's name when it is to take new connections again."
    FlowsFull "flows_full" "the flow table is nearly full"
        "Raise `[agent] max_flows`, run `proxyip detach` and start the agent. Until then, the oldest flows are evicted when it is full."
    TranslationsFull "translations_full" "the table of translated connections is nearly full"
        "Raise `[agent] max_translated`, run `proxyip detach` and start the agent. Until then, new connections are reset when it is full."
    NetworksFull "networks_full" "a table of networks is nearly full"
        "Write fewer, larger networks in the lists: a reload needs room for the old and the new ones."
    SetsFull "sets_full" "the places of sets are nearly taken"
        "Remove the rules of iptables that have programs of sets that have left, and reload: that frees their places."
    DrainedFull "drained_full" "the table of drained ports is nearly full"
        "Resume ports that need not be drained, or drain whole listeners."
    RoutesFull "routes_full" "routes of a namespace find no room in the kernel programs' table"
        "Set an MTU or an MSS on fewer routes. Without room, SYN-ACKs offer the MSS of a larger network's route or of the interface."
    ListsStale "lists_stale" "files of networks are not in force as they are now, but as they were"
        "Correct the file that the sentence names: the agent reads it again by itself."
    OtherProgramFirst "other_program_first" "another BPF program runs before those of proxyip, which do not see what it lets pass"
        "Let the owner of that program attach it behind, or restart the agent, which comes first again."
    PinsHidden "pins_hidden" "another file system has been mounted over the one with the pins"
        "Unmount it before you restart the agent: the new agent would not find what is attached."
    PinsLost "pins_lost" "the pins of maps are gone and cannot be made again"
        "Read the reason in the sentence. Mend it before you restart the agent, which would not find its maps."
    SegmentsEarly "segments_early" "first segments come before their connections, so each connection is late"
        "Read \"Firewalls\": incoming packets pass another interface (IFB), or SYNPROXY answers."
    Redirected "redirected" "NAT gives connections to a guarded port to another port or host, with their headers in place"
        "Guard the port that gets them, in its namespace, or remove the rule of REDIRECT or DNAT (`nft list ruleset`, `iptables -t nat -S`)."
    EndsUnnoticed "ends_unnoticed" "connections ended without a notice to the kernel programs"
        "Update or reconfigure the other program of type sock_ops that the sentence names: it must keep the callback flags that it finds on a socket."
    HeadersMissing "headers_missing" "no connection from a trusted source starts with a header"
        "Switch the PROXY protocol on at the load balancer (AWS: `proxy_protocol_v2.enabled = true` of the target group), or trust less."
    SomeHeadersMissing "some_headers_missing" "some connections from trusted sources were reset because they have no header, while others have one"
        "Let health checks send a header (HAProxy: `check-send-proxy`), or write `headerless = \"local\"` for the listener."
    UntrustedHeaders "untrusted_headers" "headers come from sources that are not trusted, and the application gets them"
        "Add the source to `trusted` if it is the load balancer. If it is a client, switch client IP preservation off at the load balancer."
    UntrustedOnly "untrusted_only" "sources that are not trusted are refused, and no trusted source sends a header"
        "Add the source to `trusted` if it is the load balancer. If it is a client, switch client IP preservation off at the load balancer."
    TrustsEveryone "trusts_everyone" "a listener trusts every source"
        "Write the addresses of the load balancer in `trusted`: anyone who reaches the port can claim to be any client."
    ListsBypassed "lists_bypassed" "a listener has lists of clients, and sources that are not trusted pass without a judgement"
        "Write `untrusted = \"reset\"` for the listener, or keep these sources out with a firewall rule, unless they are meant."
    AcceptUnjudged "accept_unjudged" "a listener has lists of clients and `hand_off = \"accept\"`, which cannot serve each connection"
        "Write `hand_off = \"auto\"`: it translates the connections that would be reset."
    RulesOrphaned "rules_orphaned" "rules made by command wait for a listener that the configuration does not have"
        "Write the listener again, or remove its rules: `proxyip acl list --orphaned` shows them."
}

/// What somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Finding {
    /// The label of its kind, which `proxyip explain` explains. Empty if an older agent gave none.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "interface_gone"))]
    pub label: Cow<'static, str>,
    /// What it is, and what to do.
    pub sentence: String,
}

impl Finding {
    /// One of a kind.
    #[must_use]
    pub fn new(kind: FindingKind, sentence: impl Into<String>) -> Self {
        Self { label: kind.label().into(), sentence: sentence.into() }
    }

    /// The sentences of several.
    #[must_use]
    pub fn sentences(all: &[Self]) -> Vec<String> {
        all.iter().map(|one| one.sentence.clone()).collect()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, sentence } = self;
        match &**label {
            "" => f.write_str(sentence),
            label => write!(f, "{label}: {sentence}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn labels_are_words_and_each_has_one_kind() {
        let labels: BTreeSet<_> = FindingKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), FindingKind::ALL.len());
        for label in labels {
            assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{label}");
        }
    }

    #[test]
    fn each_advice_is_whole_sentences() {
        for kind in FindingKind::ALL {
            let (label, advice) = (kind.label(), kind.advice());
            assert!(advice.starts_with(char::is_uppercase) && advice.ends_with('.'), "{label}");
            assert_eq!(advice.matches('`').count() % 2, 0, "{label}: {advice}");
        }
    }
}
