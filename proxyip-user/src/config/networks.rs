//! Lists of networks: those in the configuration itself, and those in a file that it names.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::problem::{At, Place};

/// How many networks that contradict each other are named.
pub(crate) const NAMED: usize = 5;

/// A list of networks: `KEY` and `KEY_file` of a listener or set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Those in the configuration itself, each once.
    pub written: Vec<IpNet>,
    /// Those in a file.
    pub file: Option<NetworkFile>,
}

/// A file of networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    /// Its absolute path.
    pub path: PathBuf,
    /// What was in it when it was read, each once. Copies of a configuration share it: it may have a million.
    pub networks: Arc<[IpNet]>,
}

impl Networks {
    /// All of them. A network that is both written and in the file comes twice.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.written.iter().chain(self.file.iter().flat_map(|file| file.networks.iter()))
    }

    /// Whether the configuration has this list, though perhaps an empty one.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        !self.written.is_empty() || self.file.is_some()
    }
}

impl From<Vec<IpNet>> for Networks {
    fn from(written: Vec<IpNet>) -> Self {
        Self { written, file: None }
    }
}

/// A list of networks as it is in the text. Its file has not been read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSpec {
    /// Those in the text itself, each once.
    pub written: Vec<IpNet>,
    /// Whether there are some, right or wrong.
    pub has_items: bool,
    /// Where they are, or would be.
    pub place: Place,
    /// The file of more.
    pub file: Option<At<PathBuf>>,
}

/// Networks that are in both lists, each once.
pub(crate) fn contradictions<'n>(
    allow: impl IntoIterator<Item = &'n IpNet>,
    deny: impl IntoIterator<Item = &'n IpNet>,
) -> Vec<&'n IpNet> {
    let mut allowed: HashSet<_> = allow.into_iter().collect();
    // The removal makes each network come only once.
    deny.into_iter().filter(|network| allowed.remove(network)).collect()
}
