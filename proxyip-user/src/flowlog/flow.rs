//! Flows, from entries of the flow table.

use proxyip_api::flow::Flow;
use proxyip_api::tlvs::TlvsJson;
use proxyip_common::flow::{FlowKey, FlowRecord, HandOff, Origin};

/// From an entry of the flow table and what the agent knows of it.
pub(crate) fn flow(
    key: &FlowKey,
    record: &FlowRecord,
    listener: Option<String>,
    tlvs: Option<TlvsJson>,
) -> Flow {
    Flow {
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
