//! What `proxyip check --diff` answers.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::finding::Finding;
use crate::status::InterfaceJson;

/// How a configuration file differs from what is in force, and what is in force from what it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The process of the agent that was asked; absent if none runs. Then this is what a start would do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<u32>,
    /// The file.
    pub file: String,
    /// What it changes, in the order of the schema.
    pub changes: Vec<Change>,
    /// Interfaces that are there and would be attached to.
    pub attach: Vec<InterfaceJson>,
    /// Interfaces that would be left.
    pub leave: Vec<InterfaceJson>,
    /// Why a reload would be refused; a sentence each.
    pub refused: Vec<String>,
    /// Where the kernel or the host is not as the configuration in force wants it, by the agent's own report.
    pub drift: Vec<Finding>,
    /// What else should be known; a sentence each. No difference.
    pub notes: Vec<String>,
}

impl Difference {
    /// Whether something differs.
    #[must_use]
    pub const fn is_one(&self) -> bool {
        !(self.changes.is_empty()
            && self.attach.is_empty()
            && self.leave.is_empty()
            && self.refused.is_empty()
            && self.drift.is_empty())
    }
}

/// One thing that a file changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The section of the configuration, such as `listener`; `file` for the networks in a file.
    pub section: String,
    /// Which of the section's entries; absent if the section is one table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The key; absent if the whole entry comes or goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What puts it in force: `reload` or `detach`.
    pub needs: String,
    /// How.
    #[serde(flatten)]
    pub how: How,
}

/// How something changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum How {
    /// It comes.
    Added {
        /// What it is.
        to: Value,
    },
    /// It goes.
    Removed {
        /// What it was.
        from: Value,
    },
    /// It becomes something else.
    Changed {
        /// What it was.
        from: Value,
        /// What it becomes.
        to: Value,
    },
    /// Items of a list come or go. Their order means nothing.
    Items {
        /// Those that come.
        added: Items,
        /// Those that go.
        removed: Items,
    },
}

/// Items of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Items {
    /// How many.
    pub count: usize,
    /// All of them if they are few, else the first.
    pub first: Vec<String>,
}
