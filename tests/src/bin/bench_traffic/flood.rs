//! What a SYN and a forged acknowledgment cost the server in a flood: the kernel with SYN cookies, proxyip, and a program
//! that drops everything at once.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use proxyip_tests::{Agent, Guard, HandOff, Site};

use crate::rivals::{ACCEPT, NOT_GUARDED};
use crate::rounds::{Effort, Round};
use crate::scene;
use crate::sender::{Segment, Sender, Sent};

static OBJECT: &[u8] = include_bytes_aligned!(env!("PROXYIP_YARDSTICK"));

impl Segment {
    /// What the server's kernel counts when it answers.
    const fn counter_of_kernel(self) -> &'static str {
        match self {
            Self::Syn => "SyncookiesSent",
            Self::ForgedAck => "SyncookiesFailed",
        }
    }

    /// What the program at XDP counts, too.
    const fn counter_at_xdp(self) -> &'static str {
        match self {
            Self::Syn => "syn_answered_at_xdp",
            Self::ForgedAck => "cookie_foreign_unanswered_at_xdp",
        }
    }

    /// What proxyip counts. Some forged numbers look like those of a segment that overtook the header. One in eight million
    /// is a valid cookie, and as many are that of a keep-alive probe.
    const fn counters_of_proxyip(self) -> &'static [&'static str] {
        match self {
            Self::Syn => &["syn_answered"],
            Self::ForgedAck => &[
                "cookie_foreign",
                "cookie_foreign_unanswered",
                "out_of_order",
                "ack_deferred",
                "keep_alive_answered",
            ],
        }
    }
}

/// Measures all in each round, and prints it.
pub(crate) fn measure(effort: Effort) {
    let site = scene::site();
    site.net.server.sysctl("ipv4.tcp_syncookies", "2");
    // The sender's own kernel must not answer.
    site.net.balancer.run("iptables -I INPUT -p tcp -j DROP");
    // So that a program at XDP sees all of a frame, and the other end takes what it sends back, though late.
    site.net.server.run("ethtool -K eth0 rxvlan off");
    site.net.balancer.run("ethtool -K eth1 gro on");
    let listen = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a port");
    let _listeners = site.net.server.enter(|| [listen(ACCEPT), listen(NOT_GUARDED)]);
    let flood = Flood { site: &site, sender: Sender::new(&site) };
    for round in effort.rounds() {
        // Without SYNs before them, the kernel would not look at acknowledgments.
        for segment in [Segment::Syn, Segment::ForgedAck] {
            flood.measure(round, segment);
        }
    }
}

/// Who gets the packets.
#[derive(Clone, Copy, Debug)]
enum Target {
    Kernel,
    Agent,
    AgentAtXdp,
    KernelBesideAgent,
    Dropper,
}

const CONTENDERS: [(&str, Target); 5] = [
    ("kernel, tcp_syncookies = 2", Target::Kernel),
    ("proxyip, accept", Target::Agent),
    ("proxyip, accept, at XDP", Target::AgentAtXdp),
    ("proxyip, a port that is not guarded", Target::KernelBesideAgent),
    ("dropped at once by XDP", Target::Dropper),
];

struct Flood<'a> {
    site: &'a Site,
    sender: Sender,
}

impl Flood<'_> {
    fn measure(&self, round: Round, segment: Segment) {
        for (name, target) in round.order(&CONTENDERS) {
            let (sent, errors) = self.contend(*target, segment, round.duration());
            round.report((segment.name(), name), sent.nanoseconds(), errors);
        }
    }

    /// What was sent, and for how many of these packets nobody did what is to be measured.
    fn contend(&self, target: Target, segment: Segment, duration: Duration) -> (Sent, u64) {
        match target {
            Target::Kernel => self.to_kernel(segment, duration),
            Target::Agent => {
                let agent = Agent::start(self.site, &guard());
                self.to_agent(&agent, segment, duration)
            }
            Target::AgentAtXdp => self.to_xdp(segment, duration),
            Target::KernelBesideAgent => {
                let _agent = Agent::start(self.site, &guard());
                self.to_kernel(segment, duration)
            }
            Target::Dropper => self.to_dropper(segment, duration),
        }
    }

    fn to_kernel(&self, segment: Segment, duration: Duration) -> (Sent, u64) {
        let (server, counter) = (&self.site.net.server, segment.counter_of_kernel());
        let before = server.statistic("TcpExt", counter);
        let sent = self.sender.send(segment, NOT_GUARDED, duration);
        let answered = server.statistic("TcpExt", counter) - before;
        (sent, sent.packets.abs_diff(answered))
    }

    fn to_agent(&self, agent: &Agent, segment: Segment, duration: Duration) -> (Sent, u64) {
        let count = || {
            let counters = segment.counters_of_proxyip().iter();
            counters.map(|counter| agent.counter(counter)).sum::<u64>()
        };
        let before = count();
        let sent = self.sender.send(segment, ACCEPT, duration);
        (sent, sent.packets.abs_diff(count() - before))
    }

    /// In slices: a program at XDP knows for a second where answers go, from a SYN that the program at TC has answered.
    fn to_xdp(&self, segment: Segment, duration: Duration) -> (Sent, u64) {
        const SLICE: Duration = Duration::from_millis(250);
        let guard = guard().interface_setting("xdp = \"native\"");
        let agent = Agent::start(self.site, &guard);
        let (mut all, mut errors) = (Sent::default(), 0);
        let before = agent.counter(segment.counter_at_xdp());
        while all.elapsed() < duration {
            self.sender.send(Segment::Syn, ACCEPT, Duration::from_millis(1));
            let (sent, wrong) = self.to_agent(&agent, segment, SLICE.min(duration));
            all.add(sent);
            errors += wrong;
        }
        let at_xdp = agent.counter(segment.counter_at_xdp()) - before;
        assert!(at_xdp > all.packets / 2, "{at_xdp} of {} at XDP", all.packets);
        (all, errors)
    }

    fn to_dropper(&self, segment: Segment, duration: Duration) -> (Sent, u64) {
        let _program = drop_at_once(self.site);
        let server = &self.site.net.server;
        let before = server.statistic("Tcp", "InSegs");
        let sent = self.sender.send(segment, NOT_GUARDED, duration);
        (sent, server.statistic("Tcp", "InSegs") - before)
    }
}

fn guard() -> Guard {
    scene::guard(ACCEPT).hand_off(HandOff::Accept)
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
