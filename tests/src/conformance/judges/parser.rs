//! proxyip's own parser.

use proxyip_common::counter::DropReason;
use proxyip_common::flow::Origin;
use proxyip_common::header::{HeaderError, parse};

use crate::conformance::vector::Vector;
use crate::conformance::verdict::{Named, Outcome, Verdict};

/// What the parser says when all bytes are there at once.
pub(in crate::conformance) fn parser(vector: &Vector) -> Outcome {
    let (verdict, label) = match parse(&vector.bytes()[..]) {
        Err(HeaderError::Incomplete) => (Verdict::Waits, DropReason::HeaderIncomplete.label()),
        Err(error) => (Verdict::Refused, DropReason::from(error).label()),
        Ok(header) if header.length as usize != vector.header.len() => {
            (Verdict::Misread, header.origin.label())
        }
        Ok(header) if header.origin == Origin::Proxied => {
            let client = Named::client(header.client.0.to_socket_addr());
            (Verdict::Accepted(client), header.origin.label())
        }
        Ok(header) => (Verdict::Accepted(Named::Peer), header.origin.label()),
    };
    Outcome { verdict, label: label.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::vectors::groups;

    /// What the end-to-end test asserts too, without root.
    #[test]
    fn the_parser_says_what_each_case_expects() {
        let mut wrong = Vec::new();
        for vector in groups().into_iter().flat_map(|group| group.vectors) {
            let (said, expected) = (parser(&vector), vector.expected.outcome());
            if said != expected {
                wrong.push(format!("{}: {said}, expected {expected}", vector.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
