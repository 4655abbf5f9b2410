//! Ports whose new connections are refused by command.

use serde::{Deserialize, Serialize};

/// What is drained of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Drained {
    /// The listener's name.
    pub listener: String,
    /// Its guarded ports that are drained now, ascending.
    pub ports: Vec<u16>,
}
