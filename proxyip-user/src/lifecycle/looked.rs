//! What a look at programs and their places found.

use std::fmt;

use anyhow::Result;
use proxyip_api::finding::{Finding, FindingKind};

use crate::bpf::in_place::{Change, InPlace};
use crate::bpf::sockets::named;

/// An interface that does not exist now, as the begin of a sentence.
#[derive(Debug)]
pub(super) struct Gone(pub(super) String);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what) = self;
        write!(f, "{what} is gone: the agent attaches to it as soon as it is there again")
    }
}

/// What was found at one place.
pub(super) type Found = (String, Result<InPlace>);

/// What somebody should know of several places.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// What is not guarded.
    pub(super) missing: Vec<Finding>,
    pub(super) remarks: Vec<Finding>,
    /// What was put right.
    pub(super) changes: Vec<(String, Change)>,
}

impl Looked {
    /// Adds the findings of others.
    pub(super) fn note(&mut self, other: &Self) {
        self.missing.extend(other.missing.iter().cloned());
        self.remarks.extend(other.remarks.iter().cloned());
    }
}

impl FromIterator<Found> for Looked {
    fn from_iter<T: IntoIterator<Item = Found>>(found: T) -> Self {
        let mut looked = Self::default();
        for (what, result) in found {
            match result {
                Ok(InPlace { change, before }) => {
                    looked.remarks.extend(before.into_iter().map(|one| came_before(&what, one)));
                    looked.changes.push((what, change));
                }
                Err(error) => looked.missing.push(not_in_place(&error)),
            }
        }
        looked
    }
}

fn not_in_place(error: &anyhow::Error) -> Finding {
    let is_gone = error.is::<Gone>();
    let kind = if is_gone { FindingKind::InterfaceGone } else { FindingKind::NotAttached };
    Finding::new(kind, format!("{error:#}"))
}

fn came_before(what: &str, other: u32) -> Finding {
    let sentence = format!(
        "{} runs before {what}: connections that it lets pass itself are not guarded. Let its owner attach it behind, or \
         restart the agent, which comes first again",
        named(other)
    );
    Finding::new(FindingKind::OtherProgramFirst, sentence)
}
