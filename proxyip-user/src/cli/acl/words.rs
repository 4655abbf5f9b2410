//! Rules, verdicts and ended connections in words.

use std::fmt::Write;

use proxyip_api::acl::{Decision, Disconnected, Origin, Rule, Rules, Verdict};

use crate::cli::table::align;

/// As of a client.
const fn participle(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allowed",
        Verdict::Deny => "denied",
    }
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Configuration => "configuration".into(),
        Origin::File { file } => file.display().to_string(),
        Origin::Command => "command".into(),
    }
}

pub(super) fn made(listener: &str, Rule { network, verdict, .. }: &Rule) -> String {
    format!(
        "{listener}: {network} is {} from now on, until `proxyip acl remove`, `proxyip detach` or the host's \
         restart; to keep it, write it into the configuration\n",
        participle(*verdict)
    )
}

pub(super) fn rules(rules: &Rules) -> String {
    let head = head(rules);
    let mut rows = vec![["NETWORK", "VERDICT", "FROM"].map(String::from)];
    rows.extend(
        rules.rules.iter().map(|rule| {
            [rule.network.to_string(), rule.verdict.label().into(), origin(&rule.origin)]
        }),
    );
    format!("{}: {head}\n{}", rules.listener, align(&rows))
}

/// What holds for the listener as a whole.
fn head(rules: &Rules) -> String {
    if rules.orphaned {
        return "not in the configuration; these rules are in force again when it is".into();
    }
    let denied = match rules.denied.as_str() {
        "reset" => "are reset",
        "drop" => "have their packets dropped",
        "mark" => "pass, with a mark on their packets",
        other => other,
    };
    let otherwise = participle(rules.otherwise);
    format!("clients that are in no network of this list are {otherwise}; denied clients {denied}")
}

pub(super) fn decision(decision: &Decision) -> String {
    let verdict = participle(decision.verdict);
    match &decision.rule {
        Some(Rule { network, verdict: by, origin: from }) => {
            format!("{verdict}: {network} {} ({})\n", by.label(), origin(from))
        }
        None => format!("{verdict}: no rule matches, and other clients are {verdict}\n"),
    }
}

pub(super) fn disconnected(all: &[Disconnected]) -> String {
    if all.is_empty() {
        return "no connection has a denied client\n".into();
    }
    let mut text = String::new();
    for Disconnected { listener, client, peer, local, error } in all {
        let end = match error {
            None => "ended".into(),
            Some(error) => format!("not ended: {error}"),
        };
        writeln!(text, "{listener}: {client} ({peer} to {local}) {end}")
            .expect("writing to a string does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(network: &str, verdict: Verdict, origin: Origin) -> Rule {
        Rule { network: network.parse().unwrap(), verdict, origin }
    }

    #[test]
    fn lists_begin_with_what_happens_to_others() {
        let file = Origin::File { file: "/etc/bad.txt".into() };
        let mut list = Rules {
            next: None,
            orphaned: false,
            listener: "web".into(),
            otherwise: Verdict::Allow,
            denied: "reset".into(),
            rules: vec![
                rule("198.51.100.7/32", Verdict::Allow, Origin::Command),
                rule("203.0.113.0/24", Verdict::Deny, Origin::Configuration),
                rule("2001:db8::/32", Verdict::Deny, file),
            ],
        };
        assert_eq!(
            rules(&list),
            "web: clients that are in no network of this list are allowed; denied clients are reset\n\
             NETWORK          VERDICT  FROM\n\
             198.51.100.7/32  allow    command\n\
             203.0.113.0/24   deny     configuration\n\
             2001:db8::/32    deny     /etc/bad.txt\n"
        );
        list.orphaned = true;
        assert!(rules(&list).starts_with("web: not in the configuration; these rules"));
        list.orphaned = false;
        list.rules.clear();
        list.otherwise = Verdict::Deny;
        for (denied, part) in [
            ("drop", "are denied; denied clients have their packets dropped\n"),
            ("mark", "are denied; denied clients pass, with a mark on their packets\n"),
        ] {
            list.denied = denied.into();
            assert!(rules(&list).contains(part), "{}", rules(&list));
        }
    }

    #[test]
    fn a_decision_names_its_rule() {
        let deny = rule("203.0.113.0/24", Verdict::Deny, Origin::Configuration);
        let allow = rule("203.0.113.9/32", Verdict::Allow, Origin::Command);
        for (verdict, rule, text) in [
            (Verdict::Deny, Some(deny), "denied: 203.0.113.0/24 deny (configuration)\n"),
            (Verdict::Allow, Some(allow), "allowed: 203.0.113.9/32 allow (command)\n"),
            (Verdict::Allow, None, "allowed: no rule matches, and other clients are allowed\n"),
            (Verdict::Deny, None, "denied: no rule matches, and other clients are denied\n"),
        ] {
            let client = "203.0.113.9".parse().unwrap();
            assert_eq!(decision(&Decision { listener: "web".into(), client, verdict, rule }), text);
        }
    }

    #[test]
    fn a_new_rule_says_how_long_it_lasts() {
        let text = made("web", &rule("203.0.113.0/24", Verdict::Deny, Origin::Command));
        assert!(text.starts_with("web: 203.0.113.0/24 is denied from now on, until"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn each_ended_connection_has_its_line() {
        let ended = Disconnected {
            listener: "web".into(),
            client: "203.0.113.9:51234".parse().unwrap(),
            peer: "10.0.0.2:34711".parse().unwrap(),
            local: "10.0.1.2:443".parse().unwrap(),
            error: None,
        };
        let failed = Disconnected { error: Some("it is busy".into()), ..ended.clone() };
        assert_eq!(
            disconnected(&[ended, failed]),
            "web: 203.0.113.9:51234 (10.0.0.2:34711 to 10.0.1.2:443) ended\n\
             web: 203.0.113.9:51234 (10.0.0.2:34711 to 10.0.1.2:443) not ended: it is busy\n"
        );
        assert_eq!(disconnected(&[]), "no connection has a denied client\n");
    }
}
