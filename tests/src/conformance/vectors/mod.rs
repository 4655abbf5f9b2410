//! The cases, in the order of the table.

mod garbage;
mod tlvs;
mod v1;
mod v1_fields;
mod v2;

use proxyip_common::counter::DropReason;

use super::vector::{Expected, Vector};

/// Cases that belong together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) vectors: Vec<Vector>,
}

/// All of them.
pub(super) fn groups() -> Vec<Group> {
    let group = |title, vectors| Group { title, vectors };
    vec![
        group("Version 1: lines that are accepted", v1::accepted()),
        group("Version 1: `UNKNOWN`", v1::unknown()),
        group("Version 1: the form of the line", v1::form()),
        group("Version 1: where the line ends", v1::ends()),
        group("Version 1: IPv4 addresses", v1_fields::ipv4()),
        group("Version 1: IPv6 addresses", v1_fields::ipv6()),
        group("Version 1: addresses of two families", v1_fields::mixed()),
        group("Version 1: ports", v1_fields::ports()),
        group("Version 2: commands and versions", v2::commands()),
        group("Version 2: `LOCAL`", v2::local()),
        group("Version 2: families and transports", v2::families()),
        group("Version 2: lengths", v2::lengths()),
        group("Version 2: TLVs", tlvs::form()),
        group("Version 2: checksums", tlvs::checksums()),
        group("Version 2: values of TLVs", tlvs::values()),
        group("Beginnings of headers", garbage::beginnings()),
        group("What is no header", garbage::others()),
    ]
}

/// A refusal.
const fn refused(reason: DropReason) -> Expected {
    Expected::Refused(reason)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::topic::Topic;
    use super::*;

    #[test]
    fn each_case_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        for vector in groups().into_iter().flat_map(|group| group.vectors) {
            assert!(names.insert(vector.name.clone()), "{} twice", vector.name);
        }
        assert!(names.len() > 250, "{} cases", names.len());
    }

    #[test]
    fn each_topic_has_cases() {
        let vectors: Vec<_> = groups().into_iter().flat_map(|group| group.vectors).collect();
        for topic in Topic::ALL {
            assert!(vectors.iter().any(|vector| vector.topic == Some(*topic)), "{topic:?}");
        }
    }
}
