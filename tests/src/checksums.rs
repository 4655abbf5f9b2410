//! Whether the IP and TCP checksums of a frame are right.

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket};

/// What a look at a frame's checksums found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksums {
    /// The frame carries no TCP segment. An ICMP error that quotes one does not either.
    NotTcp,
    /// The frame does not have the whole segment, so there is nothing to compare the TCP checksum with.
    Unknown,
    /// All are right.
    Right,
    /// At least one is wrong.
    Wrong,
}

impl Checksums {
    /// Looks at an Ethernet frame, with VLAN tags or without.
    pub(crate) fn of(frame: &[u8]) -> Self {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return Self::NotTcp };
        match packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let right = is_right(&Sum16BitWords::new().add_slice(header.slice()));
                let addresses = Sum16BitWords::new()
                    .add_4bytes(header.source())
                    .add_4bytes(header.destination());
                Self::of_segment(ip.payload(), addresses).and(right)
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let addresses = Sum16BitWords::new()
                    .add_16bytes(header.source())
                    .add_16bytes(header.destination());
                Self::of_segment(ip.payload(), addresses)
            }
            Some(LaxNetSlice::Arp(_)) | None => Self::NotTcp,
        }
    }

    /// Looks at the TCP checksum. Its pseudo-header begins with `addresses` (RFC 9293 §3.1, RFC 8200 §8.1).
    fn of_segment(payload: &LaxIpPayloadSlice<'_>, mut addresses: Sum16BitWords) -> Self {
        if payload.ip_number != IpNumber::TCP {
            return Self::NotTcp;
        }
        let Ok(length) = u32::try_from(payload.payload.len()) else { return Self::Unknown };
        if payload.incomplete || payload.fragmented || length < 20 {
            return Self::Unknown;
        }
        let sum = addresses
            .add_4bytes(length.to_be_bytes())
            .add_2bytes([0, IpNumber::TCP.0])
            .add_slice(payload.payload);
        if is_right(&sum) { Self::Right } else { Self::Wrong }
    }

    fn and(self, header_is_right: bool) -> Self {
        match self {
            Self::Right if !header_is_right => Self::Wrong,
            other => other,
        }
    }
}

/// Bytes that include their own checksum have the sum zero. Linux sends 0xffff where the checksum is 0, which is the
/// same number in one's complement. <https://elixir.bootlin.com/linux/v6.18/A/ident/CSUM_MANGLED_0>
fn is_right(sum: &Sum16BitWords) -> bool {
    sum.ones_complement() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader, VlanId};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const PAYLOAD: &[u8] = b"payload";
    const ETHERNET: usize = 14;

    fn written(builder: PacketBuilderStep<TcpHeader>) -> Vec<u8> {
        let mut frame = Vec::new();
        builder.write(&mut frame, PAYLOAD).expect("a Vec grows");
        frame
    }

    fn ipv4() -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(MAC, MAC);
        written(ethernet.ipv4([10, 77, 1, 2], [10, 77, 1, 1], 64).tcp(4000, 80, 1, 65535))
    }

    fn ipv6() -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(MAC, MAC);
        written(ethernet.ipv6([0xfd; 16], [0xfe; 16], 64).tcp(4000, 80, 1, 65535))
    }

    fn tagged() -> Vec<u8> {
        let vlan = VlanId::try_new(7).expect("a VLAN");
        let ethernet = PacketBuilder::ethernet2(MAC, MAC).single_vlan(vlan);
        written(ethernet.ipv4([10, 77, 1, 2], [10, 77, 1, 1], 64).tcp(4000, 80, 1, 65535))
    }

    #[test]
    fn whole_frames_are_right() {
        for frame in [ipv4(), ipv6(), tagged()] {
            assert_eq!(Checksums::of(&frame), Checksums::Right, "{frame:x?}");
            // Padding of a short frame belongs to no packet.
            assert_eq!(Checksums::of(&[frame, vec![0xff; 9]].concat()), Checksums::Right);
        }
    }

    /// Of the IP header the bytes that say where the segment is are left out: a frame damaged there is another frame.
    #[test]
    fn any_damaged_byte_is_found() {
        for (frame, ip) in [(ipv4(), ETHERNET), (ipv6(), ETHERNET), (tagged(), ETHERNET + 4)] {
            let addresses = ip + if frame[ip] >> 4 == 4 { 10 } else { 8 };
            for offset in addresses..frame.len() {
                for bit in 0..8 {
                    let mut damaged = frame.clone();
                    damaged[offset] ^= 1 << bit;
                    assert_eq!(
                        Checksums::of(&damaged),
                        Checksums::Wrong,
                        "byte {offset} bit {bit}"
                    );
                }
            }
        }
        let mut ttl = ipv4();
        ttl[ETHERNET + 8] -= 1;
        assert_eq!(Checksums::of(&ttl), Checksums::Wrong, "the header's checksum");
    }

    /// What a veth carries with checksum offload on: the sum of the pseudo header only.
    #[test]
    fn a_partial_checksum_is_wrong() {
        let mut frame = ipv4();
        let length = u8::try_from(20 + PAYLOAD.len()).expect("a short segment");
        let mut sum = Sum16BitWords::new().add_4bytes([10, 77, 1, 2]).add_4bytes([10, 77, 1, 1]);
        let partial = !sum.add_4bytes([0, 6, 0, length]).ones_complement();
        frame[ETHERNET + 20 + 16..][..2].copy_from_slice(&partial.to_ne_bytes());
        assert_eq!(Checksums::of(&frame), Checksums::Wrong);
    }

    #[test]
    fn zero_may_be_written_in_both_ways() {
        let mut frame = ipv4();
        let (checksum, free) = (ETHERNET + 20 + 16, ETHERNET + 20 + 4);
        // Into the sequence number goes what makes the checksum 0.
        let sum = u16::from_be_bytes([frame[checksum], frame[checksum + 1]]);
        frame[free..free + 2].copy_from_slice(&sum.to_be_bytes());
        for zero in [0_u16, 0xffff] {
            frame[checksum..checksum + 2].copy_from_slice(&zero.to_be_bytes());
            assert_eq!(Checksums::of(&frame), Checksums::Right, "{zero:x}");
        }
    }

    #[test]
    fn what_is_not_whole_is_not_called_right() {
        let whole = ipv4();
        assert_eq!(Checksums::of(&whole[..whole.len() - 1]), Checksums::Unknown);
        let mut fragment = ipv4();
        fragment[ETHERNET + 6] = 0x20;
        assert_eq!(Checksums::of(&fragment), Checksums::Unknown);
        let whole = ipv6();
        assert_eq!(Checksums::of(&whole[..whole.len() - 1]), Checksums::Unknown);
    }

    #[test]
    fn other_protocols_are_none_of_it() {
        let ethernet = PacketBuilder::ethernet2(MAC, MAC).ipv4([1; 4], [2; 4], 64);
        let mut frame = Vec::new();
        ethernet.udp(1, 2).write(&mut frame, PAYLOAD).expect("a Vec grows");
        assert_eq!(Checksums::of(&frame), Checksums::NotTcp);
        assert_eq!(Checksums::of(&[]), Checksums::NotTcp);
    }
}
