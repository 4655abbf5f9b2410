//! A flow as JSON: what the flow log, the API and the command line share.

use std::borrow::Cow;
use std::net::SocketAddr;

use proxyip_common::flow::{FlowKey, FlowRecord, HandOff, Origin};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tlvs::TlvsJson;

/// A flow; what is not known of it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// The listener's name; absent if the configuration no longer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// How the connection was given to the application: `accept`, `translate` or `observe`.
    #[schema(value_type = String, example = "accept")]
    pub hand_off: Cow<'static, str>,
    /// What the header said of the client: `proxied`, `local` or `unknown`.
    #[schema(value_type = String, example = "proxied")]
    pub origin: Cow<'static, str>,
    /// Version of the header: `v1` or `v2`.
    #[schema(value_type = String, example = "v2")]
    pub version: Cow<'static, str>,
    /// The client; the peer, if the header names none.
    #[schema(value_type = String, example = "203.0.113.9:51234")]
    pub client: SocketAddr,
    /// The load balancer's end.
    #[schema(value_type = String, example = "10.0.0.2:34711")]
    pub peer: SocketAddr,
    /// This host's end.
    #[schema(value_type = String, example = "10.0.1.2:443")]
    pub local: SocketAddr,
    /// Where the client connected to; the local end, if the header names none.
    #[schema(value_type = String, example = "192.0.2.1:443")]
    pub destination: SocketAddr,
    /// The header's TLVs, if it had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlvs: Option<TlvsJson>,
}

/// A flow that is established now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveFlow {
    /// All but its time.
    #[serde(flatten)]
    pub flow: Flow,
    /// When it was established, RFC 3339 in UTC with milliseconds.
    #[schema(example = "2026-11-20T08:00:01.123Z")]
    pub established: String,
}

impl Flow {
    /// From an entry of the flow table and what the agent knows of it.
    #[must_use]
    pub fn new(
        key: &FlowKey,
        record: &FlowRecord,
        listener: Option<String>,
        tlvs: Option<TlvsJson>,
    ) -> Self {
        Self {
            listener,
            hand_off: HandOff::from_u8(record.hand_off).unwrap_or(HandOff::Accept).label().into(),
            origin: Origin::from_u8(record.origin).unwrap_or(Origin::Unknown).label().into(),
            version: if record.version == 1 { "v1" } else { "v2" }.into(),
            client: record.client.0.to_socket_addr(),
            peer: key.peer.0.to_socket_addr(),
            local: key.local.0.to_socket_addr(),
            destination: record.destination.0.to_socket_addr(),
            tlvs,
        }
    }
}
