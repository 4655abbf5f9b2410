//! Connections and requests, to the server alone and with each way in which it gets to know its clients.

use std::thread;
use std::time::Duration;

use proxyip_tests::{Agent, Guard, HandOff, Process, Site};

use crate::clients::Clients;
use crate::generator::{Outcome, Use};
use crate::rivals::{ACCEPT, DIRECT, HAPROXY, MMPROXY, NOT_GUARDED, OWN, TRANSLATE};
use crate::{Effort, programs, report, rivals, scene};

/// Without the agent: name, port, and whether there are headers.
const WITHOUT: [(&str, u16, Option<Clients>); 4] = [
    ("direct", DIRECT, None),
    ("nginx, its own proxy_protocol", OWN, Some(Clients::FEW)),
    ("HAProxy, usesrc clientip", HAPROXY, Some(Clients::FEW)),
    ("mmproxy-rs", MMPROXY, Some(Clients::FEW)),
];
/// With it.
const WITH: [(&str, u16, Option<Clients>); 3] = [
    ("proxyip, accept", ACCEPT, Some(Clients::FEW)),
    ("proxyip, translate", TRANSLATE, Some(Clients::FEW)),
    ("proxyip, a port that is not guarded", NOT_GUARDED, None),
];
const LOGGED: &str = "proxyip, accept, with the flow log";

/// Measures all of them in each round, and prints it.
pub(crate) fn measure(group: &str, each: Use, effort: Effort) {
    let site = scene::site();
    rivals::route_answers_to_proxies(&site);
    let _servers: [Process; 3] = [
        rivals::nginx_for_contenders(&site),
        rivals::haproxy(&site, None),
        rivals::mmproxy(&site, None),
    ];
    for _ in 0..effort.rounds {
        Round { site: &site, group, each, duration: effort.duration }.measure();
    }
}

struct Round<'a> {
    site: &'a Site,
    group: &'a str,
    each: Use,
    duration: Duration,
}

impl Round<'_> {
    fn measure(&self) {
        let direct = self.load(WITHOUT[0].1, WITHOUT[0].2);
        report::rate(self.group, WITHOUT[0].0, &direct);
        for contender in &WITHOUT[1..] {
            self.contend(*contender);
        }
        self.with_agent(&direct);
        self.with_flow_log();
    }

    fn with_agent(&self, direct: &Outcome) {
        let mut agent = Agent::start(self.site, &guard());
        for contender in WITH {
            self.contend(contender);
        }
        // Statistics make programs slower: rates above are without them.
        for (name, port, clients) in &WITH[..2] {
            let (costs, outcome) =
                programs::during(self.site, &mut agent, || self.load(*port, *clients));
            let answers = outcome.rate() * outcome.elapsed.as_secs_f64();
            report::programs(name, &costs, answers, processor_time() / direct.rate());
        }
    }

    /// # Panics
    /// When the log has no lines.
    fn with_flow_log(&self) {
        let log = self.site.scratch.path("flows.log");
        let logging =
            guard().json_log().log_setting(&format!("path = {:?}", log.display().to_string()));
        let agent = Agent::start(self.site, &logging);
        self.contend((LOGGED, ACCEPT, Some(Clients::FEW)));
        drop(agent);
        let written = std::fs::metadata(&log).map_or(0, |file| file.len());
        assert!(written > 0, "the flow log is empty");
        std::fs::remove_file(&log).expect("the flow log");
    }

    fn contend(&self, (name, port, clients): (&str, u16, Option<Clients>)) {
        report::rate(self.group, name, &self.load(port, clients));
    }

    fn load(&self, port: u16, clients: Option<Clients>) -> Outcome {
        scene::load(self.site, (port, self.each), clients, self.duration)
    }
}

fn guard() -> Guard {
    let translated = scene::guard(TRANSLATE).named("translated").hand_off(HandOff::Translate);
    scene::guard(ACCEPT).hand_off(HandOff::Accept).with(&translated)
}

/// Nanoseconds that all processors have in a second.
fn processor_time() -> f64 {
    let processors = thread::available_parallelism().expect("a number of processors").get();
    f64::from(u32::try_from(processors).expect("some processors")) * 1e9
}
