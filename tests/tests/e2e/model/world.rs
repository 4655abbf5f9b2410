//! An agent, its files, and the model beside it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipnet::IpNet;
use nix::sys::signal::Signal;
use proxyip_api::acl::{Decision, Origin, Rules, Verdict};
use proxyip_tests::networks::CLIENTS;
use proxyip_tests::random::Random;
use proxyip_tests::{Api, Process, Site, agent_binary, eventually};
use serde_json::{Value, json};

use super::draw::LISTENERS;
use super::files::{Files, path};
use super::members;
use super::policy::{Networks, Outcome, Policy, Seen};
use super::probe::{self, PORTS, Probe, seen};
use super::toml::toml;

/// The agent looks at its files every second. On a busy host it may be late.
const IN_THE_END: Duration = Duration::from_secs(20);
/// What the status says while files are not in force as they are.
const OLD_FILES: &str = "files of networks are not in force as they are now";
/// Connections after each step.
const PROBES: usize = 25;

/// An agent, its files, and the model beside it.
pub(super) struct World<'a> {
    pub(super) site: &'a Site,
    process: Option<Process>,
    pub(super) random: Random,
    pub(super) files: Files,
    /// What must be in force. The configuration file has the same.
    pub(super) policy: Policy,
    /// What connections got, as the model has it.
    pub(super) outcomes: RefCell<BTreeMap<&'static str, u32>>,
}

impl<'a> World<'a> {
    pub(super) fn new(site: &'a Site, random: Random, policy: Policy) -> Self {
        let (files, outcomes) = Default::default();
        let mut world = Self { site, process: None, random, files, policy, outcomes };
        world.write_files();
        world.configure(&world.policy, "");
        world.start();
        world
    }

    /// Writes the configuration file.
    pub(super) fn configure(&self, policy: &Policy, more: &str) {
        self.site.scratch.write("proxyip.toml", &toml(&self.site.scratch, policy, more));
    }

    pub(super) fn launch(&self) -> Process {
        let mut command = self.site.net.server.command(&agent_binary().display().to_string());
        command.args(["run", "--config"]).arg(self.site.scratch.path("proxyip.toml"));
        Process::start("proxyip", self.site.scratch.directory(), &mut command)
    }

    /// Starts an agent, and waits until it is ready.
    pub(super) fn start(&mut self) {
        let socket = self.site.scratch.path("api.sock");
        let mut process = self.launch();
        process.ready("GET /readyz answered 200", |_| {
            UnixStream::connect(&socket).ok()?;
            (self.ask("GET", "/readyz").0 == 200).then_some(())
        });
        self.process = Some(process);
    }

    /// Asserts that no agent starts.
    pub(super) fn assert_no_start(&self) -> Result<(), String> {
        let mut process = self.launch();
        let status = process.wait();
        if status.code().is_some_and(|code| code != 0) {
            return Ok(());
        }
        Err(format!("an agent with a wrong file ended with {status}"))
    }

    pub(super) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("an agent").signal(signal);
    }

    /// Ends the agent by this signal.
    pub(super) fn end(&mut self, signal: Signal) {
        self.signal(signal);
        self.process.take().expect("an agent").wait();
    }

    pub(super) fn api(&self) -> Api {
        Api::connect(&self.site.scratch.path("api.sock"))
    }

    pub(super) fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        self.api().request(method, path)
    }

    /// When the agent has read its configuration.
    pub(super) fn last_reload(&self) -> Value {
        self.ask("GET", "/v1/status").1["last_reload"].take()
    }

    pub(super) fn probes(&mut self) -> Vec<Probe> {
        probe::some(&mut self.random, PROBES)
    }

    /// All that is not as the model says, in any way of asking.
    pub(super) fn deviations(&mut self) -> Vec<String> {
        let probes = self.probes();
        [self.of_packets(&probes, &self.policy), self.of_surfaces()].concat()
    }

    /// The same once the agent has looked at its files.
    pub(super) fn deviations_in_the_end(&mut self) -> Vec<String> {
        let probes = self.probes();
        let mut found = Vec::new();
        let calm = proxyip_tests::until(IN_THE_END, || {
            found = [self.of_packets(&probes, &self.policy), self.of_surfaces()].concat();
            found.is_empty().then_some(())
        });
        calm.map_or(found, |()| Vec::new())
    }

    /// What packets show that this policy does not say.
    pub(super) fn of_packets(&self, probes: &[Probe], policy: &Policy) -> Vec<String> {
        let expects_silence = |probe: &Probe| probe.expected(policy).outcome == Outcome::Silence;
        let seen = seen(self.site, probes, expects_silence);
        let wrong = probes.iter().zip(seen).filter_map(|(probe, seen)| {
            let expected = probe.expected(policy);
            self.count(expected);
            match seen {
                Ok(seen) if seen == expected => None,
                Ok(seen) => Some(format!("{probe:?}: {seen:?} instead of {expected:?}")),
                Err(sentence) => Some(sentence),
            }
        });
        wrong.collect()
    }

    fn count(&self, seen: Seen) {
        let mut outcomes = self.outcomes.borrow_mut();
        *outcomes.entry(seen.outcome.label()).or_default() += 1;
        if seen.mark != 0 {
            *outcomes.entry("connections whose packets are marked").or_default() += 1;
        }
    }

    /// What packets show that neither of two policies says. The listener of a port and what is written of that listener
    /// change by a step each, so there is a third answer: the port's listener of before, as it is now.
    pub(super) fn of_mixture(&self, probes: &[Probe], [old, new]: [&Policy; 2]) -> Vec<String> {
        let between = |probe: &Probe| {
            let listener = old.guarding(probe.port).and_then(|there| new.listener(there.name));
            let seen = (probe.source.ip(), probe.header);
            listener.map(|listener| new.seen_at(listener, probe.port, seen))
        };
        let expected =
            |probe: &Probe| [Some(probe.expected(old)), Some(probe.expected(new)), between(probe)];
        let silent = |probe: &Probe| {
            let silence = Some(Outcome::Silence.into());
            expected(probe).contains(&silence)
        };
        let seen = seen(self.site, probes, silent);
        let mut wrong = Vec::new();
        for port in PORTS {
            let of_port = probes.iter().zip(&seen).filter(|(probe, _)| probe.port == port);
            let is_whole = |which: usize| {
                let mut of_port = of_port.clone();
                of_port.all(|(probe, seen)| seen.as_ref().ok().copied() == expected(probe)[which])
            };
            if !(0..3).any(is_whole) {
                let seen: Vec<_> = of_port
                    .map(|(probe, seen)| {
                        format!("\n      {probe:?}: {seen:?}, of {:?}", expected(probe))
                    })
                    .collect();
                wrong.push(format!("port {port} has neither policy:{}", seen.concat()));
            }
        }
        wrong
    }

    /// What the agent answers that the model does not.
    fn of_surfaces(&mut self) -> Vec<String> {
        let mut wrong = members::wrong(&self.site.scratch, &self.policy);
        for name in LISTENERS {
            wrong.extend(self.of_rules(name));
        }
        let at = self.random.below(self.policy.listeners.len());
        let listener = &self.policy.listeners[at];
        for _ in 0..2 {
            let client = *self.random.one_of(&CLIENTS);
            let expected = self.policy.verdict(
                listener,
                client.parse::<std::net::IpAddr>().expect("an address").to_canonical(),
            );
            let (status, answer) =
                self.ask("GET", &format!("/v1/acl/{}/test?client={client}", listener.name));
            let said = serde_json::from_value::<Decision>(answer.clone());
            if status != 200 || !said.is_ok_and(|said| said.verdict == expected) {
                wrong.push(format!(
                    "{client} at {}: {answer} instead of {expected:?}",
                    listener.name
                ));
            }
        }
        let status = self.ask("GET", "/v1/status").1;
        wrong.extend(self.of_status(&status));
        let status = status.to_string();
        let not_taken = self.files.not_taken(&self.policy);
        if status.contains(OLD_FILES) == not_taken.is_empty() {
            wrong.push(format!(
                "files that are not in force: {not_taken:?}, and the status: {status}"
            ));
        }
        for place in not_taken {
            let path = path(&self.site.scratch, place).display().to_string();
            if !status.contains(&path) {
                wrong.push(format!("the status does not name {path}: {status}"));
            }
        }
        wrong
    }

    /// What the status says of listeners, if that is wrong.
    fn of_status(&self, status: &Value) -> Option<String> {
        let listed = status["listeners"].as_array().into_iter().flatten();
        let listed = listed.map(|one| {
            [&one["name"], &one["ports"], &one["trusted_by_file"], &one["hand_off"]]
                .map(Value::to_string)
        });
        let expected = self.policy.listeners.iter().map(|one| {
            let by_file = one.trusted.file.as_ref().map_or(0, Networks::len);
            [json!(one.name), json!(one.ports), json!(by_file), json!(one.hand_off)]
                .map(|value| value.to_string())
        });
        let (listed, expected): (Vec<_>, Vec<_>) = (listed.collect(), expected.collect());
        (listed != expected).then(|| format!("listeners: {listed:?} instead of {expected:?}"))
    }

    /// The rules of a listener, as the agent lists them.
    pub(super) fn listed(&self, name: &str) -> Result<BTreeMap<IpNet, (Verdict, bool)>, String> {
        let (status, answer) = self.ask("GET", &format!("/v1/acl/{name}"));
        if status == 404 {
            return Ok(BTreeMap::new());
        }
        let rules: Rules = serde_json::from_value(answer).map_err(|error| error.to_string())?;
        let rules = rules.rules.into_iter();
        let by_command = |origin| origin == Origin::Command;
        Ok(rules.map(|rule| (rule.network, (rule.verdict, by_command(rule.origin)))).collect())
    }

    fn of_rules(&self, name: &str) -> Option<String> {
        let expected = self.policy.listed(name);
        match self.listed(name) {
            Ok(listed) if listed == expected => None,
            listed => Some(format!("rules of {name}: {listed:?} instead of {expected:?}")),
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        drop(self.process.take());
        let mut command = self.site.net.server.command(&agent_binary().display().to_string());
        command.args(["detach", "--drain", "0", "--pin-path"]).arg(self.site.scratch.pin_path());
        eventually("everything is detached", || {
            proxyip_tests::attempt(&mut command).status.success().then_some(())
        });
    }
}
