//! Whether the agent is there, and what it says when it cannot answer.

use serde::{Deserialize, Serialize};

/// Every answer that is not the one asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorJson {
    /// A sentence.
    pub error: String,
}

/// Whether the agent lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alive {
    /// `true`: whoever does not live does not answer.
    pub alive: bool,
}

/// Whether the kernel programs are attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IsReady {
    /// `true`: otherwise the answer is not 200.
    pub ready: bool,
    /// Listeners that a command has drained, some of their ports at least. Absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<String>,
}
