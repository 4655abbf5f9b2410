//! Reading the configuration again.

use serde::{Deserialize, Serialize};

/// The configuration file was read again, and is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reloaded {
    /// What is allowed in the file but probably a mistake; a sentence each.
    pub warnings: Vec<String>,
}

/// How the last reload ended, by command or by SIGHUP. The start of the agent counts as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LastReload {
    /// Whether the file is in force as it was read then.
    pub successful: bool,
    /// When it ended, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// Why the file was refused; absent if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
