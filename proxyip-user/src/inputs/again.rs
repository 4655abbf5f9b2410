//! Files of networks that have changed are read again. Each is taken on its own: one that is wrong keeps no other back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::network_file::{NetworkFileError, read_networks};
use super::resolve::disagreements;
use crate::config::{Config, Fault, Listener, Networks};

/// What files have now.
type Contents = BTreeMap<PathBuf, Arc<[IpNet]>>;

/// A configuration after its files were read again.
#[derive(Debug)]
pub struct ReadAgain {
    /// With what is in the files now. Those that are wrong have what they had.
    pub config: Config,
    /// The files that are wrong.
    pub wrong: Vec<PathBuf>,
    /// Everything that is wrong with them.
    pub faults: NetworkFileError,
}

impl Config {
    /// The same configuration with what is in these of its files of networks now. The others are not read, and their
    /// networks are shared.
    #[must_use]
    pub fn with_files_read_again(&self, changed: &[PathBuf]) -> ReadAgain {
        let (mut contents, mut wrong, mut faults) = (Contents::new(), Vec::new(), Vec::new());
        for path in changed.iter().filter(|path| self.files().any(|file| file == **path)) {
            match read_networks(path) {
                Ok(networks) => drop(contents.insert(path.clone(), networks.into())),
                Err(NetworkFileError(why)) => {
                    wrong.push(path.clone());
                    faults.extend(why);
                }
            }
        }
        loop {
            let config = self.with(&contents);
            let why = disagreeing(self, &config);
            if why.is_empty() {
                return ReadAgain { config, wrong, faults: NetworkFileError(faults) };
            }
            for (files, fault) in why {
                faults.push(fault);
                wrong.extend(files.into_iter().filter(|file| contents.remove(file).is_some()));
            }
        }
    }

    /// With these contents of files.
    fn with(&self, contents: &Contents) -> Self {
        let mut config = self.clone();
        let of_sets = config.sets.iter_mut().map(|set| &mut set.networks);
        let of_listeners = config
            .listeners
            .iter_mut()
            .flat_map(|one| [&mut one.trusted, &mut one.allow, &mut one.deny]);
        for file in of_sets.chain(of_listeners).filter_map(|list| list.file.as_mut()) {
            if let Some(networks) = contents.get(&file.path).filter(|new| ***new != *file.networks)
            {
                file.networks = Arc::clone(networks);
            }
        }
        config
    }
}

/// What files that are right by themselves make wrong together, each with those that have changed.
fn disagreeing(old: &Config, new: &Config) -> Vec<(Vec<PathBuf>, Fault)> {
    let listeners = old.listeners.iter().zip(&new.listeners).filter(|(old, new)| old != new);
    let of_listener = |(old, new): (&Listener, &Listener)| {
        let judging = changed_files([(&old.allow, &new.allow), (&old.deny, &new.deny)]);
        let of_fault = move |fault| match &fault {
            Fault::NobodyTrusted(file) => (vec![file.clone()], fault),
            _ => (judging.clone(), fault),
        };
        disagreements(new).into_iter().map(of_fault).collect::<Vec<_>>()
    };
    listeners.flat_map(of_listener).collect()
}

/// The files of the lists that are not as they were.
fn changed_files(lists: [(&Networks, &Networks); 2]) -> Vec<PathBuf> {
    let changed = lists.into_iter().filter(|(old, new)| old != new);
    changed.filter_map(|(_, new)| Some(new.file.as_ref()?.path.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Files(tempfile::TempDir);

    impl Files {
        fn add(&self, name: &str, content: &str) -> PathBuf {
            let path = self.0.path().join(name);
            fs::write(&path, content).unwrap();
            path
        }
    }

    #[test]
    fn a_wrong_file_keeps_no_other_one_back() {
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let files = Files(tempfile::tempdir().unwrap());
        let names = ["trusted", "allow", "deny", "set"];
        let [trusted, allow, deny, set] = names.map(|name| files.add(name, "10.0.0.0/8"));
        files.add("deny", "192.0.2.0/24");
        let config = Config::from_toml(&format!(
            "[[listener]]\nports = [1]\ntrusted_file = '{}'\nallow_file = '{}'\ndeny_file = '{}'\n[[set]]\nname = 's'\n\
             file = '{}'\n",
            trusted.display(),
            allow.display(),
            deny.display(),
            set.display()
        ))
        .unwrap();
        let all = [&trusted, &allow, &deny, &set].map(Clone::clone);
        files.add("set", "203.0.113.0/24");
        for (what, name, text, wrong) in [
            ("no network", "allow", "not a network", vec![&allow]),
            ("the same network is allowed and denied", "allow", "192.0.2.0/24", vec![&allow]),
            ("nobody is trusted", "trusted", "# none", vec![&trusted]),
        ] {
            files.add(name, text);
            let again = config.with_files_read_again(&all);
            assert_eq!(again.wrong.iter().collect::<Vec<_>>(), wrong, "{what}");
            assert!(!again.faults.0.is_empty(), "{what}");
            assert_eq!(again.config.listeners, config.listeners, "{what}");
            let of_set = again.config.sets[0].networks.iter();
            assert!(of_set.eq([&network("203.0.113.0/24")]), "{what}");
            files.add(name, "10.0.0.0/8");
        }
        // Two that contradict each other are both wrong.
        files.add("allow", "198.51.100.0/24");
        files.add("deny", "198.51.100.0/24");
        files.add("trusted", "10.0.0.0/16");
        let again = config.with_files_read_again(&all);
        assert_eq!(again.wrong, [allow, deny]);
        assert!(again.config.listeners[0].trusted.iter().eq([&network("10.0.0.0/16")]));
        assert_eq!(again.config.listeners[0].deny, config.listeners[0].deny);
    }
}
