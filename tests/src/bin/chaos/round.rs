//! One round: a trouble or two, and how long until they were named, mended and over.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use proxyip_tests::random::Random;
use proxyip_tests::until;

use crate::load::Load;
use crate::scene::Scene;
use crate::surfaces::Surfaces;
use crate::trouble::{TROUBLES, Trouble};

/// A surface names a deviation within this time, and drops it within this time.
pub(crate) const NAMED: Duration = Duration::from_secs(5);
/// An agent that starts is ready within this time, on a busy machine.
const STARTED: Duration = Duration::from_secs(15);
/// Connections are served again within this time: the load balancer and TCP have to send some of their segments again.
const SERVED: Duration = Duration::from_secs(15);
/// How long a trouble lasts at least, and how much longer at most. What must be named lasts until it is, or should be.
const SHORT: Duration = Duration::from_millis(300);
const RANGE: Duration = Duration::from_millis(3700);
/// Between two rounds.
const REST: Duration = Duration::from_millis(700);
/// Between two attempts to be served.
const PAUSE: Duration = Duration::from_millis(200);
/// How long is waited for what should have come before.
const PATIENCE: Duration = Duration::from_secs(75);

/// What is around a round.
pub(crate) struct Stage<'a, 'site> {
    pub(crate) scene: &'a mut Scene<'site>,
    pub(crate) surfaces: &'a Surfaces,
    pub(crate) load: &'a Load,
    pub(crate) random: &'a mut Random,
}

/// What came of a round.
pub(crate) struct Outcome {
    pub(crate) troubles: Vec<Told>,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    /// After the last mending.
    calm: Option<Duration>,
    served: Option<Duration>,
    pub(crate) faults: Vec<String>,
}

/// A trouble, and when a surface named it.
pub(crate) struct Told {
    trouble: Trouble,
    lasted: Duration,
    named: Option<Duration>,
    what: String,
}

/// A trouble that has begun.
struct Begun {
    trouble: Trouble,
    at: Instant,
}

impl Stage<'_, '_> {
    pub(crate) fn play(&mut self) -> Outcome {
        let begun = Instant::now();
        let chosen = self.choose();
        let mut now: Vec<Begun> = Vec::new();
        for trouble in chosen {
            let at = Instant::now();
            trouble.begin(self.scene, self.random);
            now.push(Begun { trouble, at });
            thread::sleep(self.random.time(SHORT, RANGE));
        }
        let mut troubles = Vec::new();
        let mut faults = Vec::new();
        for Begun { trouble, at } in now {
            let (told, fault) = self.judge(trouble, at);
            faults.extend(fault);
            trouble.mend(self.scene);
            troubles.push(Told { lasted: at.elapsed(), ..told });
        }
        let mended = Instant::now();
        let served = until(PATIENCE, || {
            let served = self.load.is_served(self.scene.site);
            if !served {
                thread::sleep(PAUSE);
            }
            served.then(|| mended.elapsed())
        });
        if served.is_none_or(|served| served > SERVED) {
            faults.push(format!("service came back after {}", Or(served)));
        }
        let calm = until(PATIENCE, || {
            let since = self.surfaces.calm_since()?;
            Some(since.saturating_duration_since(mended))
        });
        let starts = troubles.iter().any(|told| told.trouble.ends_agent());
        let bound = if starts { STARTED } else { NAMED };
        if calm.is_none_or(|calm| calm > bound) {
            let last = self.surfaces.last_named();
            faults.push(format!("all was said to be guarded again after {}: {last}", Or(calm)));
        }
        if !self.scene.agent_lives() {
            faults.push("the agent has ended".into());
        }
        thread::sleep(REST);
        Outcome { troubles, begun, ended: Instant::now(), calm, served, faults }
    }

    /// One trouble, or now and then two of different kinds.
    fn choose(&mut self) -> Vec<Trouble> {
        let first = *self.random.one_of(&TROUBLES);
        let second = *self.random.one_of(&TROUBLES);
        let both = self.random.below(4) == 0 && first.kind() != second.kind();
        if both { vec![first, second] } else { vec![first] }
    }

    /// Waits for the time that a naming may take, and not longer.
    fn judge(&self, trouble: Trouble, at: Instant) -> (Told, Option<String>) {
        let find = || self.surfaces.named_between(at, Instant::now());
        let naming = if trouble.must_be_named() {
            until(NAMED.saturating_sub(at.elapsed()), find)
        } else {
            find()
        };
        let named = naming.as_ref().map(|naming| naming.from.saturating_duration_since(at));
        let late = trouble.must_be_named() && named.is_none_or(|named| named > NAMED);
        let fault = late.then(|| format!("{}: named after {}", trouble.name(), Or(named)));
        let what = naming.map(|naming| naming.what).unwrap_or_default();
        (Told { trouble, lasted: Duration::ZERO, named, what }, fault)
    }
}

/// A time in seconds, if there is one.
struct Or(Option<Duration>);

impl fmt::Display for Or {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => formatter.pad(&format!("{:.1} s", time.as_secs_f32())),
            None => formatter.pad("never"),
        }
    }
}

impl Outcome {
    /// Whether it removed the pins while no agent held what they stood for. That ends the kernel programs: nobody is left
    /// to translate the connections that they began, which hang as long as TCP and the two ends wait.
    pub(crate) fn ends_translations(&self) -> bool {
        let has = |what: fn(Trouble) -> bool| self.troubles.iter().any(|told| what(told.trouble));
        has(Trouble::ends_agent) && has(|trouble| trouble == Trouble::Unpinned)
    }

    /// The rows of the table. Only the last one has what is about all troubles of the round.
    pub(crate) fn rows(&self, start: Instant, counts: &Counts) -> String {
        let rows = self.troubles.iter().enumerate().map(|(index, told)| {
            let at = (self.begun - start).as_secs();
            let name: String = told.trouble.name().chars().take(44).collect();
            let lasted = Or(Some(told.lasted));
            let named = told.named.map_or("-".into(), |named| Or(Some(named)).to_string());
            let ended = if index + 1 == self.troubles.len() {
                let (calm, served, Counts { lost, open }) =
                    (Or(self.calm), Or(self.served), counts);
                format!("{calm:>7} {served:>7} {lost:5} {open:5}")
            } else {
                format!("{:>7} {:>7} {:11}", "and", "and", "")
            };
            let what: String = told.what.chars().take(70).collect();
            format!("{at:5} {name:44} {lasted:>7} {named:>7} {ended}  {what}\n")
        });
        rows.collect()
    }
}

/// Connections during a round.
pub(crate) struct Counts {
    pub(crate) lost: usize,
    /// Their application got the load balancer or a header.
    pub(crate) open: usize,
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!(
        "{:>5} {:44} {:>7} {:>7} {:>7} {:>7} {:>5} {:>5}  {}",
        "at/s", "trouble", "lasted", "named", "calm", "served", "lost", "open", "named by"
    )
}
