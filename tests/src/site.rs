//! The scene of a test.

use std::process::Command;

use crate::agent::Agent;
use crate::capture::{Capture, Directions};
use crate::hand_off::HandOff;
use crate::net::{Net, Plan};
use crate::scratch::Scratch;

/// A network, a directory, and captures at both ends of the link between load balancer and server.
#[derive(Debug)]
pub struct Site {
    /// The load balancer's capture, then the server's; none where packets have partial checksums.
    captures: Vec<Capture>,
    /// Whether servers listen with MPTCP sockets.
    multipath: bool,
    /// The network.
    pub net: Net,
    /// The directory for logs and configurations.
    pub scratch: Scratch,
}

impl Site {
    /// An ordinary network: MTU 1500, no offloads. Its packets are captured, for tests that look at them.
    #[must_use]
    pub fn new() -> Self {
        Self::with(&Plan::default())
    }

    /// An ordinary network without captures.
    #[must_use]
    pub fn without_captures() -> Self {
        Self::without_captures_with(&Plan::default())
    }

    /// A network with peculiarities, without captures.
    #[must_use]
    pub fn without_captures_with(plan: &Plan) -> Self {
        let scratch = Scratch::new();
        let net = Net::new(&scratch, plan);
        Self { captures: Vec::new(), multipath: false, net, scratch }
    }

    /// An ordinary network; the servers listen as this hand-off's tests want it.
    #[must_use]
    pub fn under(hand_off: HandOff) -> Self {
        Self { multipath: hand_off == HandOff::Multipath, ..Self::new() }
    }

    /// A network with peculiarities.
    #[must_use]
    pub fn with(plan: &Plan) -> Self {
        let mut site = Self::without_captures_with(plan);
        let Self { net, scratch, .. } = &site;
        let mut captures = Vec::new();
        // With checksum offload on, a veth carries partial checksums, which are wrong by design.
        if !plan.offloads.checksums {
            let directions = if plan.offloads.merging { Directions::Out } else { Directions::Both };
            for (namespace, interface) in [(&net.balancer, "eth1"), (&net.server, "eth0")] {
                captures.push(Capture::start(scratch, namespace, interface, directions));
            }
        }
        site.captures = captures;
        site
    }

    /// A command that will run on the server. Where servers listen with MPTCP sockets, each of its TCP
    /// sockets becomes one.
    #[must_use]
    pub fn server_command(&self, program: &str) -> Command {
        if !self.multipath {
            return self.net.server.command(program);
        }
        let mut command = self.net.server.command("mptcpize");
        command.args(["run", program]);
        command
    }

    /// The capture at the load balancer's end of the link.
    #[must_use]
    pub fn balancer_capture(&self) -> &Capture {
        &self.captures[0]
    }

    /// The capture at the server's end of the link.
    #[must_use]
    pub fn server_capture(&self) -> &Capture {
        &self.captures[1]
    }

    /// Ends the captures, so that they can be read.
    pub fn stop_captures(&self) {
        self.captures.iter().for_each(Capture::stop);
    }

    /// What every test ends with: the agent lives and refused exactly what the test provoked, and the
    /// network is clean.
    pub fn finish(&self, agent: &mut Agent, drops: &[(&str, u64)]) {
        agent.assert_healthy(drops);
        self.assert_clean();
    }

    /// Asserts that no connection had to wait for its segments to be sent again. A few may be: on a busy machine an
    /// acknowledgment comes late.
    ///
    /// # Panics
    /// When that is not so.
    pub fn assert_swift(&self) {
        for end in [&self.net.balancer, &self.net.server] {
            let sent_again = end.statistic("Tcp", "RetransSegs");
            assert!(sent_again < 5, "{} sent {sent_again} segments again", end.name());
        }
    }

    /// Asserts that no packet had a wrong checksum: in the captures, and by the counters of the three machines'
    /// kernels.
    ///
    /// # Panics
    /// When a checksum was wrong.
    pub fn assert_clean(&self) {
        for namespace in self.net.namespaces() {
            for (table, counter) in [("Tcp", "InCsumErrors"), ("IpExt", "InCsumErrors")] {
                let errors = namespace.statistic(table, counter);
                assert_eq!(errors, 0, "{table} {counter} in {}", namespace.name());
            }
        }
        self.stop_captures();
        self.captures.iter().for_each(Capture::assert_clean);
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}
