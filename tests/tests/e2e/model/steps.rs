//! What happens to an agent.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use proxyip_api::acl::Verdict;
use proxyip_tests::eventually;
use proxyip_tests::networks::NETWORKS;

use super::draw::{self, LISTENERS};
use super::policy::Policy;
use super::probe::PORTS;
use super::world::World;

/// A reload or a command may last so long. A kill comes at any moment of it.
const RELOAD: Duration = Duration::from_millis(12);
const COMMAND: Duration = Duration::from_millis(3);

/// What was done, and what of it was not as the model says.
pub(super) type Done = (&'static str, Vec<String>);

impl World<'_> {
    /// Something happens, and everything is compared.
    pub(super) fn step(&mut self) -> Done {
        match self.random.below(100) {
            0..32 => self.reload(),
            32..38 => self.refused_reload(),
            38..54 => self.rule(),
            54..64 => self.removal(),
            64..73 => self.drain(),
            73..91 => self.file(),
            91..93 => self.restart(Signal::SIGKILL),
            93..95 => self.restart(Signal::SIGTERM),
            95..97 => self.killed_in_reload(),
            97..99 => self.killed_in_command(),
            _ => self.killed_in_look(),
        }
    }

    fn compared(&mut self, what: &'static str, mut wrong: Vec<String>) -> Done {
        wrong.extend(self.deviations());
        (what, wrong)
    }

    /// Of a configuration that is right, mostly; else nothing may change.
    fn reload(&mut self) -> Done {
        let policy = draw::policy(&mut self.random, &self.policy, &self.files);
        self.configure(&policy, "");
        let wanted = self.files.load(policy);
        if let Some(wanted) = wanted.clone().filter(|_| self.random.once_in(8)) {
            let before = self.last_reload();
            self.signal(Signal::SIGHUP);
            eventually("the reload", || (self.last_reload() != before).then_some(()));
            self.policy = wanted;
            return self.compared("reload by SIGHUP", Vec::new());
        }
        let (status, answer) = self.ask("POST", "/v1/reload");
        let is_right = (status == 200) == wanted.is_some();
        let wrong = (!is_right).then(|| format!("a reload: {status} {answer}, and {wanted:?}"));
        let what = if wanted.is_some() { "reload" } else { "reload of contradictions" };
        match wanted {
            Some(wanted) => self.policy = wanted,
            None => self.configure(&self.policy, ""),
        }
        self.compared(what, wrong.into_iter().collect())
    }

    /// Of a file that no agent takes while it runs.
    fn refused_reload(&mut self) -> Done {
        let policy = draw::policy(&mut self.random, &self.policy, &self.files);
        let lines = [
            "max_flows = 1024",
            "pin_path = \"/sys/fs/bpf/elsewhere\"",
            "unheard = 1",
            "[[interface]]\nname = \"nosuch0\"",
            "[[set]]\nname = \"missing\"\nfile = \"/nonexistent/list\"",
            "[[listener]]\nname = \"twice\"\nports = [80, 80]\ntrusted = [\"10.0.0.0/8\", \"x\"]",
        ];
        let line = *self.random.one_of(&lines);
        self.configure(&policy, line);
        let (status, answer) = self.ask("POST", "/v1/reload");
        self.configure(&self.policy, "");
        let wrong = (status != 409).then(|| format!("a reload with {line:?}: {status} {answer}"));
        self.compared("reload of a wrong file", wrong.into_iter().collect())
    }

    /// `acl allow` and `acl deny`, as a request and what it leads to.
    fn draw_rule(&mut self) -> (String, Policy, bool) {
        let name = *self.random.one_of(&LISTENERS);
        let network = *self.random.one_of(&NETWORKS);
        let verdict = *self.random.one_of(&[Verdict::Allow, Verdict::Deny]);
        let mut policy = self.policy.clone();
        let exists = policy.listener(name).is_some();
        if exists {
            policy.commands.rules.insert((name, network.parse().expect("a network")), verdict);
        }
        (format!("/v1/acl/{name}?network={network}&verdict={}", verdict.label()), policy, exists)
    }

    fn rule(&mut self) -> Done {
        let (path, policy, exists) = self.draw_rule();
        self.command("acl allow, acl deny", ("PUT", &path), (policy, exists))
    }

    fn removal(&mut self) -> Done {
        let name = *self.random.one_of(&LISTENERS);
        let made: Vec<_> = self.policy.rules_of(name).into_keys().collect();
        let network = if made.is_empty() || self.random.once_in(3) {
            self.random.one_of(&NETWORKS).parse().expect("a network")
        } else {
            *self.random.one_of(&made)
        };
        let mut policy = self.policy.clone();
        let existed = policy.commands.rules.remove(&(name, network)).is_some();
        let path = format!("/v1/acl/{name}?network={network}");
        self.command("acl remove", ("DELETE", &path), (policy, existed))
    }

    fn drain(&mut self) -> Done {
        let name = *self.random.one_of(&LISTENERS);
        let port = (!self.random.once_in(3)).then(|| *self.random.one_of(&PORTS));
        let mut policy = self.policy.clone();
        let listener = policy.listener(name);
        let guards = listener.is_some_and(|one| port.is_none_or(|port| one.ports.contains(&port)));
        let drained = &mut policy.commands.drained;
        // Most are resumed soon: what is drained shows nothing else.
        let (verb, is_possible) = if self.random.once_in(3) {
            if guards {
                drained.insert((name, port));
            }
            ("drain", guards)
        } else {
            let is_possible = guards && !(port.is_some() && drained.contains(&(name, None)));
            if is_possible {
                drained.retain(|(of, one)| *of != name || port.is_some() && *one != port);
            }
            ("resume", is_possible)
        };
        let query = port.map_or_else(String::new, |port| format!("?port={port}"));
        let path = format!("/v1/listeners/{name}/{verb}{query}");
        self.command("listener drain, listener resume", ("POST", &path), (policy, is_possible))
    }

    fn command(
        &mut self,
        what: &'static str,
        (method, path): (&str, &str),
        (policy, is_possible): (Policy, bool),
    ) -> Done {
        let (status, answer) = self.ask(method, path);
        let is_right = (status == 200) == is_possible;
        let wrong = (!is_right).then(|| format!("{method} {path}: {status} {answer}"));
        self.policy = policy;
        self.compared(what, wrong.into_iter().collect())
    }

    /// The agent ends, and the next one starts: by a wrong file only when that is mended.
    fn restart(&mut self, signal: Signal) -> Done {
        self.end(signal);
        let probes = self.probes();
        let mut wrong = self.of_packets(&probes, &self.policy);
        let not_taken = self.files.not_taken(&self.policy);
        let is_refused = !not_taken.is_empty() || self.random.once_in(8);
        if is_refused {
            if not_taken.is_empty() {
                self.configure(&self.policy, "unheard = 1");
            }
            wrong.extend(self.assert_no_start().err());
            wrong.extend(self.of_packets(&probes, &self.policy));
            self.configure(&self.policy, "");
            self.mend(&not_taken);
        }
        self.start();
        let what = match signal {
            _ if is_refused => "start that is refused, then one that is not",
            Signal::SIGKILL => "SIGKILL and start",
            _ => "SIGTERM and start",
        };
        self.compared(what, wrong)
    }

    fn killed_in_reload(&mut self) -> Done {
        let policy = draw::policy(&mut self.random, &self.policy, &self.files);
        let Some(new) = self.files.load(policy) else { return self.refused_reload() };
        self.configure(&new, "");
        let mut api = self.api();
        api.send(b"POST /v1/reload HTTP/1.1\r\nHost: proxyip\r\n\r\n").expect("a request");
        self.killed_within(RELOAD, new, "killed in a reload")
    }

    fn killed_in_command(&mut self) -> Done {
        let (path, new, _) = self.draw_rule();
        let old = self.policy.clone();
        let mut api = self.api();
        let request = format!("PUT {path} HTTP/1.1\r\nHost: proxyip\r\n\r\n");
        api.send(request.as_bytes()).expect("a request");
        self.end_within(COMMAND);
        let probes = self.probes();
        let mut wrong = self.of_mixture(&probes, [&old, &new]);
        let not_taken = self.files.not_taken(&self.policy);
        self.mend(&not_taken);
        self.start();
        // Whether it was made is seen afterwards, and stays so.
        let is_made = LISTENERS.iter().all(|name| {
            let listed = self.listed(name).expect("rules").into_iter();
            let commands = listed.filter(|(_, (_, by_command))| *by_command);
            let commands = commands.map(|(network, (verdict, _))| (network, verdict));
            commands.collect::<std::collections::BTreeMap<_, _>>() == new.rules_of(name)
        });
        self.policy = if is_made { new } else { old };
        wrong.extend(self.deviations());
        ("killed in a command", wrong)
    }

    /// Kills the agent before so much time has passed. Then each port has the old policy or the new one, and under the next
    /// agent all have the new one.
    pub(super) fn killed_within(
        &mut self,
        most: Duration,
        new: Policy,
        what: &'static str,
    ) -> Done {
        self.end_within(most);
        let probes = self.probes();
        let wrong = self.of_mixture(&probes, [&self.policy, &new]);
        self.policy = new;
        self.start();
        self.compared(what, wrong)
    }

    fn end_within(&mut self, most: Duration) {
        let micros = usize::try_from(most.as_micros()).expect("a short time");
        let micros = u64::try_from(self.random.below(micros)).expect("a short time");
        thread::sleep(Duration::from_micros(micros));
        self.end(Signal::SIGKILL);
    }
}
