//! What `proxyip run` would find here, without changing anything: nothing is pinned, attached or written.

pub mod applications;
pub mod endpoints;
pub mod host;
pub mod listening;
pub mod namespaces;

use serde::Serialize;

use crate::bpf::probe::probe;
use crate::config::{Config, DEFAULT_PIN_PATH, Netns};
use crate::lifecycle::lock;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is, such as `kernel` or `tcp_syncookies`.
    pub check: &'static str,
    /// The network namespace that it is about: `host` or a path. Absent if it is about the whole host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netns: Option<String>,
    /// How it is.
    pub state: State,
    /// What was found, and what to do.
    pub sentence: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, but worse than it could.
    Warning,
    /// `proxyip run` would fail.
    Problem,
}

impl State {
    /// The label in JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Check {
    fn new(check: &'static str, state: State, sentence: impl Into<String>) -> Self {
        Self { check, netns: None, state, sentence: sentence.into() }
    }

    fn ok(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, State::Ok, sentence)
    }

    fn warning(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, State::Warning, sentence)
    }

    fn problem(check: &'static str, sentence: impl Into<String>) -> Self {
        Self::new(check, State::Problem, sentence)
    }

    /// What was found, or that it could not be.
    fn of(check: &'static str, result: anyhow::Result<String>) -> Self {
        match result {
            Ok(sentence) => Self::ok(check, sentence),
            Err(error) => Self::problem(check, format!("{error:#}")),
        }
    }

    fn within(mut self, netns: &Netns) -> Self {
        self.netns = Some(match netns {
            Netns::Host => "host".into(),
            Netns::Path(path) => path.display().to_string(),
        });
        self
    }
}

/// Looks at the host, and at what the configuration names. `agent` is the process that answers where one should.
#[must_use]
pub fn preflight(config: Option<&Config>, agent: Option<u32>) -> Vec<Check> {
    let pin_path = config.map_or(DEFAULT_PIN_PATH.as_ref(), |config| &*config.agent.pin_path);
    let capability = probe();
    let holder = lock::holder_of(pin_path);
    let mut checks = host::checks(&capability, pin_path, holder, agent);
    if let Some(config) = config {
        if let Ok(capability) = &capability
            && let Err(error) = capability.check(config)
        {
            checks.push(Check::problem("kernel", format!("{error:#}")));
        }
        let has_kfunc = capability.is_ok_and(|capability| capability.assign.is_some());
        checks.extend(endpoints::checks(config, holder.or(agent).is_some()));
        checks.extend(namespaces::checks(config, has_kfunc));
        checks.extend(applications::checks(config, has_kfunc));
    }
    checks
}
