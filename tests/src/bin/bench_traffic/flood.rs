//! What a SYN and a forged acknowledgment cost the server in a flood: the kernel with SYN cookies, proxyip, and a program
//! that drops everything at once.

use std::net::{Ipv4Addr, TcpListener};

use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use proxyip_tests::{Agent, HandOff, Site};

use crate::rivals::{ACCEPT, NOT_GUARDED};
use crate::sender::{Segment, Sender, Sent};
use crate::{Effort, report, scene};

static OBJECT: &[u8] = include_bytes_aligned!(env!("PROXYIP_YARDSTICK"));

impl Segment {
    /// What the server's kernel counts when it answers.
    const fn counter_of_kernel(self) -> &'static str {
        match self {
            Self::Syn => "SyncookiesSent",
            Self::ForgedAck => "SyncookiesFailed",
        }
    }

    /// What proxyip counts. Some forged numbers look like those of a segment that overtook the header.
    const fn counters_of_proxyip(self) -> &'static [&'static str] {
        match self {
            Self::Syn => &["syn_answered"],
            Self::ForgedAck => &["cookie_foreign", "out_of_order"],
        }
    }
}

/// Measures all in each round, and prints it.
pub(crate) fn measure(effort: Effort) {
    let site = scene::site();
    site.net.server.sysctl("ipv4.tcp_syncookies", "2");
    // The sender's own kernel must not answer.
    site.net.balancer.run("iptables -I INPUT -p tcp -j DROP");
    let listen = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a port");
    let _listeners = site.net.server.enter(|| [listen(ACCEPT), listen(NOT_GUARDED)]);
    let flood = Flood { site: &site, sender: Sender::new(&site), effort };
    for _ in 0..effort.rounds {
        // Without SYNs before them, the kernel would not look at acknowledgments.
        flood.measure(Segment::Syn);
        flood.measure(Segment::ForgedAck);
    }
}

struct Flood<'a> {
    site: &'a Site,
    sender: Sender,
    effort: Effort,
}

impl Flood<'_> {
    fn measure(&self, segment: Segment) {
        let group = segment.name();
        self.by_kernel(segment, "kernel, tcp_syncookies = 2");
        let guard = scene::guard(ACCEPT).hand_off(HandOff::Accept);
        let agent = Agent::start(self.site, &guard);
        self.by_us(segment, &agent);
        self.by_kernel(segment, "proxyip, a port that is not guarded");
        drop(agent);
        let dropping = drop_at_once(self.site);
        let before = self.site.net.server.statistic("Tcp", "InSegs");
        let sent = self.send(segment, NOT_GUARDED);
        let passed = self.site.net.server.statistic("Tcp", "InSegs") - before;
        report::sample(group, "dropped at once by XDP", sent.nanoseconds(), passed);
        drop(dropping);
    }

    fn by_kernel(&self, segment: Segment, name: &str) {
        let counter = segment.counter_of_kernel();
        let server = &self.site.net.server;
        let before = server.statistic("TcpExt", counter);
        let sent = self.send(segment, NOT_GUARDED);
        let answered = server.statistic("TcpExt", counter) - before;
        report::sample(segment.name(), name, sent.nanoseconds(), sent.packets - answered);
    }

    fn by_us(&self, segment: Segment, agent: &Agent<'_>) {
        let count = || {
            let counters = segment.counters_of_proxyip().iter();
            counters.map(|counter| agent.counter(counter)).sum::<u64>()
        };
        let before = count();
        let sent = self.send(segment, ACCEPT);
        let answered = count() - before;
        report::sample(
            segment.name(),
            "proxyip, accept",
            sent.nanoseconds(),
            sent.packets - answered,
        );
    }

    fn send(&self, segment: Segment, port: u16) -> Sent {
        self.sender.send(segment, port, self.effort.duration)
    }
}

/// A program on the server's interface, for as long as the value lives.
fn drop_at_once(site: &Site) -> Ebpf {
    let mut ebpf = EbpfLoader::new().load(OBJECT).expect("the kernel takes the maps");
    let program: &mut Xdp =
        ebpf.program_mut("drop_at_once").expect("a program").try_into().expect("an XDP program");
    program.load().expect("the verifier takes it");
    site.net
        .server
        .enter(|| program.attach("eth0", XdpMode::Driver).map(drop))
        .expect("a veth takes it");
    ebpf
}
