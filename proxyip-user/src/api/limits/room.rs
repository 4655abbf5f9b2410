//! A bounded number of connections.
//!
//! Written by hand: the limits of libraries, for example tower's, refuse a new connection. They do not end the most
//! silent one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Where connections are. When it is full, a new connection takes the place of a connection that has never sent a
/// request. If all have sent one, it takes the place of the connection that has been silent for longest. So nobody
/// keeps others out by many open connections.
#[derive(Debug)]
pub(crate) struct Room {
    limit: usize,
    guests: Mutex<HashMap<u64, Arc<Guest>>>,
    /// Counts arrivals and requests.
    turn: AtomicU64,
}

#[derive(Debug)]
struct Guest {
    /// The turn of its last request; 0 before the first.
    heard: AtomicU64,
    leave: Notify,
}

/// A connection's place, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Arc<Room>,
    number: u64,
    guest: Arc<Guest>,
}

impl Room {
    /// For this many connections.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, guests: Mutex::default(), turn: AtomicU64::new(1) })
    }

    /// A place for one more.
    pub(crate) fn enter(self: &Arc<Self>) -> Place {
        let number = self.turn();
        let guest = Arc::new(Guest { heard: AtomicU64::new(0), leave: Notify::new() });
        let mut guests = self.guests();
        if guests.len() >= self.limit {
            let silence = |(number, guest): &(&u64, &Arc<Guest>)| {
                (guest.heard.load(Ordering::Relaxed), **number)
            };
            let silent = guests.iter().min_by_key(silence);
            if let Some(number) = silent.map(|(number, _)| *number)
                && let Some(guest) = guests.remove(&number)
            {
                guest.leave.notify_one();
            }
        }
        guests.insert(number, Arc::clone(&guest));
        Place { room: Arc::clone(self), number, guest }
    }

    fn turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn guests(&self) -> MutexGuard<'_, HashMap<u64, Arc<Guest>>> {
        // A panic in between leaves the map whole.
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Notes a request.
    pub(crate) fn hear(&self) {
        self.guest.heard.store(self.room.turn(), Ordering::Relaxed);
    }

    /// Comes back when the place is needed for another.
    pub(crate) async fn is_needed(&self) {
        self.guest.leave.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.guests().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn whoever_is_silent_for_longest_makes_room() {
        let room = Room::new(2);
        let [first, second] = [room.enter(), room.enter()];
        second.hear();
        first.hear();
        let third = room.enter();
        let needed = |place: &Place| place.is_needed().now_or_never().is_some();
        assert_eq!([&first, &second, &third].map(needed), [false, true, false]);
        let fourth = room.enter();
        assert_eq!([&first, &third, &fourth].map(needed), [false, true, false], "it never asked");
        drop((first, second));
        let fifth = room.enter();
        assert_eq!([&fourth, &fifth].map(needed), [false, false]);
        drop(third);
        assert_eq!(room.guests().len(), 2);
    }
}
