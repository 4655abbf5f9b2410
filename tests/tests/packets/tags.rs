//! VLAN tags that are still in the frame when a program sees it: all behind the first, which the stack removes
//! before. The programs do not look behind a tag. The tests by the wire show what happens to tags there.

use crate::case::Case;
use crate::flags::at;
use crate::trial::hold;
use proxyip_tests::bench::{
    AUTO, FAMILIES, PLAIN, Program, TRANSLATE, cookie_of, first, translation,
};
use proxyip_tests::packet::{ACK, Packet};

/// IEEE 802.1Q.
pub(crate) const CUSTOMER: u16 = 0x8100;
/// IEEE 802.1ad.
pub(crate) const SERVICE: u16 = 0x88a8;

#[test]
fn tags() {
    hold("tags", || {
        let mut cases = Vec::new();
        for family in FAMILIES {
            for program in Program::INGRESS {
                for tags in [
                    vec![[CUSTOMER, 5]],
                    vec![[SERVICE, 5]],
                    vec![[SERVICE, 5], [CUSTOMER, 6]],
                    vec![[CUSTOMER, 0xe005], [CUSTOMER, 0]],
                ] {
                    let syn = family.syn(AUTO).with(|syn| syn.tags.clone_from(&tags));
                    let header = first(&syn, cookie_of(&syn, PLAIN), &family.header());
                    for packet in [syn, header] {
                        let what = at(&format!("tags {tags:x?}"), family, AUTO);
                        cases.push(Case::new(what, program, packet.frame()));
                    }
                }
            }
            let syn = family.syn(TRANSLATE);
            let out = Packet::new(syn.to, syn.from, ACK).with(|out| out.tags = vec![[CUSTOMER, 5]]);
            let case =
                Case::new(at("out, tagged", family, TRANSLATE), Program::Egress, out.frame());
            cases.push(case.before([translation(&syn, 28, 1)]));
        }
        cases
    });
}
