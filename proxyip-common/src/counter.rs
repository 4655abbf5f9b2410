//! Every number that the kernel programs keep, each from one list: its index in the map, its label in
//! metrics and logs, and the sentence an operator reads. A reason also has its advice: what the operator does next.

#![allow(
    clippy::doc_markdown,
    reason = "the sentences are also log text, where backticks do not belong"
)]

use crate::header::HeaderError;

pub mod per_listener;

/// A list whose places are indexes in a map.
macro_rules! counters {
    (
        $(#[$doc:meta])*
        $list:ident: $($name:ident $label:literal $sentence:literal $($advice:literal)?)*
    ) => {
        crate::labels! {
            $(#[$doc])*
            #[repr(u8)]
            $list: $($name $label $sentence $($advice)?)*
        }

        impl $list {
            /// How many there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The counter with this index; `None` if there is none.
            #[must_use]
            pub const fn from_u8(index: u8) -> Option<Self> {
                match index {
                    $(index if index == Self::$name as u8 => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

counters! {
    /// What happened, other than drops.
    Counter:
    Bypassed "bypassed" "SYN from a source that is not trusted, left alone"
    NoListener "no_listener" "SYN to a guarded port on which nothing listens here, left to the kernel"
    SynAnswered "syn_answered" "SYN from a trusted source, answered with a SYN cookie"
    AckDeferred "ack_deferred" "handshake's bare ACK, held back until the header comes"
    KeepAliveAnswered "keep_alive_answered" "keep-alive probe before the header, answered"
    HeaderAcknowledged "header_acknowledged" "header of a translated connection that the stack has not taken yet, acknowledged for it"
    HeaderPart "header_part" "segment that ends within the header: kept, if it is new, and acknowledged"
    ResetAgain "reset_again" "segment of a connection that was reset in the middle of its header, answered with another RST"
    FinBeforeHeader "fin_before_header" "peer closed before it sent a header"
    CookieForeign "cookie_foreign" "segment for a listening port that belongs to no handshake of proxyip, answered with a RST"
    OutOfOrder "out_of_order" "segment that overtook the header, dropped until the peer sends it again"
    HandedOver "handed_over" "connection whose header was read, handed to the kernel's TCP"
    Established "established" "connection whose header was read and that is established"
    RecordLost "record_lost" "connection established without memory for its record: the application sees the peer"
    Closed "closed" "established connection that has ended"
    PayloadRetry "payload_retry" "payload behind the header could not be queued; the peer sends it again"
    PeerNameInexpressible "peer_name_inexpressible" "IPv6 client of an AF_INET socket: accept() and getpeername() return the peer"
    Marked "marked" "connection whose client the listener denies, let through with a mark"
    DeniedAgain "denied_again" "segment of a connection that was dropped because its client is denied, dropped again"
    UntrustedHeader "untrusted_header" "segment that begins like a PROXY header, from a source that is not trusted"
    EventLost "event_lost" "event lost because the agent did not keep up or was not running"
    SynAnsweredAtXdp "syn_answered_at_xdp" "SYN from a trusted source, answered at XDP; also counted as syn_answered"
    AckDeferredAtXdp "ack_deferred_at_xdp" "handshake's bare ACK, held back at XDP; also counted as ack_deferred"
    CookieForeignUnanswered "cookie_foreign_unanswered" "segment for a listening port that belongs to no handshake of proxyip, dropped because very many others were answered"
    CookieForeignUnansweredAtXdp "cookie_foreign_unanswered_at_xdp" "the same, dropped at XDP; also counted as cookie_foreign_unanswered"
}

counters! {
    /// Why a connection or segment was refused.
    DropReason:
    HeaderMissing "header_missing" "the first bytes are no PROXY header"
        "Switch the PROXY protocol on at the load balancer, or remove the source from `trusted`. If the source sends both kinds, such as a kubelet on the address of the load balancer, write `headerless = \"local\"`. HAProxy: a health check with `port` or `addr` needs `check-send-proxy`."
    HeaderIncomplete "header_incomplete" "the peer closed before its header was complete"
        "Look in the logs of the load balancer for the reason why it closed."
    HeaderTimeout "header_timeout" "the header was begun and not completed within header_timeout"
        "Look for packet loss between the load balancer and this host. If the path is slow, raise `header_timeout`. The agent looks once a second."
    HeaderForgotten "header_forgotten" "the header was begun and then made room for others that were begun"
        "Find out which source begins hundreds of headers and does not complete them: the flow log names the peers. Remove it from `trusted` if it is no load balancer."
    VersionRefused "version_refused" "the listener does not allow this PROXY protocol version"
        "Add the version to `versions` of the listener, or configure the load balancer to send the other one."
    UnknownRefused "unknown_refused" "the header names no client, and the listener refuses headers without a client"
        "If these connections are meant, write `unknown = \"accept\"` for the listener, or `\"local\"` if they are health checks. If not, find out why the load balancer names no client."
    V1TooLong "v1_too_long" "version 1: no CRLF within 107 bytes"
        "Check what sends from this source: the text header is malformed or forged."
    V1Family "v1_family" "version 1: the protocol is not TCP4, TCP6 or UNKNOWN"
        "Check what sends from this source: the text header is malformed or forged."
    V1Address "v1_address" "version 1: not an address of the announced family"
        "Check what sends from this source: the text header is malformed or forged."
    V1Port "v1_port" "version 1: not a canonical port number"
        "Check what sends from this source: the text header is malformed or forged."
    V1LineEnd "v1_line_end" "version 1: the line does not end in CRLF where it must"
        "Check what sends from this source: the text header is malformed or forged."
    V2Version "v2_version" "version 2: the version field is not 2"
        "Check what sends from this source: the binary header is malformed or forged."
    V2Command "v2_command" "version 2: the command is neither LOCAL nor PROXY"
        "Check what sends from this source: the binary header is malformed or forged."
    V2Family "v2_family" "version 2: the address family or transport does not exist, or addresses have no transport"
        "Check what sends from this source: the binary header is malformed or forged."
    V2Length "v2_length" "version 2: the length is shorter than the family's addresses"
        "Check what sends from this source: the binary header is malformed or forged."
    V2Tlv "v2_tlv" "version 2: a TLV is longer than the header"
        "Check what sends from this source: the binary header is malformed or forged."
    V2Checksum "v2_checksum" "version 2: the CRC32C does not match"
        "Check what sends from this source: the binary header is malformed, forged or damaged on its way."
    UntrustedReset "untrusted_reset" "source that is not trusted, reset as configured"
        "Nothing: `untrusted = \"reset\"` asks for it. If the source is a load balancer, add it to `trusted`."
    UntrustedDropped "untrusted_dropped" "source that is not trusted, dropped as configured, or because a RST cannot be built"
        "Nothing: `untrusted` asks for it. `\"reset\"` drops fragments, and SYNs with IP options or extension headers. If the source is a load balancer, add it to `trusted`."
    DeniedReset "denied_reset" "the listener denies the client, reset as configured"
        "Nothing: the lists of the listener ask for it. `proxyip acl test LISTENER CLIENT` names the rule."
    DeniedDropped "denied_dropped" "the listener denies the client, dropped as configured"
        "Nothing: the lists of the listener ask for it. `proxyip acl test LISTENER CLIENT` names the rule."
    Unjudged "unjudged" "the listener judges clients, and its hand_off = \"accept\" cannot serve the connection"
        "Write `hand_off = \"auto\"` for the listener: it translates the connections that `accept` cannot serve."
    TrustWithdrawn "trust_withdrawn" "the source was trusted when the handshake began, and is no longer"
        "Nothing if you removed the source from `trusted`. If you did not, check `trusted` and `trusted_file`."
    Fragment "fragment" "IP fragment of a segment for a guarded port from a trusted source"
        "Correct the MTU of the path between the load balancer and this host, so that nothing is fragmented."
    ExtensionHeader "extension_header" "IP options or IPv6 extension headers on a segment for a guarded port from a trusted source"
        "Configure the source, or what is between it and this host, to send no IP options and no IPv6 extension headers."
    Hidden "hidden" "the programs cannot find the TCP header of the frame: two tags of VLAN 0, or more than 8 IPv6 extension headers"
        "Find out with `tcpdump -e` who sends frames with two tags of VLAN 0, or with more than 8 IPv6 extension headers."
    Signed "signed" "SYN with a TCP MD5 or TCP-AO signature for a connection that would be translated"
        "Switch TCP MD5 and TCP-AO off at the load balancer: they are not supported. It reports a timeout, because it ignores the unsigned RST."
    SynAckFailed "syn_ack_failed" "the SYN-ACK could not be built; the peer sends its SYN again"
        "Check that the host has free memory. If it has, report a fault."
    ReplyFailed "reply_failed" "the RST or ACK could not be built"
        "Check that the host has free memory. If it has, report a fault."
    Checksum "checksum" "the TCP checksum of a segment is wrong before its connection exists; the peer sends it again"
        "Nothing if it is rare: the peer sends the segment again. If it is frequent, look for a network card or cable that damages packets."
    FlowTable "flow_table" "the flow could not be recorded"
        "Check that the host has free memory. If it has, report a fault."
    AssignRefused "assign_refused" "bpf_sk_assign_tcp_reqsk() refused the connection"
        "Nothing if a sysctl changed a moment ago. If it goes on, report a fault."
    TrimFailed "trim_failed" "the first segment could not be cut down to a bare ACK"
        "Check that the host has free memory. If it has, report a fault."
    PayloadWithoutSocket "payload_without_socket" "payload behind a header whose connection TCP did not establish; the peer sends it again"
        "Check whether the accept queue of the application is full, and whether a firewall rule drops the connection. Under `translate`, also check whether headers come later than `net.ipv4.tcp_synack_retries` allows."
    TranslationTable "translation_table" "the table of translated connections is full"
        "Raise `max_translated`, or find out why connections do not end."
    HandshakeUnknown "handshake_unknown" "the handshake began before proxyip did, or was forgotten in a flood of SYNs"
        "Nothing after a start of proxyip: the load balancer tries again. If it goes on, look for a flood of SYNs."
    StackRefuses "stack_refuses" "the connection began before the agent noticed that the stack refuses handed-over connections"
        "Nothing: the next connection is translated."
    TranslateFailed "translate_failed" "the segment could not be rewritten; its sender sends it again"
        "Check that the host has free memory. If it has, report a fault."
    Drained "drained" "SYN to a port that a command has drained"
        "Run `proxyip listener resume` with the listener's name to let it take new connections again."
    AcceptQueueFull "accept_queue_full" "SYN for an application whose accept queue is full; the peer sends it again"
        "Find out why the application does not accept connections. If it is only busy at times, raise its backlog and `net.core.somaxconn`."
    Held "held" "segment that came while an agent took over another version's connections; the peer sends it again"
        "Nothing: it took a moment, at the start of the agent. If it goes on, start the agent again."
}

counters! {
    /// Why a trusted source's connection does not get the accept hand-off, but is translated or left to the
    /// kernel.
    Obstacle:
    Configured "configured" "the listener's hand_off says so"
        "Nothing: the configuration asks for it. `hand_off = \"auto\"` uses `accept` wherever it is possible."
    NoKfunc "no_kfunc" "the kernel has no bpf_sk_assign_tcp_reqsk() (Linux 6.9 with CONFIG_SYN_COOKIES has)"
        "Use Linux 6.9 or later, built with CONFIG_SYN_COOKIES. Until then, `hand_off = \"auto\"` translates."
    LivingSocket "living_socket" "SYN for a connection that exists: the kernel challenges it"
        "Nothing: the peer has lost a connection, and the kernel challenges it."
    TimeWait "time_wait" "the 4-tuple is still in TIME_WAIT"
        "Nothing under `auto`. To avoid it, let the load balancer close connections first, or give it more source ports."
    Mptcp "mptcp" "the application listens with an MPTCP socket"
        "Switch MPTCP off in the application if it does not need it. Go 1.24 and later: `GODEBUG=multipathtcp=0`, or `ListenConfig.SetMultipathTCP(false)`."
    SynCookiesOff "syncookies_off" "net.ipv4.tcp_syncookies is 0"
        "Run `sysctl -w net.ipv4.tcp_syncookies=1` in the network namespace of the listener."
    ConntrackStrict "conntrack_strict" "net.netfilter.nf_conntrack_tcp_loose is 0"
        "Run `sysctl -w net.netfilter.nf_conntrack_tcp_loose=1` in the network namespace of the listener."
    StackRefuses "stack_refuses" "connections that were handed over were not established: a firewall rule drops first ACKs"
        "Let the firewall accept an ACK without a SYN for the guarded ports, and wait: accept is tried again by itself, and `proxyip status` says when."
    MssTooSmall "mss_too_small" "the peer's MSS is below the kernel's minimum for SYN cookies"
        "Correct the MTU or the MSS clamping of the path: the load balancer offers an MSS below 536 (IPv4) or 1220 (IPv6)."
    Signed "signed" "the SYN carries a TCP MD5 or TCP-AO signature"
        "Switch TCP MD5 and TCP-AO off at the load balancer: they are not supported."
    Redirected "redirected" "NAT gives the port's connections to another port or address: left alone, their headers in place"
        "Guard the port that the connections are redirected to, in its namespace, or remove the rule of NAT (REDIRECT, DNAT)."
    Nat "nat" "the namespace has rules of NAT, with which the kernel refuses connections that are handed over"
        "Nothing under `auto`. Connections are accepted again when the namespace has no chain of NAT (`nft list ruleset`, `iptables -t nat -S`)."
    Delayed "delayed" "connections were established late: incoming packets are redirected to another interface (IFB) behind the kernel programs"
        "Nothing under `auto`: accept is tried again by itself, and `proxyip status` says when. To avoid the tries, write `hand_off = \"translate\"`."
}

impl From<HeaderError> for DropReason {
    #[inline(always)]
    fn from(error: HeaderError) -> Self {
        use HeaderError as E;
        match error {
            E::Missing => Self::HeaderMissing,
            E::Incomplete => Self::HeaderIncomplete,
            E::V1TooLong => Self::V1TooLong,
            E::V1Family => Self::V1Family,
            E::V1Address => Self::V1Address,
            E::V1Port => Self::V1Port,
            E::V1LineEnd => Self::V1LineEnd,
            E::V2Version => Self::V2Version,
            E::V2Command => Self::V2Command,
            E::V2Family => Self::V2Family,
            E::V2Length => Self::V2Length,
            E::V2Tlv => Self::V2Tlv,
            E::V2Checksum => Self::V2Checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_counter_of_its_own() {
        use crate::verdict::Verdict;
        let mut indexes = Vec::new();
        for hand_off in 0..4 {
            for version in 0..3 {
                indexes.extend(
                    Verdict::ALL.map(|verdict| per_listener::outcome(hand_off, version, verdict)),
                );
            }
        }
        let expected: Vec<_> = (per_listener::OUTCOMES..per_listener::LATENCY).collect();
        assert_eq!(indexes, expected);
        let undecided = per_listener::outcome(0, 0, Verdict::Reset);
        assert_eq!(per_listener::outcome(9, 9, Verdict::Reset), undecided);
    }

    #[test]
    fn each_advice_is_whole_sentences() {
        let refusals = DropReason::ALL.iter().map(|reason| (reason.label(), reason.advice()));
        let obstacles = Obstacle::ALL.iter().map(|reason| (reason.label(), reason.advice()));
        for (label, advice) in refusals.chain(obstacles) {
            assert!(advice.starts_with(char::is_uppercase), "{label}: {advice}");
            assert!(advice.ends_with('.'), "{label}: {advice}");
            assert_eq!(advice.matches('`').count() % 2, 0, "{label}: {advice}");
        }
    }

    #[test]
    fn indexes_and_labels_are_unique() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(DropReason::from_u8(u8::try_from(index).unwrap()), Some(*reason));
            assert!(DropReason::ALL[..index].iter().all(|other| other.label() != reason.label()));
        }
        assert_eq!(DropReason::from_u8(u8::try_from(DropReason::COUNT).unwrap()), None);
    }
}
