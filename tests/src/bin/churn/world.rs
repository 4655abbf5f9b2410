//! Which namespaces there are: what is true, and what the agent has said of it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A place for a namespace. Its number is that of the [`Pod`](proxyip_tests::Pod) that may be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) state: State,
    /// How many namespaces have been here.
    pub(crate) generation: u32,
    /// Since when the namespace is known to be guarded.
    pub(crate) guarded: Option<Instant>,
    /// Whether it has been said that the agent is behind.
    is_late: bool,
}

/// Since when it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is here, and the agent says so.
    Free,
    /// The namespace is being made.
    Coming(Instant),
    /// It is complete, and began to come at this time.
    Living(Instant),
    /// It is being removed.
    Going,
    /// It was removed, and the agent has not forgotten it yet.
    Gone(Instant),
}

/// All places, and what was wrong about them.
#[derive(Debug)]
pub(crate) struct World {
    pages: Mutex<Pages>,
    /// How long the agent may be behind.
    grace: Duration,
}

#[derive(Debug, Default)]
struct Pages {
    places: Vec<Place>,
    faults: Vec<String>,
    until_guarded: Vec<Duration>,
    until_forgotten: Vec<Duration>,
}

impl World {
    pub(crate) fn new(places: u8, grace: Duration) -> Self {
        let free = Place { state: State::Free, generation: 0, guarded: None, is_late: false };
        let places = vec![free; usize::from(places)];
        Self { pages: Mutex::new(Pages { places, ..Pages::default() }), grace }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers and places as they are now.
    pub(crate) fn places(&self) -> Vec<(u8, Place)> {
        (1..).zip(self.pages().places.iter().copied()).collect()
    }

    pub(crate) fn place(&self, number: u8) -> Place {
        self.pages().places[usize::from(number) - 1]
    }

    pub(crate) fn set(&self, number: u8, state: State) {
        let place = &mut self.pages().places[usize::from(number) - 1];
        if let State::Coming(_) = state {
            place.generation += 1;
            place.guarded = None;
        }
        place.state = state;
        place.is_late = false;
    }

    /// The namespace of this generation is guarded, as the agent or a connection has shown.
    pub(crate) fn is_guarded(&self, number: u8, generation: u32) {
        let now = Instant::now();
        let pages = &mut *self.pages();
        let place = &mut pages.places[usize::from(number) - 1];
        if let (State::Coming(since) | State::Living(since), None) = (place.state, place.guarded)
            && place.generation == generation
        {
            place.guarded = Some(now);
            pages.until_guarded.push(now - since);
        }
    }

    /// The agent does not name it any more.
    fn is_forgotten(&self, number: u8) {
        let now = Instant::now();
        let pages = &mut *self.pages();
        let place = &mut pages.places[usize::from(number) - 1];
        if let State::Gone(since) = place.state {
            place.state = State::Free;
            pages.until_forgotten.push(now - since);
        }
    }

    pub(crate) fn fault(&self, sentence: String) {
        eprintln!("WRONG: {sentence}");
        self.pages().faults.push(sentence);
    }

    pub(crate) fn faults(&self) -> usize {
        self.pages().faults.len()
    }

    /// Compares what the agent has said with the truth. `before` are the places when it was asked, at `asked`.
    pub(crate) fn compare(&self, before: &[(u8, Place)], asked: Instant, named: &[u8]) {
        for number in named.iter().filter(|number| usize::from(**number) > before.len()) {
            self.fault(format!("status names namespace {number}, which never was"));
        }
        for (number, place) in before {
            let is_named = named.contains(number);
            match (place.state, is_named) {
                (State::Coming(_) | State::Living(_), true) => {
                    self.is_guarded(*number, place.generation);
                }
                (State::Gone(_), false) => self.is_forgotten(*number),
                _ => {}
            }
            if let Some(behind) = deviation(*place, is_named, asked)
                && behind > self.grace
                && self.is_news(*number, place.state)
            {
                let what = if is_named { "names" } else { "does not name" };
                let state = if is_named { "is gone" } else { "came" };
                self.fault(format!(
                    "status {what} namespace {number}, which {state} {behind:.2?} ago"
                ));
            }
        }
    }

    /// Whether it is still so, and nobody has said yet that the agent is behind.
    fn is_news(&self, number: u8, state: State) -> bool {
        let place = &mut self.pages().places[usize::from(number) - 1];
        place.state == state && !std::mem::replace(&mut place.is_late, true)
    }

    /// Whether the agent names exactly those that live.
    pub(crate) fn agrees(&self) -> bool {
        self.pages().places.iter().all(|place| match place.state {
            State::Free => true,
            State::Living(_) => place.guarded.is_some(),
            _ => false,
        })
    }

    /// How long it took until namespaces were guarded, and until they were forgotten.
    pub(crate) fn times(&self) -> [Vec<Duration>; 2] {
        let pages = self.pages();
        [pages.until_guarded.clone(), pages.until_forgotten.clone()]
    }
}

/// For how long it has been wrong that the agent names it, or does not.
fn deviation(place: Place, is_named: bool, asked: Instant) -> Option<Duration> {
    match (place.state, is_named) {
        (State::Living(since), false) | (State::Gone(since), true) => {
            asked.checked_duration_since(since)
        }
        _ => None,
    }
}
