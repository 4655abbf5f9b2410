//! What an agent goes through.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxyip_tests::{Agent, Guard, HandOff, Site};

use crate::clients::{Clients, WORKERS};
use crate::log::FlowLog;
use crate::size::Size;

/// Between two troubles.
const REST: Duration = Duration::from_secs(2);

/// How long the agent is frozen, or away. Its connections must not notice.
const AWAY: Duration = Duration::from_secs(2);

/// How an agent ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// By SIGTERM, in order.
    Terminated,
    /// By SIGKILL.
    Killed,
}

/// One life of the agent, and what is around it.
pub(crate) struct Life<'a, 'site> {
    pub(crate) site: &'site Site,
    pub(crate) agent: &'a mut Agent<'site>,
    pub(crate) clients: &'a Clients,
    pub(crate) log: &'a mut FlowLog,
}

/// The configuration that measurements are made under.
pub(crate) fn guard() -> Guard {
    let translated = Guard::ports(&[81]).named("translated").hand_off(HandOff::Translate);
    Guard::ports(&[80]).hand_off(HandOff::Auto).with(&translated)
}

/// Another one: a list of clients that never come, and one more listener.
fn other_guard() -> Guard {
    let denied: Vec<_> = (0..=255).map(|number| format!("192.0.{number}.0/24")).collect();
    guard().deny(&denied.join(",")).with(&Guard::ports(&[82]).named("guest"))
}

impl Life<'_, '_> {
    /// Lets it pass. The sizes of the agent at its beginning, once it has seen everything, and at its end.
    pub(crate) fn pass(&mut self, length: Duration) -> (Size, Size) {
        let end = Instant::now() + length;
        self.troubles();
        let young = self.settle();
        loop {
            self.troubles();
            if Instant::now() > end {
                return (young, self.settle());
            }
        }
    }

    /// Everything that an agent survives, under load.
    fn troubles(&mut self) {
        for guard in [other_guard(), guard()] {
            let said = self.agent.reload(&guard);
            assert!(said.contains("in force as it is now"), "{said}");
            thread::sleep(REST);
        }
        self.agent.process().signal(Signal::SIGSTOP);
        thread::sleep(AWAY);
        self.agent.process().signal(Signal::SIGCONT);
        thread::sleep(REST);
    }

    /// Ends this life, and begins the next one a while later.
    pub(crate) fn end(&mut self, end: End) {
        match end {
            End::Killed => self.agent.kill(),
            End::Terminated => {
                self.agent.process().signal(Signal::SIGTERM);
                assert_eq!(self.agent.process().wait().code(), Some(0), "exit code");
            }
        }
        thread::sleep(AWAY);
        self.agent.start_again();
        let _silence = self.clients.silence();
        self.log.excuse(self.clients.take_unnamed());
    }

    /// Waits until only the connections are left that stay, and looks at everything. The load goes on afterwards.
    fn settle(&mut self) -> Size {
        let _silence = self.clients.silence();
        self.clients.assert_right();
        self.log.assert_names(self.clients.take_unnamed());
        self.agent.assert_healthy(&[]);
        Size::of(self.site, self.agent, WORKERS)
    }
}
