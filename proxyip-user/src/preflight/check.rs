//! One thing that was looked at, and how it is.

use proxyip_api::check::Subject;
use serde::Serialize;

use crate::config::Netns;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What it is, such as `kernel` or `tcp_syncookies`.
    pub check: Subject,
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
    fn new(check: Subject, state: State, sentence: impl Into<String>) -> Self {
        Self { check, netns: None, state, sentence: sentence.into() }
    }

    pub(super) fn ok(check: Subject, sentence: impl Into<String>) -> Self {
        Self::new(check, State::Ok, sentence)
    }

    pub(super) fn warning(check: Subject, sentence: impl Into<String>) -> Self {
        Self::new(check, State::Warning, sentence)
    }

    pub(super) fn problem(check: Subject, sentence: impl Into<String>) -> Self {
        Self::new(check, State::Problem, sentence)
    }

    /// What was found, or that it could not be.
    pub(super) fn of(check: Subject, result: anyhow::Result<String>) -> Self {
        match result {
            Ok(sentence) => Self::ok(check, sentence),
            Err(error) => Self::problem(check, format!("{error:#}")),
        }
    }

    pub(super) fn within(mut self, netns: &Netns) -> Self {
        self.netns = Some(match netns {
            Netns::Host => "host".into(),
            Netns::Path(path) => path.display().to_string(),
        });
        self
    }
}
