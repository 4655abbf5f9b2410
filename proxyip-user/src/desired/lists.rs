//! The lists of listeners and sets, each under a number of its own (its scope), and the policies that name them.

use std::sync::Arc;

use proxyip_common::settings::{Denied, Policy};

use super::networks::{Commands, Entries, clients, members, otherwise, sources, value};
use crate::config::{Listener, Networks, Set};

/// The lists of a listener, and the policy that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lists {
    pub(crate) policy: Policy,
    /// What they were made from, with what commands have said; `None` if that is not known.
    pub(crate) made_from: Option<MadeFrom>,
    pub(crate) sources: Arc<Entries>,
    pub(crate) clients: Arc<Entries>,
}

/// The lists of a listener as the configuration has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MadeFrom {
    trusted: Networks,
    allow: Networks,
    deny: Networks,
}

/// The members of a set, and their scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) scope: u32,
    /// What they were made from; `None` if that is not known.
    pub(crate) made_from: Option<Networks>,
    pub(crate) entries: Arc<Entries>,
}

impl From<&Listener> for MadeFrom {
    fn from(listener: &Listener) -> Self {
        let Listener { trusted, allow, deny, .. } = listener;
        Self { trusted: trusted.clone(), allow: allow.clone(), deny: deny.clone() }
    }
}

impl MadeFrom {
    pub(crate) fn is_of(&self, listener: &Listener) -> bool {
        let Self { trusted, allow, deny } = self;
        (trusted, allow, deny) == (&listener.trusted, &listener.allow, &listener.deny)
    }
}

impl Lists {
    /// Those of a listener, under this scope or, if `there` says the same, under its own.
    pub(crate) fn of(
        listener: &Listener,
        commands: Option<&Commands>,
        (there, scope): (Option<&Arc<Self>>, u32),
    ) -> Self {
        let sources = Arc::new(sources(&listener.trusted));
        let clients = Arc::new(clients(listener, commands.unwrap_or(&Commands::new())));
        let same = there.filter(|there| there.sources == sources && there.clients == clients);
        let scope = same.map_or(scope, |there| there.policy.scope);
        let made_from = Some(MadeFrom::from(listener));
        let lists =
            Self { policy: Policy { scope, ..Policy::default() }, made_from, sources, clients };
        lists.with_policy(listener, there)
    }

    /// The rules of commands alone, of a listener that has left; `None` if `there` has nothing else already.
    pub(crate) fn kept(commands: &Commands, (there, scope): (&Self, u32)) -> Option<Self> {
        let sources = Arc::<Entries>::default();
        let clients = Arc::new(clients(&Listener::default(), commands));
        let is_same = there.sources == sources && there.clients == clients;
        let policy = Policy { scope, ..there.policy };
        (!is_same).then_some(Self { policy, made_from: None, sources, clients })
    }

    /// The same with the policy that the listener has now, at the place of `there`.
    pub(crate) fn with_policy(self, listener: &Listener, there: Option<&Arc<Self>>) -> Self {
        // Connections that were marked keep their mark.
        let mark = there.filter(|_| listener.denied != Denied::Mark).map(|there| there.policy.mark);
        let policy = Policy {
            scope: self.policy.scope,
            mark: mark.unwrap_or(listener.mark),
            untrusted: listener.untrusted as u8,
            denied: listener.denied as u8,
            otherwise: value(otherwise(listener)),
            judges: u8::from(!self.clients.is_empty() || listener.allow.is_given()),
            reserved: [0; 4],
        };
        Self { policy, ..self }
    }

    /// Whether these are the same lists, named by the same policy, and made from the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        // What a scope has never changes under another configuration.
        (self.policy, &self.made_from) == (other.policy, &other.made_from)
    }
}

impl Members {
    /// Those of a set, under this scope or, if `there` has the same, under its own.
    pub(crate) fn of(set: &Set, (there, scope): (Option<&Arc<Self>>, u32)) -> Self {
        let entries = Arc::new(members(set));
        let same = there.filter(|there| there.entries == entries);
        let scope = same.map_or(scope, |there| there.scope);
        Self { scope, made_from: Some(set.networks.clone()), entries }
    }
}
