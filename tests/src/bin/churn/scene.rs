//! Namespaces that come and go at random.

use std::sync::atomic::AtomicBool;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use proxyip_tests::random::Random;
use proxyip_tests::{Pod, Site, eventually, until};

use crate::visits::Visits;
use crate::world::{State, World};

/// Between two changes, and up to so much more.
const PAUSE: Duration = Duration::from_millis(40);
const RANGE: Duration = Duration::from_millis(160);
/// A namespace that has not gone by then is kept alive.
const LINGERS: Duration = Duration::from_secs(10);

/// The namespaces, and everybody who looks at them.
pub(crate) struct Scene<'scope, 'env> {
    pub(crate) scope: &'scope Scope<'scope, 'env>,
    pub(crate) site: &'env Site,
    pub(crate) world: &'env World,
    pub(crate) visits: &'env Visits,
    pub(crate) stop: &'env AtomicBool,
    pub(crate) pods: Vec<Option<Pod>>,
    pub(crate) made: u32,
}

impl Scene<'_, '_> {
    /// Makes a namespace, to which connections begin at once.
    pub(crate) fn make(&mut self, number: u8) {
        // The kernel removes a namespace, and the link into it, some time after its last socket.
        let has_gone = until(LINGERS, || (!Pod::has_link(self.site, number)).then_some(()));
        if has_gone.is_none() {
            return self
                .world
                .fault(format!("namespace {number} is still there after {LINGERS:?}"));
        }
        let begun = Instant::now();
        self.world.set(number, State::Coming(begun));
        self.pods[usize::from(number) - 1] = Some(Pod::start(self.site, number));
        self.world.set(number, State::Living(begun));
        self.made += 1;
        let (site, world) = (self.site, self.world);
        let (visits, stop) = (self.visits, self.stop);
        self.scope.spawn(move || {
            site.net.balancer.enter(|| visits.welcome(world, number, stop));
        });
    }

    fn remove(&mut self, number: u8) {
        self.world.set(number, State::Going);
        self.pods[usize::from(number) - 1] = None;
        self.world.set(number, State::Gone(Instant::now()));
    }

    /// From now on nothing counts.
    pub(crate) fn end(&self) {
        for (number, _) in self.world.places() {
            self.world.set(number, State::Going);
        }
    }

    fn numbers(&self, is: fn(State) -> bool) -> Vec<u8> {
        let places = self.world.places().into_iter();
        places.filter(|(_, place)| is(place.state)).map(|(number, _)| number).collect()
    }

    /// Lets them come and go for so long.
    pub(crate) fn churn(&mut self, time: Duration, random: &mut Random) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let living = self.numbers(|state| matches!(state, State::Living(_)));
            let free = self.numbers(|state| state == State::Free);
            let few = living.len() <= self.pods.len() / 2;
            if !free.is_empty() && (few || random.below(2) == 0) {
                self.make(*random.one_of(&free));
            } else if !few {
                self.remove(*random.one_of(&living));
            }
            thread::sleep(random.time(PAUSE, RANGE));
        }
    }

    /// Makes all that are missing, and waits until the agent agrees.
    pub(crate) fn fill(&mut self) {
        eventually("all that went are forgotten", || {
            let is_waited_for = |state| matches!(state, State::Going | State::Gone(_));
            self.numbers(is_waited_for).is_empty().then_some(())
        });
        for number in self.numbers(|state| state == State::Free) {
            self.make(number);
        }
        eventually("status names all namespaces", || self.world.agrees().then_some(()));
    }
}
