//! Lines of the flow log.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::flow::Flow;

/// A line of the flow log; its fields are described in [`Flow`] and below.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Line {
    /// `accept`, `close`, `refuse` or `left_to_kernel`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub event: Cow<'static, str>,
    /// When it happened, RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// `accept`, `reset` or `drop`; `mark`, if the client is denied and let through with a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub verdict: Option<Cow<'static, str>>,
    /// The label of the reason, for a connection that was refused or left to the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub reason: Option<Cow<'static, str>>,
    /// Which connection.
    #[serde(flatten)]
    pub connection: Connection,
    /// What it was in all, once it is over.
    #[serde(flatten)]
    pub totals: Option<Totals>,
}

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Connection {
    /// A connection whose client is known.
    Flow(Box<Flow>),
    /// A connection that was refused or left to the kernel before its client was known.
    Attempt {
        /// The name of the listener that has the flow's port now. If no listener has it, the name of the flow's own listener; absent if that has left the configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listener: Option<String>,
        /// In a refusal, how it would have been given; absent if that was not decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        hand_off: Option<Cow<'static, str>>,
        /// The load balancer's end.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        peer: SocketAddr,
        /// This host's end.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        local: SocketAddr,
    },
}

/// A connection's life, and sums over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Totals {
    /// When the connection was established, or refused; RFC 3339, as `time`.
    pub start: String,
    /// When the connection was closed, or refused; the same as `time`.
    pub end: String,
    /// What came in.
    #[serde(flatten)]
    pub received: Option<Received>,
    /// What went out.
    #[serde(flatten)]
    pub sent: Option<Sent>,
    /// Milliseconds from established to closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// What came from the client; in a refusal, the segment that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Received {
    /// Packets from the client, as TCP counts them, modulo 2^32. In a refusal, those of the refused segment.
    pub packets_received: u32,
    /// Bytes of payload from the client, without the header; with it under `observe`. In a refusal, all of the segment.
    pub bytes_received: u64,
}

/// What went to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sent {
    /// Packets to the client, as TCP counts them, modulo 2^32.
    pub packets_sent: u32,
    /// Bytes of payload to the client that it has acknowledged.
    pub bytes_sent: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let attempt = r#"{"event":"refuse","time":"T","verdict":"reset","reason":"v2_tlv","peer":"10.0.0.2:41000","local":"10.0.1.2:443","start":"T","end":"T","packets_received":3,"bytes_received":100}"#;
        let flow = r#"{"event":"close","time":"T","verdict":"accept","listener":"web","hand_off":"accept","origin":"proxied","version":"v2","client":"203.0.113.9:51234","peer":"10.0.0.2:41000","local":"10.0.1.2:443","destination":"192.0.2.1:443","start":"S","end":"T","packets_received":3,"bytes_received":100,"packets_sent":2,"bytes_sent":7,"duration_ms":5}"#;
        for text in [attempt, flow] {
            let line: Line = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&line).unwrap(), text);
        }
        let line: Line = serde_json::from_str(attempt).unwrap();
        assert!(matches!(line.connection, Connection::Attempt { listener: None, .. }));
        assert_eq!(line.totals.unwrap().sent, None);
    }
}
