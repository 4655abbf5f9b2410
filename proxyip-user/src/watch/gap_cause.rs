//! Why the stack refuses connections that are handed over to it.

use proxyip_common::counter::Obstacle;

use super::looks::LOOKS;
use crate::config::HandOffChoice;

/// For how many looks an overflow of accept queues, which may be another listener's, excuses that nothing is
/// established.
const EXCUSED: usize = 10;

/// Why the stack refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The application is too slow.
    Overflow,
    /// A sysctl of the namespace forbids it, or did so when the connections were handed over.
    Sysctl(Obstacle),
    /// Others are established.
    Some,
    /// Something else, of a listener that may translate. There may be ports to which nothing is established.
    Refusal,
    /// Something else, and the listener's `hand_off` leaves no choice.
    RefusalForGood,
}

/// What was seen while connections were handed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence {
    /// An accept queue was full.
    pub(super) overflowed: bool,
    /// For how many looks nothing has been established.
    pub(super) fruitless: usize,
    /// A sysctl of a namespace forbids the accept hand-off, or did so a moment ago.
    pub(super) forbidden: Option<Obstacle>,
}

impl Cause {
    /// A connection that finds the accept queue full would find it full with any hand-off. A rule refuses all
    /// handed-over connections to a port, so for a while none has been established.
    pub(super) fn of(hand_off: HandOffChoice, evidence: Evidence) -> Self {
        let Evidence { overflowed, fruitless, forbidden } = evidence;
        match (hand_off, forbidden) {
            _ if overflowed && fruitless < EXCUSED => Self::Overflow,
            (HandOffChoice::Auto, _) => Self::Refusal,
            (_, Some(sysctl)) => Self::Sysctl(sysctl),
            _ if fruitless < LOOKS => Self::Some,
            _ => Self::RefusalForGood,
        }
    }

    /// What the operator should look at.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Sysctl(Obstacle::SynCookiesOff) => {
                "net.ipv4.tcp_syncookies was 0 when they were handed over. New connections are translated until it is 1"
            }
            Self::Sysctl(_) => {
                "net.netfilter.nf_conntrack_tcp_loose was 0 when they were handed over. New connections are translated \
                 until it is 1"
            }
            Self::Overflow => {
                "the application's accept queue is full (ListenOverflows in `nstat -az`): it accepts too \
                 slowly, or its backlog or net.core.somaxconn is too small"
            }
            Self::Some => {
                "others are; a firewall rule may drop those of some peers, or memory is short"
            }
            Self::Refusal => {
                "a firewall rule probably drops them: look for rules that drop new connections without SYN \
                 or in conntrack state INVALID, or that queue them to user space (NFQUEUE)"
            }
            Self::RefusalForGood => {
                "a firewall rule probably drops them: look for rules that drop new connections without SYN \
                 or in conntrack state INVALID, or that queue them to user space (NFQUEUE); or let hand_off \
                 be \"auto\", which translates instead"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_translates_and_only_if_that_helps() {
        for (hand_off, overflowed, fruitless, expected) in [
            (HandOffChoice::Auto, false, 3, Cause::Refusal),
            (HandOffChoice::Auto, false, 0, Cause::Refusal),
            (HandOffChoice::Auto, true, 9, Cause::Overflow),
            (HandOffChoice::Auto, true, 10, Cause::Refusal),
            (HandOffChoice::Accept, false, 2, Cause::Some),
            (HandOffChoice::Accept, false, 3, Cause::RefusalForGood),
            (HandOffChoice::Accept, true, 3, Cause::Overflow),
        ] {
            let evidence = Evidence { overflowed, fruitless, forbidden: None };
            assert_eq!(Cause::of(hand_off, evidence), expected);
        }
    }

    #[test]
    fn a_sysctl_is_no_firewall_rule() {
        let forbidden = Some(Obstacle::SynCookiesOff);
        let evidence = Evidence { overflowed: false, fruitless: 9, forbidden };
        let cause = Cause::of(HandOffChoice::Accept, evidence);
        assert_eq!(cause, Cause::Sysctl(Obstacle::SynCookiesOff));
        // Its ports may be of another namespace: they are looked at one by one.
        assert_eq!(Cause::of(HandOffChoice::Auto, evidence), Cause::Refusal);
    }
}
