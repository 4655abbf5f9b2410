//! Tables of the kernel programs that are nearly full, and what to do.

use proxyip_api::finding::{Finding, FindingKind};

use crate::tables::fill::Fill;

/// In percent: so full that somebody should look.
const FULL: u64 = 90;

/// A finding if the table is nearly full, and somebody can do something about that.
#[must_use]
pub fn finding(fill: &Fill) -> Option<Finding> {
    let Fill { map, entries, most } = *fill;
    if most == 0 || entries * 100 < most * FULL {
        return None;
    }
    let of = format!("{entries} of {most}");
    let (kind, sentence) = match map {
        "FLOWS" => (
            FindingKind::FlowsFull,
            format!(
                "the flow table is nearly full ({of}): then the oldest flows are evicted, and lookups and sets of firewall \
             rules see the load balancer: raise `[agent] max_flows`, and start anew after `proxyip detach`"
            ),
        ),
        "TRANSLATIONS" => (
            FindingKind::TranslationsFull,
            format!(
                "the table of translated connections is nearly full ({of}): then new ones are reset: raise `[agent] \
             max_translated`, and start anew after `proxyip detach`"
            ),
        ),
        "TRUSTED" | "CLIENTS" => (
            FindingKind::NetworksFull,
            format!(
                "the table of networks {map} is nearly full ({of}): a reload needs room for old and new lists at once, and is \
             refused without: write fewer, larger networks"
            ),
        ),
        "SET_NAMES" => (
            FindingKind::SetsFull,
            format!(
                "{of} places of sets are taken: a set that has left keeps its place while a rule of iptables has its program. A \
                 reload that brings a new set is refused when all are taken: remove these rules, and reload"
            ),
        ),
        "DRAINED" => (
            FindingKind::DrainedFull,
            format!(
                "the table of drained ports is nearly full ({of}): then `proxyip listener drain` is refused: resume ports, or \
             drain whole listeners"
            ),
        ),
        _ => return None,
    };
    Some(Finding::new(kind, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_named_before_it_is_full() {
        for map in ["FLOWS", "TRANSLATIONS", "TRUSTED", "CLIENTS", "SET_NAMES", "DRAINED"] {
            let of = |entries| finding(&Fill { map, entries, most: 256 });
            assert_eq!((of(0), of(230)), (None, None), "{map}");
            let found = of(231).unwrap();
            assert!(found.sentence.contains("231 of 256"), "{found}");
        }
    }

    /// A flood fills these, and nobody can do anything about that.
    #[test]
    fn tables_of_what_has_not_begun_may_be_full() {
        for map in ["HANDSHAKES", "PARTIAL_HEADERS", "HEADER_BYTES", "DROPPED"] {
            assert_eq!(finding(&Fill { map, entries: 9, most: 9 }), None);
        }
        assert_eq!(finding(&Fill { map: "FLOWS", entries: 0, most: 0 }), None);
    }
}
