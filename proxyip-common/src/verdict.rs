//! What happens to a connection, with the names that the flow log, the API and the counters use.

use crate::counter::DropReason;
use crate::flow::FlowRecord;

/// What happens to a connection.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is given to the application.
    Accept = 0,
    /// It is given to the application although its client is denied: its packets are marked.
    Mark = 1,
    /// It is reset.
    Reset = 2,
    /// It is not answered.
    Drop = 3,
}

impl Verdict {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 4] = [Self::Accept, Self::Mark, Self::Reset, Self::Drop];
    /// How many there are.
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// As logs, metrics and the API name it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Mark => "mark",
            Self::Reset => "reset",
            Self::Drop => "drop",
        }
    }

    /// On a connection that is established.
    #[inline(always)]
    #[must_use]
    pub const fn on_flow(record: &FlowRecord) -> Self {
        if record.has(FlowRecord::DENIED) { Self::Mark } else { Self::Accept }
    }

    /// On a segment or connection that is refused for this reason.
    #[inline(always)]
    #[must_use]
    pub const fn on_refusal(reason: DropReason) -> Self {
        use DropReason as R;
        match reason {
            R::HeaderMissing
            | R::HeaderIncomplete
            | R::HeaderTimeout
            | R::HeaderForgotten
            | R::VersionRefused
            | R::UnknownRefused
            | R::V1TooLong
            | R::V1Family
            | R::V1Address
            | R::V1Port
            | R::V1LineEnd
            | R::V2Version
            | R::V2Command
            | R::V2Family
            | R::V2Length
            | R::V2Tlv
            | R::V2Checksum
            | R::UntrustedReset
            | R::DeniedReset
            | R::Unjudged
            | R::TrustWithdrawn
            | R::FlowTable
            | R::AssignRefused
            | R::TranslationTable
            | R::HandshakeUnknown
            | R::Signed
            | R::StackRefuses
            | R::Drained => Self::Reset,
            R::UntrustedDropped
            | R::DeniedDropped
            | R::Checksum
            | R::Fragment
            | R::ExtensionHeader
            | R::Hidden
            | R::SynAckFailed
            | R::ReplyFailed
            | R::TrimFailed
            | R::PayloadWithoutSocket
            | R::TranslateFailed
            | R::AcceptQueueFull
            | R::Held => Self::Drop,
        }
    }
}

/// Whether this reason ends the connection. Other reasons drop one segment, and its retransmission decides.
#[inline(always)]
#[must_use]
pub const fn is_final(reason: DropReason) -> bool {
    use DropReason as R;
    !matches!(
        reason,
        R::Checksum
            | R::Fragment
            | R::ExtensionHeader
            | R::Hidden
            | R::SynAckFailed
            | R::ReplyFailed
            | R::TrimFailed
            | R::PayloadWithoutSocket
            | R::TranslateFailed
            | R::AcceptQueueFull
            | R::Held
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reset_is_final_and_drops_are_that_a_rule_asks_for() {
        for reason in DropReason::ALL {
            let asked_for =
                matches!(reason, DropReason::UntrustedDropped | DropReason::DeniedDropped);
            let reset = Verdict::on_refusal(*reason) == Verdict::Reset;
            assert_eq!(is_final(*reason), reset || asked_for, "{}", reason.label());
        }
    }

    #[test]
    fn a_mark_is_a_verdict() {
        assert_eq!(Verdict::on_flow(&FlowRecord::EMPTY).label(), "accept");
        let marked = FlowRecord { flags: FlowRecord::DENIED, ..FlowRecord::EMPTY };
        assert_eq!(Verdict::on_flow(&marked).label(), "mark");
    }

    #[test]
    fn values_are_their_places() {
        for (index, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, index);
        }
    }
}
