//! Connections and requests, to the server alone and with each way in which it gets to know its clients.

use proxyip_tests::{Agent, Guard, HandOff, Process, Site};

use crate::clients::Clients;
use crate::generator::{Outcome, Use};
use crate::rivals::{ACCEPT, DIRECT, HAPROXY, MMPROXY, NOT_GUARDED, OWN, TRANSLATE};
use crate::rounds::{Effort, Round};
use crate::{flow_log, programs, report, rivals, scene};

/// Who runs beside the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    /// No agent.
    Others,
    Agent,
    AgentWithFlowLog,
}

/// One way.
#[derive(Clone, Copy, Debug)]
struct Contender {
    name: &'static str,
    port: u16,
    /// Who the headers name; without it there are no headers.
    clients: Option<Clients>,
    beside: Beside,
}

impl Contender {
    const fn alone(name: &'static str, port: u16) -> Self {
        Self { name, port, clients: None, beside: Beside::Others }
    }

    const fn rival(name: &'static str, port: u16) -> Self {
        Self { name, port, clients: Some(Clients::FEW), beside: Beside::Others }
    }

    const fn ours(name: &'static str, port: u16) -> Self {
        Self { name, port, clients: Some(Clients::FEW), beside: Beside::Agent }
    }
}

/// The last one has the flow log.
const CONTENDERS: [Contender; 8] = [
    Contender::alone("direct", DIRECT),
    Contender::rival("nginx, its own proxy_protocol", OWN),
    Contender::rival("HAProxy, usesrc clientip", HAPROXY),
    Contender::rival("mmproxy-rs", MMPROXY),
    Contender::ours("proxyip, accept", ACCEPT),
    Contender::ours("proxyip, translate", TRANSLATE),
    Contender {
        beside: Beside::Agent,
        ..Contender::alone("proxyip, a port that is not guarded", NOT_GUARDED)
    },
    Contender {
        beside: Beside::AgentWithFlowLog,
        ..Contender::ours("proxyip, accept, with the flow log", ACCEPT)
    },
];

/// Measures all of them in each round, and prints it.
pub(crate) fn measure(group: &str, each: Use, effort: Effort) {
    let site = scene::site();
    rivals::route_answers_to_proxies(&site);
    let _servers: [Process; 3] = [
        rivals::nginx_for_contenders(&site),
        rivals::haproxy(&site, None),
        rivals::mmproxy(&site, None),
    ];
    let bench = Bench { site: &site, group, each, contenders: contenders(each) };
    for round in effort.rounds() {
        let direct = bench.measure(round);
        if round.counts() {
            bench.measure_programs(round, &direct);
        }
    }
}

struct Bench<'a> {
    site: &'a Site,
    group: &'a str,
    each: Use,
    contenders: &'static [Contender],
}

/// The flow log has lines for connections alone: requests do not differ by it.
fn contenders(each: Use) -> &'static [Contender] {
    match each {
        Use::Once => &CONTENDERS,
        Use::Always => CONTENDERS.split_last().map_or(&[], |(_, others)| others),
    }
}

impl Bench<'_> {
    /// Returns what the server alone did.
    fn measure(&self, round: Round) -> Outcome {
        let mut direct = None;
        for contender in round.order(self.contenders) {
            let outcome = self.contend(contender, round);
            round.report((self.group, contender.name), outcome.rate(), outcome.errors);
            if contender.port == DIRECT {
                direct = Some(outcome);
            }
        }
        direct.expect("the server alone is a contender")
    }

    fn contend(&self, contender: &Contender, round: Round) -> Outcome {
        match contender.beside {
            Beside::Others => self.load(contender, round),
            Beside::Agent => {
                let _agent = Agent::start(self.site, &guard());
                self.load(contender, round)
            }
            // One more connection shows that the server sees the right client.
            Beside::AgentWithFlowLog => {
                flow_log::during(self.site, guard(), 1, || self.load(contender, round))
            }
        }
    }

    /// Statistics make programs slower: rates are measured without them.
    fn measure_programs(&self, round: Round, direct: &Outcome) {
        let mut agent = Agent::start(self.site, &guard());
        let with_headers = |contender: &&Contender| {
            contender.beside == Beside::Agent && contender.clients.is_some()
        };
        for contender in CONTENDERS.iter().filter(with_headers) {
            let (costs, outcome) =
                programs::during(self.site, &mut agent, || self.load(contender, round));
            report::programs(
                contender.name,
                &costs,
                outcome.answers_in_all,
                direct.nanoseconds_worked(),
            );
        }
    }

    fn load(&self, contender: &Contender, round: Round) -> Outcome {
        let Contender { port, clients, .. } = *contender;
        scene::load(self.site, (port, self.each), clients, round.duration())
    }
}

fn guard() -> Guard {
    let translated = scene::guard(TRANSLATE).named("translated").hand_off(HandOff::Translate);
    scene::guard(ACCEPT).hand_off(HandOff::Accept).with(&translated)
}
