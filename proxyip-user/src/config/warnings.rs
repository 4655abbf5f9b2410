//! What is allowed but probably a mistake.

use ipnet::IpNet;
use proxyip_api::finding::{Finding, FindingKind};
use proxyip_common::settings::{HandOffChoice, Untrusted};

use super::listener::Listener;
use super::model::Config;

impl Config {
    /// Settings that are allowed but probably a mistake.
    #[must_use]
    pub fn warnings(&self) -> Vec<Finding> {
        self.listeners
            .iter()
            .flat_map(|listener| {
                let of_lists = [lets_past(listener), cannot_judge(listener)];
                trusts_everyone(listener).into_iter().chain(of_lists.into_iter().flatten())
            })
            .collect()
    }
}

fn trusts_everyone(listener: &Listener) -> Vec<Finding> {
    // Several networks that are everyone together become one.
    let networks = IpNet::aggregate(&listener.trusted.iter().copied().collect());
    let everyone = networks.iter().filter(|network| network.prefix_len() == 0);
    let warning = |network| {
        let sentence = format!(
            "listener {:?} trusts {network}, whole or in parts: anyone who reaches its ports can claim \
             any client address",
            listener.name
        );
        Finding::new(FindingKind::TrustsEveryone, sentence)
    };
    everyone.map(warning).collect()
}

fn cannot_judge(listener: &Listener) -> Option<Finding> {
    (judges(listener) && listener.hand_off == HandOffChoice::Accept).then(|| {
        let sentence = format!(
            "listener {:?} has hand_off = \"accept\" and lists of clients: connections that this hand-off \
             cannot serve are reset, since nobody would judge them; \"auto\" translates them",
            listener.name
        );
        Finding::new(FindingKind::AcceptUnjudged, sentence)
    })
}

fn judges(listener: &Listener) -> bool {
    listener.allow.is_given() || listener.deny.is_given()
}

fn lets_past(listener: &Listener) -> Option<Finding> {
    (judges(listener) && listener.untrusted == Untrusted::Bypass).then(|| {
        let sentence = format!(
            "the allow and deny lists of listener {:?} judge what comes through the load balancer; other \
             sources pass unjudged: unless they are meant to, write untrusted = \"reset\" or keep them out \
             with a firewall rule",
            listener.name
        );
        Finding::new(FindingKind::ListsBypassed, sentence)
    })
}
