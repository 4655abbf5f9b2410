//! Which tests may run beside each other.
//!
//! Most tests wait most of the time, so several run at once. A test that floods, or that measures time or memory, has
//! the machine for itself: its body begins with [`alone`]. A test that makes a [`Scratch`](crate::Scratch) without
//! this call shares the machine.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

/// Who has the machine.
#[derive(Debug, Default)]
struct Machine {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many tests share it.
    sharing: usize,
    /// How many tests sleep beside it.
    asleep: usize,
    /// Whether a test runs alone.
    taken: bool,
    /// Whether it must not meet even those that sleep.
    host_taken: bool,
    /// How many tests wait to run alone. Meanwhile no other test begins to share the machine, or they would wait for
    /// ever.
    waiting: usize,
}

/// The right to run, given back on drop. A thread has one at most, however many scenes its test makes.
#[derive(Debug)]
pub(crate) struct Turn {
    machine: &'static Machine,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Shared,
    Alone,
    /// Alone, and no agent of a test that sleeps is there either.
    AloneWithTheHost,
    Asleep,
}

/// The machine is this test's until this is dropped.
#[derive(Debug)]
#[must_use = "the test has the machine for as long as this lives"]
pub struct Alone(#[expect(dead_code, reason = "kept for its drop")] Arc<Turn>);

/// This test runs beside any others, until this is dropped.
#[derive(Debug)]
#[must_use = "the test disturbs nobody for as long as this lives"]
pub struct Asleep(#[expect(dead_code, reason = "kept for its drop")] Arc<Turn>);

/// Waits until no other test runs, and lets none begin. Call it first.
///
/// # Panics
/// When the test has made a scene already, or on a thread without a name: a test's own thread has one.
pub fn alone() -> Alone {
    Alone(begin(Kind::Alone))
}

/// As [`alone`], for a test that changes what all agents of the host share. It waits for tests that sleep, too.
///
/// # Panics
/// As [`alone`].
pub fn alone_with_the_host() -> Alone {
    Alone(begin(Kind::AloneWithTheHost))
}

/// For a test that sleeps for minutes and disturbs no other test: a test that runs alone does not wait for it. Call it
/// first.
///
/// # Panics
/// When the test has made a scene already, or on a thread without a name: a test's own thread has one.
pub fn asleep() -> Asleep {
    Asleep(begin(Kind::Asleep))
}

/// The turn of this thread's test, which shares the machine unless it has said otherwise.
///
/// # Panics
/// On a thread that a test has started to help it.
pub(crate) fn of_this_test() -> Arc<Turn> {
    OWN.with_borrow(Weak::upgrade).unwrap_or_else(|| begin(Kind::Shared))
}

static MACHINE: Machine = Machine {
    state: Mutex::new(State { sharing: 0, asleep: 0, taken: false, host_taken: false, waiting: 0 }),
    changed: Condvar::new(),
};

thread_local! {
    static OWN: RefCell<Weak<Turn>> = const { RefCell::new(Weak::new()) };
}

fn begin(kind: Kind) -> Arc<Turn> {
    // The test's own thread has a name, that of the test. A helper of a test that runs alone would wait for its own
    // test, for ever.
    let is_own = thread::current().name().is_some();
    assert!(
        is_own,
        "a test makes its scenes on its own thread, and gives them to those that help it"
    );
    let has_one = OWN.with_borrow(|own| own.strong_count() > 0);
    assert!(!has_one, "a test says how it runs before it makes anything");
    let turn = Arc::new(MACHINE.take(kind));
    OWN.set(Arc::downgrade(&turn));
    turn
}

impl Machine {
    fn take(&'static self, kind: Kind) -> Turn {
        let mut state = self.lock();
        match kind {
            Kind::Asleep => {
                state = self.wait_while(state, |state| state.host_taken);
                state.asleep += 1;
            }
            Kind::Shared => {
                state = self.wait_while(state, |state| state.taken || state.waiting > 0);
                state.sharing += 1;
            }
            Kind::Alone | Kind::AloneWithTheHost => {
                let with_the_host = kind == Kind::AloneWithTheHost;
                // Nobody else waits for those that sleep.
                let meets_sleepers = |state: &State| with_the_host && state.asleep > 0;
                state = self.wait_while(state, meets_sleepers);
                state.waiting += 1;
                state = self.wait_while(state, |state| {
                    state.taken || state.sharing > 0 || meets_sleepers(state)
                });
                state.waiting -= 1;
                state.taken = true;
                state.host_taken = with_the_host;
            }
        }
        drop(state);
        Turn { machine: self, kind }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        busy: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_while(state, |state| busy(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.machine.lock();
        match self.kind {
            Kind::Asleep => state.asleep -= 1,
            Kind::Shared => state.sharing -= 1,
            Kind::Alone => state.taken = false,
            Kind::AloneWithTheHost => (state.taken, state.host_taken) = (false, false),
        }
        drop(state);
        self.machine.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn machine() -> &'static Machine {
        Box::leak(Box::default())
    }

    #[test]
    fn who_is_alone_sees_nobody_else() {
        let machine = machine();
        let running = AtomicUsize::new(0);
        let run = |kind, most: usize| {
            let _turn = machine.take(kind);
            assert!(running.fetch_add(1, Ordering::SeqCst) < most);
            thread::sleep(Duration::from_millis(1));
            running.fetch_sub(1, Ordering::SeqCst);
        };
        thread::scope(|scope| {
            for number in 0..60 {
                let (kind, most) =
                    if number % 5 == 0 { (Kind::Alone, 1) } else { (Kind::Shared, 60) };
                scope.spawn(move || run(kind, most));
            }
        });
        let state = machine.lock();
        assert_eq!((state.sharing, state.taken, state.waiting), (0, false, 0));
    }

    /// Others that come all the time cannot keep it away.
    #[test]
    fn who_waits_to_be_alone_goes_before_those_who_share() {
        let machine = machine();
        let first = machine.take(Kind::Shared);
        let alone = thread::spawn(|| machine.take(Kind::Alone));
        while machine.lock().waiting == 0 {
            thread::yield_now();
        }
        let second = thread::spawn(|| machine.take(Kind::Shared));
        thread::sleep(Duration::from_millis(20));
        assert!(!second.is_finished() && !alone.is_finished());
        drop(first);
        let alone = alone.join().expect("no panic");
        assert!(!second.is_finished());
        drop(alone);
        drop(second.join().expect("no panic"));
    }

    #[test]
    fn who_sleeps_is_waited_for_by_nobody() {
        let machine = machine();
        let _asleep = machine.take(Kind::Asleep);
        drop(machine.take(Kind::Alone));
        drop(machine.take(Kind::Shared));
    }

    #[test]
    fn who_takes_the_host_waits_for_those_who_sleep_and_keeps_nobody_else_out_meanwhile() {
        let machine = machine();
        let asleep = machine.take(Kind::Asleep);
        let alone = thread::spawn(|| machine.take(Kind::AloneWithTheHost));
        thread::sleep(Duration::from_millis(20));
        drop(machine.take(Kind::Shared));
        assert!(!alone.is_finished());
        drop(asleep);
        let alone = alone.join().expect("no panic");
        let sleeper = thread::spawn(|| machine.take(Kind::Asleep));
        thread::sleep(Duration::from_millis(20));
        assert!(!sleeper.is_finished());
        drop(alone);
        drop(sleeper.join().expect("no panic"));
    }

    #[test]
    fn a_test_has_one_turn_however_many_scenes_it_makes() {
        on_a_thread_of_a_test(|| {
            let first = of_this_test();
            assert!(Arc::ptr_eq(&first, &of_this_test()));
            assert!(std::panic::catch_unwind(alone).is_err());
            drop(first);
            let alone = alone();
            assert_eq!(of_this_test().kind, Kind::Alone);
            drop(alone);
            assert_eq!(of_this_test().kind, Kind::Shared);
        });
    }

    #[test]
    fn a_helper_of_a_test_that_runs_alone_panics_rather_than_wait_for_it() {
        on_a_thread_of_a_test(|| {
            let _alone = alone();
            assert!(thread::spawn(of_this_test).join().is_err(), "a scene");
            assert!(thread::spawn(asleep).join().is_err(), "a turn");
        });
    }

    /// The tests of this file run beside each other, and one at a time on the main thread.
    fn on_a_thread_of_a_test(test: impl FnOnce() + Send + 'static) {
        let thread = thread::Builder::new().name("a test".into()).spawn(test);
        thread.expect("a thread").join().expect("no panic");
    }
}
