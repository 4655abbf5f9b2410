//! The gap between connections handed over and connections established, by listener: what the stack refused, or took late.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use proxyip_common::counter::Obstacle;
use proxyip_common::settings::{Fallback, PlacedPort};

use super::delayed::Delays;
use super::fallbacks::{Fall, Fallbacks};
use super::forbidden::Forbidden;
use super::gap_cause::{Cause, Evidence};
use super::looks::Looks;
use super::overflows::Overflows;
use super::refused::{LastEstablished, Missing};
use crate::clock::now_ns;
use crate::config::{HandOffChoice, Listener};
use crate::desired::active::Active;
use crate::host::served::{LOOKS_A_SECOND, Member, Served};
use crate::tables::listeners::ListenerMap;
use crate::tables::maps::FlowMap;

/// After a warning about a listener, the agent says nothing more about its growing gap for this many looks.
const QUIET: u32 = 10;

/// The flow table is looked through for a twentieth of the time at most.
const SHARE: u32 = 20;

/// A count of overflows that is older than this says nothing about now.
const COUNTS: Duration = Duration::from_secs(3);

/// Carries out what the gaps ask for.
pub(crate) trait Policy {
    /// Has connections to a port translated for a while, if a listener guards it.
    fn fall_back(&self, at: PlacedPort, fallback: Fallback) -> Result<()>;
    /// Ends those of these ports.
    fn end_fallbacks(&self, ended: &[PlacedPort]) -> Result<()>;
    /// Whether a named set has the client.
    fn is_in_a_set(&self, client: IpAddr) -> Result<bool>;
}

/// Watches the gaps.
pub(crate) struct Gap {
    map: ListenerMap,
    listeners: Vec<Watched>,
    served: Served,
    overflows: Overflows,
    forbidden: Forbidden,
    ports: Ports,
    /// Ports whose connections are late, and that have not been judged yet.
    delayed: Vec<PlacedPort>,
    /// When overflows were counted last.
    counted: Option<Instant>,
}

/// Finds the ports that a gap is about.
pub(crate) struct Ports {
    pub(crate) flows: FlowMap,
    pub(crate) last: LastEstablished,
    pub(crate) delays: Delays,
    pub(crate) fallbacks: Fallbacks,
    /// Before this the flow table is not looked through again.
    rest: Instant,
    /// The time of the last look.
    looked_ns: u64,
}

/// One listener.
struct Watched {
    place: u16,
    name: String,
    ports: Vec<u16>,
    hand_off: HandOffChoice,
    looks: Looks,
    /// Connections established at the last look, and how many looks have shown the same number.
    established: u64,
    fruitless: usize,
    /// By how much the gap has grown since that was said.
    unsaid: u64,
    /// It has grown, and the ports have not been looked for since.
    grown: bool,
    /// Looks before it may be said.
    quiet: u32,
}

impl Ports {
    pub(crate) fn new(
        flows: FlowMap,
        (last, delays): (LastEstablished, Delays),
        fallbacks: Fallbacks,
    ) -> Self {
        Self { flows, last, delays, fallbacks, rest: Instant::now(), looked_ns: 0 }
    }

    /// The ports of a listener that the stack refuses; `None` if it is too early to look.
    fn refused(
        &mut self,
        listener: u16,
        now_ns: u64,
        policy: &impl Policy,
    ) -> Result<Option<Vec<PlacedPort>>> {
        let begin = Instant::now();
        if begin < self.rest {
            return Ok(None);
        }
        let missing = Missing::find(self.flows.handed_over(), listener, now_ns)?;
        let refused = missing.refused(&self.last, |client| policy.is_in_a_set(client))?;
        self.rest = begin + begin.elapsed() * SHARE;
        Ok(Some(refused))
    }

    /// Has the connections to a port translated, and returns for how long.
    fn fall_back(&self, fall: Fall, policy: &impl Policy) -> Result<Duration> {
        let Fall { at, reason, now_ns } = fall;
        let until_ns = self.fallbacks.next(at, now_ns);
        policy.fall_back(at, Fallback::new(until_ns, reason as u8))?;
        self.fallbacks.begin(fall, until_ns);
        Ok(Duration::from_nanos(until_ns - now_ns))
    }

    /// Ends fallbacks whose time has passed.
    fn end(&mut self, now_ns: u64, policy: &impl Policy) -> Result<()> {
        let ended = self.fallbacks.ended(self.looked_ns, now_ns);
        if !ended.is_empty() {
            policy.end_fallbacks(&ended)?;
        }
        for at in ended {
            tracing::info!(
                "connections to port {} get the accept hand-off again, on trial",
                at.port
            );
        }
        self.looked_ns = now_ns;
        Ok(())
    }
}

impl Gap {
    pub(crate) fn new(
        active: &Active,
        map: ListenerMap,
        served: Served,
        ports: Ports,
    ) -> Result<Self> {
        let overflows = Overflows::new(&served.now());
        let forbidden = Forbidden::default();
        let (listeners, delayed, counted) = (Vec::new(), Vec::new(), None);
        let mut gap =
            Self { map, listeners, served, overflows, forbidden, ports, delayed, counted };
        gap.follow(active)?;
        Ok(gap)
    }

    /// Watches the listeners that are in force now.
    pub(crate) fn follow(&mut self, active: &Active) -> Result<()> {
        let mut before = std::mem::take(&mut self.listeners);
        for (place, listener) in active.listeners() {
            let same =
                |one: &Watched| one.name == listener.name && one.hand_off == listener.hand_off;
            let mut watched = match before.iter().position(same) {
                Some(index) => before.swap_remove(index),
                None => Watched::new(place, listener, &self.map)?,
            };
            watched.ports.clone_from(&listener.ports);
            self.listeners.push(watched);
        }
        Ok(())
    }

    /// Logs connections that were handed over and have still not been established. Where translating helps, `policy`
    /// gets the ports.
    pub(crate) fn check(&mut self, policy: &impl Policy) -> Result<()> {
        let now_ns = now_ns()?;
        self.ports.end(now_ns, policy)?;
        let served = self.served.now();
        self.delayed.extend(self.ports.delays.take());
        self.listeners.iter_mut().try_for_each(|listener| listener.look(&self.map))?;
        let matters =
            !self.delayed.is_empty() || self.listeners.iter().any(|listener| listener.grown);
        if matters && served.len() > LOOKS_A_SECOND {
            // Among many namespaces overflows are counted only when it matters: the first time to compare with.
            served.iter().for_each(Member::count_overflows);
            let last = self.counted.replace(Instant::now());
            if last.is_none_or(|last| last.elapsed() > COUNTS) {
                self.overflows.forget(&served);
                return Ok(());
            }
        }
        let delayed = std::mem::take(&mut self.delayed);
        let overflowed = self.overflows.look(&served);
        self.forbidden.look(&served);
        // A full queue delays connections, too, and would with any hand-off.
        if !overflowed {
            self.translate_delayed(&delayed, now_ns, policy)?;
        }
        for listener in self.listeners.iter_mut().filter(|listener| listener.grown) {
            let evidence = Evidence {
                overflowed,
                fruitless: listener.fruitless,
                forbidden: self.forbidden.anywhere(),
            };
            let mut cause = Cause::of(listener.hand_off, evidence);
            if cause == Cause::Refusal {
                let refused = self.ports.refused(listener.place, now_ns, policy)?;
                let Some(mut refused) = refused else { continue };
                refused.retain(|at| listener.ports.contains(&at.port));
                let (forbidden, refused): (Vec<_>, Vec<_>) = refused
                    .into_iter()
                    .partition(|at| self.forbidden.within(at.namespace).is_some());
                for at in &refused {
                    let fall = Fall { at: *at, reason: Obstacle::StackRefuses, now_ns };
                    let hold = self.ports.fall_back(fall, policy)?;
                    listener.say_refused(*at, hold);
                }
                let sysctl = forbidden.iter().find_map(|at| self.forbidden.within(at.namespace));
                cause = sysctl.map_or(Cause::Some, Cause::Sysctl);
                listener.quiet = if refused.is_empty() { listener.quiet } else { QUIET };
            }
            listener.grown = false;
            listener.say(cause);
        }
        Ok(())
    }
}

impl Gap {
    /// Has connections to these ports of listeners translated, because accepted ones are established late.
    fn translate_delayed(
        &self,
        delayed: &[PlacedPort],
        now_ns: u64,
        policy: &impl Policy,
    ) -> Result<()> {
        for at in delayed {
            let listener = self.listeners.iter().find(|one| one.ports.contains(&at.port));
            let Some(listener) = listener.filter(|one| one.hand_off == HandOffChoice::Auto) else {
                continue;
            };
            // Handshakes from before are accepted, late, while the port falls back.
            if self.ports.fallbacks.holds(*at, now_ns) {
                continue;
            }
            let fall = Fall { at: *at, reason: Obstacle::Delayed, now_ns };
            let hold = self.ports.fall_back(fall, policy)?;
            listener.say_delayed(*at, hold);
        }
        Ok(())
    }
}

impl Watched {
    fn new(place: u16, listener: &Listener, map: &ListenerMap) -> Result<Self> {
        Ok(Self {
            place,
            name: listener.name.clone(),
            ports: listener.ports.clone(),
            hand_off: listener.hand_off,
            looks: Looks::new(map.gap(place)?),
            established: map.established(place)?,
            fruitless: 0,
            unsaid: 0,
            grown: false,
            quiet: 0,
        })
    }

    fn look(&mut self, map: &ListenerMap) -> Result<()> {
        self.quiet = self.quiet.saturating_sub(1);
        self.see_established(map.established(self.place)?);
        if let Some(more) = self.looks.see(map.gap(self.place)?) {
            self.unsaid += more;
            self.grown = true;
        }
        Ok(())
    }

    fn see_established(&mut self, established: u64) {
        self.fruitless =
            if established == self.established { self.fruitless.saturating_add(1) } else { 0 };
        self.established = established;
    }

    fn say(&mut self, cause: Cause) {
        let Self { name, unsaid: missing, .. } = &self;
        if self.quiet == 0 {
            let sentence = cause.sentence();
            tracing::warn!(
                missing,
                "listener {name:?}: connections were handed over but not established: {sentence}"
            );
            self.unsaid = 0;
            self.quiet = QUIET;
        }
    }

    fn say_refused(&mut self, at: PlacedPort, hold: Duration) {
        let Self { name, unsaid: missing, .. } = &self;
        let (port, seconds, sentence) = (at.port, hold.as_secs(), Cause::Refusal.sentence());
        tracing::warn!(
            missing,
            "listener {name:?}: connections to port {port} were handed over but not established: {sentence}. New \
             connections to this port are translated; accept is tried again in {seconds} s"
        );
        self.unsaid = 0;
    }

    fn say_delayed(&self, at: PlacedPort, hold: Duration) {
        let (name, port, seconds) = (&self.name, at.port, hold.as_secs());
        tracing::warn!(
            "listener {name:?}: connections to port {port} were established late, because incoming packets are delayed \
             behind the kernel programs. New connections to this port are translated; accept is tried again in {seconds} s"
        );
    }
}
