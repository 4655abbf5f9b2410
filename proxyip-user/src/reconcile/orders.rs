//! Orders for a thread that works in rounds. Whoever gives one waits until it is done, and not for a thread that rests
//! because it has failed.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::mailbox::{Mailbox, Sender, mailbox};

/// How long whoever orders something waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
const NOBODY: &str = "nobody follows network namespaces";

/// Gives orders.
pub(super) struct Orders<T>(Sender<Order<T>>);

/// Receives them.
pub(super) type Inbox<T> = Mailbox<Order<T>>;

/// An order, and who waits for it.
pub(super) struct Order<T> {
    pub(super) what: T,
    pub(super) answer: Answer,
}

/// Somebody who waits. An order whose answer is dropped is not done.
pub(super) struct Answer(SyncSender<Result<()>>);

pub(super) fn orders<T>() -> Result<(Orders<T>, Inbox<T>)> {
    let (sender, inbox) = mailbox()?;
    Ok((Orders(sender), inbox))
}

impl<T> Orders<T> {
    /// Returns when the order is done.
    ///
    /// # Errors
    /// If it is refused, or nobody answers.
    pub(super) fn give(&self, what: T) -> Result<()> {
        let (answer, wait) = sync_channel(1);
        let order = Order { what, answer: Answer(answer) };
        self.0.send(order).map_err(|_| anyhow!(NOBODY))?;
        wait.recv_timeout(PATIENCE).context(NOBODY)?
    }
}

impl Answer {
    /// Returns whether anybody still waits.
    pub(super) fn done(self) -> bool {
        self.0.send(Ok(())).is_ok()
    }

    /// Says that the thread has failed, and when it goes on.
    pub(super) fn resting(self, until: Instant) {
        let seconds = until.saturating_duration_since(Instant::now()).as_secs() + 1;
        let error = anyhow!(
            "the thread that follows network namespaces has failed, and goes on within {seconds} s"
        );
        self.0.send(Err(error)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn whoever_gives_an_order_hears_at_once_that_it_is_done_or_refused_or_forgotten() {
        let (orders, inbox) = orders().unwrap();
        let begin = Instant::now();
        let until = begin + Duration::from_secs(40);
        let thread = thread::spawn(move || {
            for number in 0.. {
                let order: Order<u32> = loop {
                    match inbox.take().pop() {
                        Some(order) => break order,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(order.what, number);
                match number {
                    0 => assert!(order.answer.done()),
                    1 => order.answer.resting(until),
                    2 => drop(order),
                    _ => break,
                }
            }
        });
        assert!(orders.give(0).is_ok());
        let error = orders.give(1).unwrap_err().to_string();
        assert!(error.contains("goes on within"), "{error}");
        assert_eq!(orders.give(2).unwrap_err().to_string(), NOBODY);
        assert_eq!(orders.give(3).unwrap_err().to_string(), NOBODY);
        thread.join().unwrap();
        assert_eq!(orders.give(4).unwrap_err().to_string(), NOBODY);
        assert!(begin.elapsed() < PATIENCE);
    }
}
