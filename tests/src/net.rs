//! The network of every test: client — load balancer — server.

use crate::namespace::Namespace;
use crate::scratch::Scratch;
use crate::wire::{Faults, Wire};

/// Addresses of the three machines. The load balancer's private side is where the server sees it.
pub mod address {
    /// The client.
    pub const CLIENT: &str = "203.0.113.9";
    /// A second address of the client; connections to [`FRONT_OTHER`] leave from it.
    pub const CLIENT_OTHER: &str = "203.0.113.10";
    /// The client.
    pub const CLIENT6: &str = "2001:db8:c::9";
    /// A second address of the client; connections have this source only if they ask for it.
    pub const CLIENT6_OTHER: &str = "2001:db8:c::10";
    /// The load balancer as clients see it.
    pub const FRONT: &str = "203.0.113.1";
    /// A second address of the load balancer as clients see it.
    pub const FRONT_OTHER: &str = "203.0.113.2";
    /// The load balancer as clients see it.
    pub const FRONT6: &str = "2001:db8:c::1";
    /// The load balancer as the server sees it: the trusted source.
    pub const BALANCER: &str = "10.77.1.2";
    /// The load balancer as the server sees it: the trusted source.
    pub const BALANCER6: &str = "fd00:77:1::2";
    /// A machine that is not trusted (the load balancer's namespace has its address).
    pub const STRANGER: &str = "10.77.1.3";
    /// A machine that is not trusted (the load balancer's namespace has its address).
    pub const STRANGER6: &str = "fd00:77:1::3";
    /// The server.
    pub const SERVER: &str = "10.77.1.1";
    /// The server.
    pub const SERVER6: &str = "fd00:77:1::1";
}

/// Segmentation and checksum offloads of the link between load balancer and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Transmit and receive checksums are left to the device. A veth never computes them.
    pub checksums: bool,
    /// Segmentation is left to the device: on a veth, segments of up to 64 KB cross as they are.
    pub segmentation: bool,
    /// Received segments are merged.
    pub merging: bool,
}

impl Offloads {
    /// All off: every packet on the link is as it would be on a wire.
    pub const NONE: Self = Self { checksums: false, segmentation: false, merging: false };
}

/// What may differ from test to test.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// MTU of both ends of the link between load balancer and server, bytes.
    pub mtu: u32,
    /// Offloads of both ends of that link.
    pub offloads: Offloads,
    /// Makes that link a wire that is broken in this way, and has no offloads.
    pub faults: Option<Faults>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { mtu: 1500, offloads: Offloads::NONE, faults: None }
    }
}

/// Three namespaces and the links between them. The client has `eth0`; the load balancer `eth0` to
/// the client and `eth1` to the server; the server `eth0`.
#[derive(Debug)]
pub struct Net {
    /// The client's namespace.
    pub client: Namespace,
    /// The load balancer's.
    pub balancer: Namespace,
    /// The server's.
    pub server: Namespace,
    wire: Option<Wire>,
}

impl Net {
    /// Builds it.
    #[must_use]
    pub fn new(scratch: &Scratch, plan: &Plan) -> Self {
        let namespace = |role: &str| Namespace::new(format!("{}-{role}", scratch.name()));
        let (client, balancer) = (namespace("client"), namespace("lb"));
        let server = namespace("server");
        link(&client, "eth0", &balancer, "eth0");
        let (one, other) = ((&balancer, "eth1"), (&server, "eth0"));
        let wire = plan.faults.map(|faults| Wire::new(one, other, faults));
        if wire.is_none() {
            link(&balancer, "eth1", &server, "eth0");
        }
        let net = Self { client, balancer, server, wire };
        net.give_addresses();
        net.set_mtu(plan.mtu);
        net.set_offloads(plan.offloads);
        net
    }

    fn give_addresses(&self) {
        use address::{CLIENT, CLIENT_OTHER, CLIENT6, CLIENT6_OTHER, FRONT, FRONT_OTHER, FRONT6};
        let Self { client, balancer, .. } = self;
        give(client, "eth0", &[CLIENT, CLIENT_OTHER, CLIENT6, CLIENT6_OTHER]);
        give(balancer, "eth0", &[FRONT, FRONT_OTHER, FRONT6]);
        self.give_private_addresses();
        client.ip(&format!("route add {FRONT_OTHER}/32 dev eth0 src {CLIENT_OTHER}"));
    }

    fn give_private_addresses(&self) {
        use address::{BALANCER, BALANCER6, SERVER, SERVER6, STRANGER, STRANGER6};
        give(&self.balancer, "eth1", &[BALANCER, STRANGER, BALANCER6, STRANGER6]);
        give(&self.server, "eth0", &[SERVER, SERVER6]);
    }

    /// Makes the link between load balancer and server again, after it was deleted; without offloads.
    pub fn make_private_link(&self) {
        link(&self.balancer, "eth1", &self.server, "eth0");
        self.give_private_addresses();
        self.set_offloads(Offloads::NONE);
    }

    /// Sets the MTU of both ends of the link between load balancer and server.
    pub fn set_mtu(&self, mtu: u32) {
        self.balancer.ip(&format!("link set eth1 mtu {mtu}"));
        self.server.ip(&format!("link set eth0 mtu {mtu}"));
    }

    /// Sets the offloads of both ends of the link between load balancer and server.
    pub fn set_offloads(&self, offloads: Offloads) {
        if self.wire.is_some() {
            assert_eq!(offloads, Offloads::NONE, "a TAP interface has none");
            return;
        }
        let word = |on: bool| if on { "on" } else { "off" };
        let checksums = word(offloads.checksums);
        let segmentation = word(offloads.segmentation);
        let merging = word(offloads.merging);
        for (namespace, interface) in [(&self.balancer, "eth1"), (&self.server, "eth0")] {
            namespace.run(&format!(
                "ethtool -K {interface} rx {checksums} tx {checksums} gro {merging}"
            ));
            if offloads.checksums {
                namespace
                    .run(&format!("ethtool -K {interface} tso {segmentation} gso {segmentation}"));
            }
        }
    }

    /// The three namespaces.
    #[must_use]
    pub fn namespaces(&self) -> [&Namespace; 3] {
        [&self.client, &self.balancer, &self.server]
    }
}

fn give(namespace: &Namespace, interface: &str, addresses: &[&str]) {
    use address::{CLIENT6_OTHER, STRANGER6};
    for address in addresses {
        // Without nodad an IPv6 address could not be used for the first second or two.
        let (bits, nodad) = if address.contains(':') { (64, "nodad") } else { (24, "") };
        // Never chosen by the kernel: a connection has this source only if it asks for it.
        let chosen = ![STRANGER6, CLIENT6_OTHER].contains(address);
        let deprecated = if chosen { "" } else { "preferred_lft 0" };
        namespace.ip(&format!("addr add {address}/{bits} dev {interface} {nodad} {deprecated}"));
    }
}

/// A veth pair, made where it belongs: interface names cannot clash with another test's.
fn link(one: &Namespace, one_end: &str, other: &Namespace, other_end: &str) {
    let peer = other.name();
    one.ip(&format!("link add {one_end} type veth peer name {other_end} netns {peer}"));
    one.ip(&format!("link set {one_end} up"));
    other.ip(&format!("link set {other_end} up"));
}
