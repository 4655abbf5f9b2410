//! What others ask of the thread that looks after what is attached.

use std::collections::BTreeSet;
use std::sync::mpsc::SyncSender;

use proxyip_api::finding::Finding;

/// Something that does not wait for the next look.
pub(super) enum Request {
    /// A look at everything, at once. Whoever asks gets what is not guarded after it.
    Look(SyncSender<Vec<Finding>>),
    /// A look at the namespace with this cookie: its interfaces have changed.
    Changed(u64),
}

/// What was asked for since the last look.
#[derive(Default)]
pub(super) struct Asked {
    /// Who waits for a look at everything.
    pub(super) answers: Vec<SyncSender<Vec<Finding>>>,
    /// The cookies of namespaces whose interfaces have changed.
    pub(super) changed: BTreeSet<u64>,
}

impl FromIterator<Request> for Asked {
    fn from_iter<T: IntoIterator<Item = Request>>(requests: T) -> Self {
        let mut asked = Self::default();
        for request in requests {
            match request {
                Request::Look(answer) => asked.answers.push(answer),
                Request::Changed(cookie) => drop(asked.changed.insert(cookie)),
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_namespace_is_looked_at_once_however_often_it_changes() {
        let changes = [7, 8, 7].map(Request::Changed);
        let look = Request::Look(sync_channel(1).0);
        let asked: Asked = changes.into_iter().chain([look]).collect();
        assert_eq!((asked.answers.len(), asked.changed), (1, [7, 8].into()));
    }
}
