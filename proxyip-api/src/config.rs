//! The configuration in force.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A configuration, with what it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ConfigJson {
    /// The path of the file that a reload reads; absent if the agent was started without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The keys that flags of `proxyip run` set, such as `api.socket`. A reload keeps them.
    #[serde(default)]
    pub flags: Vec<String>,
    /// As `proxyip config schema` describes it. Each key is at its value. A key that has neither a value nor a default is
    /// absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub config: Map<String, Value>,
    /// The networks in each file that the configuration names, by its path.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, Vec<String>>))]
    pub networks: BTreeMap<String, Vec<IpNet>>,
}
