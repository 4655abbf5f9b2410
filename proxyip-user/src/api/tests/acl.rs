//! Rules over the socket, kept in a list.

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use hyper::Method;
use ipnet::IpNet;
use proxyip_api::acl::{Decision, Disconnected, Origin, Rule, Rules, Verdict};
use serde_json::{Value, json};

use crate::api::tests::{Maps, State, refusal, with_api};
use crate::client::{self, escaped};
use crate::desired::rules::Part;
use crate::reconcile::acl::{Acl, AclError};

const MAPS: Maps = Maps { flows: 3, state: State::Good };
/// Any text may be a name.
const ODD: &str = "a/b?listener=web&c#d%2F é/test";

/// The rules of all listeners, which are `web`, [`ODD`] and `broken`.
pub(crate) struct Rulebook(Mutex<Vec<Rule>>);

/// 203.0.113.0/24 is denied by the configuration.
impl Default for Rulebook {
    fn default() -> Self {
        let network = "203.0.113.0/24".parse().unwrap();
        let rule = Rule { network, verdict: Verdict::Deny, origin: Origin::Configuration };
        Self(Mutex::new(vec![rule]))
    }
}

fn known(listener: &str) -> Result<(), AclError> {
    match listener {
        "web" | ODD => Ok(()),
        "broken" => Err(AclError::Kernel(anyhow::anyhow!("no memory").context("the map is full"))),
        _ => Err(AclError::NoListener { name: listener.into(), known: vec!["web".into()] }),
    }
}

impl Acl for Rulebook {
    fn rules(&self, listener: &str, part: Part) -> Result<Rules, AclError> {
        known(listener)?;
        let mut rules = self.0.lock().unwrap().clone();
        rules.retain(|rule| part.after.is_none_or(|after| rule.network > after));
        let more = rules.len() > part.limit;
        rules.truncate(part.limit);
        Ok(Rules {
            listener: listener.into(),
            otherwise: Verdict::Allow,
            denied: "reset".into(),
            orphaned: false,
            next: rules.last().filter(|_| more).map(|rule| rule.network),
            rules,
        })
    }

    fn set(&self, listener: &str, network: IpNet, verdict: Verdict) -> Result<(), AclError> {
        known(listener)?;
        let mut rules = self.0.lock().unwrap();
        rules.retain(|rule| rule.network != network);
        rules.push(Rule { network, verdict, origin: Origin::Command });
        Ok(())
    }

    fn remove(&self, listener: &str, network: IpNet) -> Result<(), AclError> {
        known(listener)?;
        let mut rules = self.0.lock().unwrap();
        let listener = listener.into();
        match rules.iter().position(|rule| rule.network == network) {
            None => Err(AclError::NoRule { listener, network }),
            Some(at) if rules[at].origin != Origin::Command => {
                let place = "the configuration".into();
                Err(AclError::NotByCommand { listener, network, place })
            }
            Some(at) => {
                rules.remove(at);
                Ok(())
            }
        }
    }

    fn test(&self, listener: &str, client: IpAddr) -> Result<Decision, AclError> {
        known(listener)?;
        let rules = self.0.lock().unwrap();
        let fitting = rules.iter().filter(|rule| rule.network.contains(&client));
        let rule = fitting.max_by_key(|rule| rule.network.prefix_len()).cloned();
        let verdict = rule.as_ref().map_or(Verdict::Allow, |rule| rule.verdict);
        Ok(Decision { listener: listener.into(), client, verdict, rule })
    }

    fn disconnect(&self, listener: Option<&str>) -> Result<Vec<Disconnected>, AclError> {
        known(listener.unwrap_or("web"))?;
        let end: SocketAddr = "203.0.113.9:51234".parse().unwrap();
        let listener = listener.unwrap_or("all").into();
        Ok(vec![Disconnected { listener, client: end, peer: end, local: end, error: None }])
    }
}

/// Asks for each in turn, and compares the answers.
async fn conversation(requests: impl IntoIterator<Item = (Method, String, Value)>) {
    with_api(MAPS, async |path| {
        for (method, request, expected) in requests {
            let (seen, _) = client::request::<Value>(path, method, &request).await.unwrap();
            assert_eq!(seen, expected, "{request}");
        }
    })
    .await;
}

#[tokio::test]
async fn rules_are_made_changed_tested_and_removed() {
    let of_file = json!({"network": "203.0.113.0/24", "verdict": "deny", "from": "configuration"});
    let made = json!({"network": "203.0.113.9/32", "verdict": "allow", "from": "command"});
    let mut changed = made.clone();
    changed["verdict"] = "deny".into();
    let test = |client: &str| format!("/test?client={client}");
    let verdict = |client: &str, verdict: &str, rule: Option<&Value>| {
        let mut decision = json!({"listener": null, "client": client, "verdict": verdict});
        if let Some(rule) = rule {
            decision["rule"] = rule.clone();
        }
        decision
    };
    let rules = |rules: &[&Value]| json!({"listener": null, "otherwise": "allow", "denied": "reset", "rules": rules});
    let single = "?network=203.0.113.9/32";
    let requests = [
        (Method::GET, String::new(), rules(&[&of_file])),
        (Method::GET, test("203.0.113.9"), verdict("203.0.113.9", "deny", Some(&of_file))),
        (Method::PUT, format!("{single}&verdict=allow"), made.clone()),
        (Method::GET, test("203.0.113.9"), verdict("203.0.113.9", "allow", Some(&made))),
        (Method::GET, test("::ffff:203.0.113.9"), verdict("203.0.113.9", "allow", Some(&made))),
        (Method::GET, test("2001:db8::9"), verdict("2001:db8::9", "allow", None)),
        (Method::PUT, format!("{single}&verdict=deny"), changed.clone()),
        (Method::GET, String::new(), rules(&[&of_file, &changed])),
        (Method::DELETE, single.into(), json!({})),
        (Method::GET, String::new(), rules(&[&of_file])),
    ];
    for listener in ["web", ODD] {
        conversation(requests.clone().map(|(method, request, mut expected)| {
            if expected.get("listener").is_some() {
                expected["listener"] = listener.into();
            }
            (method, format!("/v1/acl/{}{request}", escaped(listener)), expected)
        }))
        .await;
    }
}

#[tokio::test]
async fn connections_of_one_listener_or_all_are_ended() {
    let end = "203.0.113.9:51234";
    let ended = |name| json!([{"listener": name, "client": end, "peer": end, "local": end}]);
    conversation([
        (Method::POST, "/v1/disconnect".into(), ended("all")),
        (Method::POST, "/v1/disconnect?listener=web".into(), ended("web")),
        (Method::POST, format!("/v1/disconnect?listener={}", escaped(ODD)), ended(ODD)),
    ])
    .await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_a_sentence() {
    with_api(MAPS, async |path| {
        for (method, request, status, part) in [
            (Method::GET, "/v1/acl/api", 404, "there is no listener \"api\"; there are web"),
            (Method::GET, "/v1/acl/%ff", 400, "UTF-8"),
            (Method::GET, "/v1/acl/broken", 500, "the map is full: no memory"),
            (Method::GET, "/v1/acl", 404, "no such resource"),
            (Method::GET, "/v1/acl/web/test", 400, "client"),
            (Method::GET, "/v1/acl/web/test?client=10.0.0.0/8", 400, "client"),
            (Method::GET, "/v1/acl/api/test?client=10.0.0.1", 404, "no listener"),
            (Method::PUT, "/v1/acl/web?network=10.0.0.0/8", 400, "verdict"),
            (Method::PUT, "/v1/acl/web?network=10.0.0.0/8&verdict=x", 400, "`allow` or `deny`"),
            (Method::PUT, "/v1/acl/web?verdict=deny", 400, "network"),
            (Method::PUT, "/v1/acl/web?network=x&verdict=deny", 400, "\"x\" is not a network"),
            (Method::PUT, "/v1/acl/web?network=10.0.0.1/8&verdict=deny", 400, "\"10.0.0.0/8\""),
            (Method::PUT, "/v1/acl/api?network=10.0.0.0/8&verdict=deny", 404, "no listener"),
            (Method::DELETE, "/v1/acl/web?network=10.0.0.0/8", 404, "no rule for 10.0.0.0/8"),
            (Method::DELETE, "/v1/acl/web?network=203.0.113.0/24", 409, "in the configuration"),
            (Method::DELETE, "/v1/acl/web", 400, "network"),
            (Method::POST, "/v1/acl/web", 405, "only GET, PUT and DELETE are supported"),
            (Method::PUT, "/v1/acl/web/test", 405, "only GET is supported"),
            (Method::GET, "/v1/disconnect", 405, "only POST is supported"),
            (Method::POST, "/v1/disconnect?listeners=web", 400, "listeners"),
            (Method::POST, "/v1/disconnect?listener=", 404, "no listener"),
            (Method::POST, "/v1/disconnect?listener=broken", 500, "no memory"),
        ] {
            let (seen, sentence) = refusal(path, method, request).await;
            assert_eq!(seen, status, "{request}: {sentence}");
            assert!(sentence.contains(part), "{request}: {sentence}");
        }
    })
    .await;
}
