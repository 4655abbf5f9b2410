//! Flows, as the flow log, the API and the command line have them.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::tlvs::TlvsJson;

/// Flows on a page of `GET /v1/flows`, and clients of `GET /v1/clients`, at most.
pub const MAX_FLOWS: u16 = 1000;

/// A flow; what is not known of it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Flow {
    /// The name of the listener that has the flow's port now. If no listener has it, the name of the flow's own listener; absent if that has left the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// How the connection was given to the application: `accept`, `translate` or `observe`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "accept"))]
    pub hand_off: Cow<'static, str>,
    /// What the header said of the client: `proxied`; `local`, the load balancer itself; `unknown`, no client named.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "proxied"))]
    pub origin: Cow<'static, str>,
    /// `datagram`, if the header announces that transport: the load balancer is a proxy of UDP to its client. Absent for
    /// all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "datagram"))]
    pub transport: Option<Cow<'static, str>>,
    /// Version of the header: `v1` or `v2`; `none`, if `headerless` lets the connection in without one.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "v2"))]
    pub version: Cow<'static, str>,
    /// The client; the peer, if the header names none.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "203.0.113.9:51234"))]
    pub client: SocketAddr,
    /// The load balancer's end.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "10.0.0.2:34711"))]
    pub peer: SocketAddr,
    /// This host's end.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "10.0.1.2:443"))]
    pub local: SocketAddr,
    /// Where the client connected to; the local end, if the header names none.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "192.0.2.1:443"))]
    pub destination: SocketAddr,
    /// The header's TLVs, if it had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlvs: Option<TlvsJson>,
}

/// A flow that is established now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LiveFlow {
    /// All but its time.
    #[serde(flatten)]
    pub flow: Flow,
    /// When it was established, RFC 3339 in UTC with milliseconds.
    #[cfg_attr(feature = "openapi", schema(example = "2026-11-20T08:00:01.123Z"))]
    pub established: String,
}

/// A part of the flow table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FlowPage {
    /// Flows in no order. A page may have none, and yet not be the last.
    pub flows: Vec<LiveFlow>,
    /// `cursor` of the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "1718"))]
    pub next: Option<String>,
}
