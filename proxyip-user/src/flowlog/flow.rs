//! Flows, from entries of the flow table.

use proxyip_api::flow::Flow;
use proxyip_api::tlvs::TlvsJson;
use proxyip_common::flow::{FlowKey, FlowRecord, HandOff, Origin};

const fn version(version: u8) -> &'static str {
    match version {
        0 => "none",
        1 => "v1",
        _ => "v2",
    }
}

/// What an entry of the flow table says in words.
pub(crate) struct Labels {
    pub(crate) hand_off: &'static str,
    pub(crate) origin: &'static str,
    pub(crate) transport: Option<&'static str>,
    pub(crate) version: &'static str,
}

impl Labels {
    pub(crate) fn of(record: &FlowRecord) -> Self {
        Self {
            hand_off: HandOff::from_u8(record.hand_off).unwrap_or(HandOff::Accept).label(),
            origin: Origin::from_u8(record.origin).unwrap_or(Origin::Unknown).label(),
            transport: record.has(FlowRecord::DATAGRAM).then_some("datagram"),
            version: version(record.version),
        }
    }
}

/// From an entry of the flow table and what the agent knows of it.
pub(crate) fn flow(
    key: &FlowKey,
    record: &FlowRecord,
    listener: Option<String>,
    tlvs: Option<TlvsJson>,
) -> Flow {
    let Labels { hand_off, origin, transport, version } = Labels::of(record);
    Flow {
        listener,
        hand_off: hand_off.into(),
        origin: origin.into(),
        transport: transport.map(Into::into),
        version: version.into(),
        client: record.client.0.to_socket_addr(),
        peer: key.peer.0.to_socket_addr(),
        local: key.local.0.to_socket_addr(),
        destination: record.destination.0.to_socket_addr(),
        tlvs,
    }
}
