//! Who has most connections.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Clients by number of live flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Clients {
    /// Those with most flows, most first.
    pub clients: Vec<ClientCount>,
    /// How many flows were counted.
    pub flows: u64,
    /// There are more flows than were counted: the numbers are those of a sample.
    pub sampled: bool,
}

/// A client, without its port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClientCount {
    /// Its address.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "203.0.113.9"))]
    pub client: IpAddr,
    /// Its flows.
    pub flows: u64,
}
