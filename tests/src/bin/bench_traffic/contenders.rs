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
        let Measured { direct, logging } = bench.measure(round);
        if !round.counts() {
            continue;
        }
        let whole = direct.nanoseconds_worked();
        bench.measure_programs(round, whole);
        if let Some(nanoseconds) = logging {
            report::share("the agent, which writes the flow log", nanoseconds, whole);
        }
    }
}

/// What a round says beside its rates.
struct Measured {
    /// What the server alone did.
    direct: Outcome,
    /// What the agent works for a connection and its lines of the flow log, in nanoseconds.
    logging: Option<f64>,
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
    fn measure(&self, round: Round) -> Measured {
        let (mut direct, mut logging) = (None, None);
        for contender in round.order(self.contenders) {
            let outcome = match contender.beside {
                Beside::Others => self.load(contender, round),
                Beside::Agent => {
                    let _agent = Agent::start(self.site, &guard());
                    self.load(contender, round)
                }
                Beside::AgentWithFlowLog => {
                    // One more connection shows that the server sees the right client.
                    let work = || self.load(contender, round);
                    let (outcome, worked) = flow_log::during(self.site, guard(), 1, work);
                    let answers = programs::number(outcome.answers_in_all);
                    logging = Some(worked.as_secs_f64() * 1e9 / answers);
                    outcome
                }
            };
            round.report((self.group, contender.name), outcome.rate(), outcome.errors);
            if contender.port == DIRECT {
                direct = Some(outcome);
            }
        }
        Measured { direct: direct.expect("the server alone is a contender"), logging }
    }

    /// Statistics make programs slower: rates are measured without them.
    fn measure_programs(&self, round: Round, whole: f64) {
        let mut agent = Agent::start(self.site, &guard());
        let with_headers = |contender: &&Contender| {
            contender.beside == Beside::Agent && contender.clients.is_some()
        };
        for contender in CONTENDERS.iter().filter(with_headers) {
            let (costs, outcome) =
                programs::during(self.site, &mut agent, || self.load(contender, round));
            report::programs(contender.name, &costs, outcome.answers_in_all, whole);
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
