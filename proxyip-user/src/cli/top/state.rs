//! What is shown, without a terminal: rates from the differences of counters, and what keys do.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use anyhow::Result;
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use proxyip_api::clients::{ClientCount, Clients};
use proxyip_api::status::{ListenerJson, Numbers, Status};

/// The longest interval, seconds.
pub(super) const LONGEST: u16 = 3600;
/// How many rates of new connections are remembered: more than the widest terminal has columns.
const HISTORY: usize = 512;

/// What the agent said at a time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
    pub(super) counted: Counted,
}

/// What was found when the flow table was last gone through.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) clients: Clients,
    /// Live flows by listener.
    pub(super) live: BTreeMap<String, u64>,
}

impl Default for Counted {
    fn default() -> Self {
        let clients = Clients { clients: Vec::new(), flows: 0, sampled: false };
        Self { clients, live: BTreeMap::new() }
    }
}

/// How the agent is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Seconds.
    pub(super) interval: u16,
    /// Not at all, for now.
    pub(super) held: bool,
}

/// The order of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Most flows first.
    Flows,
    Address,
}

/// What a key has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    GoOn,
    Quit,
}

/// A listener. Rates are per second, and absent before there are two samples of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ListenerRow {
    pub(super) name: String,
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) accepted_rate: Option<f64>,
    pub(super) refused_rate: Option<f64>,
    /// Absent until they were counted.
    pub(super) live: Option<u64>,
}

/// Refusals for one reason.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DropRow {
    pub(super) reason: String,
    pub(super) total: u64,
    pub(super) rate: Option<f64>,
}

/// How many connections came while one sample was followed by the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    /// How long that was.
    pub(super) seconds: f64,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Top {
    pace: Pace,
    order: Order,
    selected: usize,
    now: Option<Sample>,
    before: Option<Sample>,
    /// Of new connections; the newest last.
    history: VecDeque<Rate>,
    trouble: Option<String>,
}

impl Top {
    pub(super) fn new(interval: u16) -> Self {
        Self {
            pace: Pace { interval, held: false },
            order: Order::Flows,
            selected: 0,
            now: None,
            before: None,
            history: VecDeque::new(),
            trouble: None,
        }
    }

    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    pub(super) const fn interval(&self) -> u16 {
        self.pace.interval
    }

    pub(super) const fn order(&self) -> Order {
        self.order
    }

    /// Why the agent did not answer last.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) fn status(&self) -> Option<&Status> {
        self.now.as_ref().map(|sample| &sample.status)
    }

    pub(super) fn clients(&self) -> Option<&Clients> {
        self.now.as_ref().map(|sample| &sample.counted.clients)
    }

    pub(super) const fn history(&self) -> &VecDeque<Rate> {
        &self.history
    }

    /// Takes an answer, or why there is none.
    pub(super) fn take(&mut self, answer: Result<Sample>) {
        let sample = match answer {
            Ok(sample) => sample,
            Err(error) => {
                self.trouble = Some(format!("{error:#}"));
                return;
            }
        };
        self.trouble = None;
        // An agent may have been away meanwhile: the rate is that of the time between.
        self.before = self.now.replace(sample);
        if let Some(seconds) = self.passed() {
            let rates = self.listeners().into_iter().filter_map(|row| row.accepted_rate);
            self.history.push_back(Rate { per_second: rates.sum(), seconds });
        }
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
        self.selected = self.selected.min(self.count().saturating_sub(1));
    }

    fn count(&self) -> usize {
        self.clients().map_or(0, |clients| clients.clients.len())
    }

    /// In the order of the configuration.
    pub(super) fn listeners(&self) -> Vec<ListenerRow> {
        let Some(now) = &self.now else { return Vec::new() };
        let rows = now.status.listeners.iter().map(|listener| {
            let mut others = self.before.iter().flat_map(|before| before.status.listeners.iter());
            let before = others.find(|other| other.name == listener.name).map(accepted_and_refused);
            let (accepted, refused) = accepted_and_refused(listener);
            ListenerRow {
                name: listener.name.clone(),
                accepted,
                refused,
                accepted_rate: self.rate(before.map(|(before, _)| before), accepted),
                refused_rate: self.rate(before.map(|(_, before)| before), refused),
                live: now.counted.live.get(&listener.name).copied(),
            }
        });
        rows.collect()
    }

    /// Those reasons that there were; what happens most comes first.
    pub(super) fn drops(&self) -> Vec<DropRow> {
        let Some(now) = &self.now else { return Vec::new() };
        let before = self.before.as_ref().map(|before| &before.status.drops);
        let number = |numbers: &Numbers, reason| numbers.get(reason).copied().unwrap_or(0);
        let there = now.status.drops.iter().filter(|(_, total)| **total > 0);
        let rows = there.map(|(reason, total)| DropRow {
            reason: reason.clone(),
            total: *total,
            rate: self.rate(before.map(|before| number(before, reason)), *total),
        });
        let mut rows: Vec<_> = rows.collect();
        let key = |row: &DropRow| (row.rate.unwrap_or(0.0), row.total);
        rows.sort_by(|a, b| key(b).partial_cmp(&key(a)).expect("rates are numbers"));
        rows
    }

    /// In the chosen order, and which of them is selected.
    pub(super) fn ordered_clients(&self) -> (Vec<&ClientCount>, usize) {
        let mut clients: Vec<_> =
            self.clients().into_iter().flat_map(|clients| &clients.clients).collect();
        if self.order == Order::Address {
            clients.sort_by_key(|client| client.client);
        }
        (clients, self.selected)
    }

    /// Seconds between the two samples, if there are two.
    fn passed(&self) -> Option<f64> {
        let passed = self.now.as_ref()?.at.duration_since(self.before.as_ref()?.at).as_secs_f64();
        (passed > 0.0).then_some(passed)
    }

    /// Per second. Counters begin again when the pins are made anew.
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
    fn rate(&self, before: Option<u64>, now: u64) -> Option<f64> {
        let more = now.saturating_sub(before?) as f64;
        self.passed().map(|passed| more / passed)
    }

    /// Does what a key is for.
    pub(super) fn press(&mut self, key: KeyEvent) -> After {
        if key.kind == KeyEventKind::Release {
            return After::GoOn;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if control => return After::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return After::Quit,
            KeyCode::Char('p') => self.pace.held = !self.pace.held,
            KeyCode::Char('s') => {
                self.order = match self.order {
                    Order::Flows => Order::Address,
                    Order::Address => Order::Flows,
                };
                self.selected = 0;
            }
            KeyCode::Char('+') => self.pace.interval = (self.pace.interval + 1).min(LONGEST),
            KeyCode::Char('-') => self.pace.interval = (self.pace.interval - 1).max(1),
            KeyCode::Down | KeyCode::Char('j') => {
                self.selected = (self.selected + 1).min(self.count().saturating_sub(1));
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            _ => {}
        }
        After::GoOn
    }
}

fn accepted_and_refused(listener: &ListenerJson) -> (u64, u64) {
    let verdicts = &listener.verdicts;
    (verdicts.accept + verdicts.mark, verdicts.reset + verdicts.drop)
}
