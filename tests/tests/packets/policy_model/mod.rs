//! The policy against a model that is too simple to be wrong: reloads, commands and restarts in any order, on the
//! kernel's own maps. After each step, each client has the verdict of the model, and each rule too.

mod maps;
mod model;
mod steps;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use proptest::test_runner::{Config as Runs, TestRunner};
use proxyip_api::acl::{Origin, Rule, Rules, Verdict};
use proxyip_tests::Scratch;
use proxyip_tests::networks::{CLIENTS, NETWORKS};
use proxyip_user::config::Config;
use proxyip_user::desired::rules::Part;
use proxyip_user::lifecycle::policy;
use proxyip_user::reconcile::acl::{Acl, AclError};
use proxyip_user::reconcile::control::Control;

use self::maps::Maps;
use self::model::{Model, smallest};
use self::steps::{LISTENERS, Listeners, Lists, Step, networks, step};
use crate::trial::report;

/// A configuration file.
fn file(pin_path: &Path, listeners: &Listeners, more: &str) -> Config {
    let quoted = |list| networks(list).map(|one| format!("'{one}'")).collect::<Vec<_>>().join(",");
    let mut text =
        format!("[agent]\npin_path = '{}'\nmax_flows = 1024\n{more}", pin_path.display());
    for (listener, lists) in listeners {
        let (name, port) = (LISTENERS[*listener], 1000 + listener);
        let (trusted, deny) = (quoted(lists.trusted), quoted(lists.deny));
        let allow =
            lists.allow.map_or_else(String::new, |list| format!("allow = [{}]", quoted(list)));
        let lines = [
            "[[listener]]",
            &format!("name = '{name}'"),
            &format!("ports = [{port}]"),
            &format!("trusted = [{trusted}]"),
            &format!("deny = [{deny}]"),
            &allow,
            "",
        ];
        text.push_str(&lines.join("\n"));
    }
    Config::from_toml(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// The part of an agent that handles the policy, and the model beside it.
struct Trial<'a> {
    pin_path: &'a Path,
    control: Control,
    model: Model,
}

impl Trial<'_> {
    fn take(&mut self, step: Step) {
        match step {
            Step::Reload(listeners) => self.reload(listeners),
            Step::Toggle(listener, list, network) => {
                let mut listeners = self.model.listeners.clone();
                if let Some((_, lists)) = listeners.iter_mut().find(|(there, _)| *there == listener)
                {
                    lists.toggle(list, network);
                }
                self.reload(listeners);
            }
            Step::RefusedReload(listeners) => {
                let config = file(self.pin_path, &listeners, "max_translated = 1024\n");
                let refused = self.control.reload(&config);
                refused.expect_err("a table's size cannot be changed while the agent runs");
            }
            Step::Set(listener, network, allow) => {
                let verdict = if allow { Verdict::Allow } else { Verdict::Deny };
                self.set(listener, NETWORKS[network].parse().expect("a network"), verdict);
            }
            Step::Remove(listener, network) => {
                self.remove(listener, NETWORKS[network].parse().expect("a network"));
            }
            Step::Sweep => self.control.sweep().expect("the maps can be written"),
            Step::Restart => {
                let config = file(self.pin_path, &self.model.listeners, "");
                self.control = policy::start(&config).expect("an agent");
            }
        }
    }

    fn reload(&mut self, listeners: Listeners) {
        let config = file(self.pin_path, &listeners, "");
        self.control.reload(&config).expect("the maps take it");
        self.model.reload(listeners);
    }

    fn set(&mut self, listener: usize, network: IpNet, verdict: Verdict) {
        let done = self.control.set(LISTENERS[listener], network, verdict);
        match self.model.lists(listener) {
            Some(_) => {
                done.expect("a rule");
                self.model.commands.insert((listener, network), verdict);
            }
            None => assert!(matches!(done, Err(AclError::NoListener { .. })), "{done:?}"),
        }
    }

    fn remove(&mut self, listener: usize, network: IpNet) {
        let done = self.control.remove(LISTENERS[listener], network);
        let rules = self.model.lists(listener).map(|lists| self.model.rules(listener, lists));
        let kept = self.model.commands_of(listener);
        if rules.is_none() && !kept.is_empty() {
            assert_eq!(done.is_ok(), kept.contains_key(&network), "{done:?}");
            self.model.commands.remove(&(listener, network));
            return;
        }
        let rule = rules.as_ref().map(|rules| rules.get(&network));
        match rule {
            None => assert!(matches!(done, Err(AclError::NoListener { .. })), "{done:?}"),
            Some(None) => assert!(matches!(done, Err(AclError::NoRule { .. })), "{done:?}"),
            Some(Some((_, Origin::Command))) => {
                done.expect("a rule of a command can be removed");
                self.model.commands.remove(&(listener, network));
            }
            Some(Some(_)) => {
                assert!(matches!(done, Err(AclError::NotByCommand { .. })), "{done:?}");
            }
        }
    }

    /// Asserts that the maps say what the model says, of everybody.
    fn compare(&self) {
        for (listener, name) in LISTENERS.iter().enumerate() {
            let part = Part { after: None, limit: NETWORKS.len() };
            let rules = self.control.rules(name, part);
            let Some(lists) = self.model.lists(listener) else {
                self.compare_kept(listener, rules);
                continue;
            };
            let rules = rules.expect("rules");
            assert!(!rules.orphaned, "{name}");
            assert_eq!(rules.otherwise, Model::otherwise(lists), "{name}");
            let expected: Vec<_> = self.model.rules(listener, lists).into_iter().collect();
            let listed = rules.rules.into_iter();
            let listed: Vec<_> = listed
                .map(|Rule { network, verdict, origin }| (network, (verdict, origin)))
                .collect();
            assert_eq!(listed, expected, "{name}");
            for client in CLIENTS.map(|text| text.parse::<IpAddr>().expect("an address")) {
                // Addresses that commands name come without the mapping.
                let client = client.to_canonical();
                let decision = self.control.test(name, client).expect("maps and rules agree");
                let expected = self.model.verdict(listener, lists, client);
                assert_eq!(decision.verdict, expected, "{client} at {name}");
            }
        }
        self.compare_trust();
    }

    /// Asserts that a listener that is away has its rules of commands, and nothing else.
    fn compare_kept(&self, listener: usize, rules: Result<Rules, AclError>) {
        let kept = self.model.commands_of(listener);
        if kept.is_empty() {
            assert!(matches!(rules, Err(AclError::NoListener { .. })), "{rules:?}");
            return;
        }
        let rules = rules.expect("rules that are kept");
        assert!(rules.orphaned);
        let listed: BTreeMap<_, _> =
            rules.rules.iter().map(|rule| (rule.network, rule.verdict)).collect();
        assert_eq!(listed, kept);
        assert!(rules.rules.iter().all(|rule| rule.origin == Origin::Command));
    }

    /// Who is trusted only the maps say.
    fn compare_trust(&self) {
        let places = self.control.current();
        let active = places.borrow().clone();
        let maps = Maps::of(self.pin_path);
        for (listener, lists) in &self.model.listeners {
            let (place, _) = active.named(LISTENERS[*listener]).expect("a listener in force");
            for client in CLIENTS.map(|text| text.parse::<IpAddr>().expect("an address")) {
                let trusted = networks(lists.trusted).map(|network| (network, true));
                let expected = smallest(trusted, client).unwrap_or(false);
                assert_eq!(maps.is_trusted(place, client), expected, "{client} at {listener}");
            }
        }
    }
}

/// Removes the rules of commands, also of listeners that are away.
fn forget_commands(control: &Control) {
    for name in LISTENERS {
        let part = Part { after: None, limit: NETWORKS.len() };
        let rules = control.rules(name, part).map_or_else(|_| Vec::new(), |rules| rules.rules);
        for rule in rules.into_iter().filter(|rule| rule.origin == Origin::Command) {
            control.remove(name, rule.network).expect("a rule of a command can be removed");
        }
    }
}

#[test]
fn policy_is_that_of_the_model() {
    const CASES: u32 = 32;
    let scratch = Scratch::new();
    let pin_path = scratch.pin_path();
    // The listeners that leave and come take what a case has left with them.
    let nobody = vec![(0, Lists { trusted: 2, allow: None, deny: 0 })];
    let others = vec![(1, nobody[0].1)];
    let mut runner = TestRunner::new(Runs {
        cases: CASES,
        max_shrink_iters: 64,
        // The maps keep what a case has done, so that a run that is made again begins elsewhere.
        failure_persistence: None,
        ..Runs::default()
    });
    let steps = proptest::collection::vec(step(), 1..16);
    let outcome = runner.run(&steps, |steps| {
        let control = policy::start(&file(&pin_path, &nobody, "")).expect("an agent");
        for listeners in [&others, &nobody] {
            control.reload(&file(&pin_path, listeners, "")).expect("the maps take it");
        }
        forget_commands(&control);
        let model = Model { listeners: nobody.clone(), commands: BTreeMap::new() };
        let mut trial = Trial { pin_path: &pin_path, control, model };
        for step in steps {
            trial.take(step);
            trial.compare();
        }
        for _ in 0..2 {
            trial.take(Step::Sweep);
        }
        trial.compare();
        assert_eq!(Maps::of(&pin_path).left_over(), [0; 0], "lists that nobody reads");
        Ok(())
    });
    let wrong: Vec<_> = outcome.err().map(|error| error.to_string()).into_iter().collect();
    report("policy against its model", CASES as usize, &wrong);
}
