//! Files of networks that have changed are read again. Each is taken on its own: one that is wrong keeps no other back.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::network_file::{NetworkFileError, read_networks};
use crate::config::networks::{NAMED, contradictions};
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
            let before = contents.len();
            for Blame { file, fault } in contradicting(self, &config) {
                faults.push(fault);
                if contents.remove(&file).is_some() {
                    wrong.push(file);
                }
            }
            if contents.len() == before {
                return ReadAgain { config, wrong, faults: NetworkFileError(faults) };
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

/// A file that is right by itself, and what it makes wrong.
struct Blame {
    file: PathBuf,
    fault: Fault,
}

/// The files that have changed and contradict what is in force. The files that contradict only each other are named
/// when no others are left: without those they may be right.
fn contradicting(old: &Config, new: &Config) -> Vec<Blame> {
    let (mut in_any_case, mut each_other) = (Vec::new(), Vec::new());
    for (old, new) in old.listeners.iter().zip(&new.listeners).filter(|(old, new)| old != new) {
        in_any_case.extend(nobody_trusted(old, new));
        let both = contradictions(new.allow.iter(), new.deny.iter());
        if both.is_empty() {
            continue;
        }
        let (allowed, denied) = (added(&old.allow, &new.allow), added(&old.deny, &new.deny));
        let (news, both): (Vec<_>, Vec<_>) =
            both.into_iter().partition(|both| allowed.contains(both) && denied.contains(both));
        let (allowed, rest): (Vec<_>, Vec<_>) =
            both.into_iter().partition(|both| allowed.contains(both));
        let denied = rest.into_iter().filter(|both| denied.contains(both)).collect();
        in_any_case.extend(blame(new, &new.allow, allowed));
        in_any_case.extend(blame(new, &new.deny, denied));
        // Who is to be denied must not wait for who is to be allowed.
        each_other.extend(blame(new, &new.allow, news));
    }
    if in_any_case.is_empty() { each_other } else { in_any_case }
}

fn nobody_trusted(old: &Listener, new: &Listener) -> Option<Blame> {
    let is_wrong = old.trusted != new.trusted && new.trusted.iter().next().is_none();
    let file = new.trusted.file.as_ref().filter(|_| is_wrong)?.path.clone();
    let fault = of_listener(new, Fault::NobodyTrusted(file.clone()));
    Some(Blame { file, fault })
}

/// What is in a list's file, and was not in the list.
fn added<'n>(old: &Networks, new: &'n Networks) -> HashSet<&'n IpNet> {
    let Some(file) = new.file.as_ref().filter(|_| old != new) else {
        return HashSet::new();
    };
    let old: HashSet<_> = old.iter().collect();
    file.networks.iter().filter(|network| !old.contains(network)).collect()
}

/// Names networks that the file of this list allows or denies, though another list does the opposite.
fn blame(listener: &Listener, list: &Networks, networks: Vec<&IpNet>) -> Vec<Blame> {
    let Some(file) = &list.file else { return Vec::new() };
    let more = networks.len().saturating_sub(NAMED);
    let networks = networks.into_iter().take(NAMED);
    let faults = networks.map(|network| Fault::WouldContradict(*network));
    let faults = faults.chain((more > 0).then_some(Fault::More(more)));
    let in_file =
        |fault| Fault::InFile { path: file.path.clone(), line: None, fault: Box::new(fault) };
    faults
        .map(|fault| Blame {
            file: file.path.clone(),
            fault: of_listener(listener, in_file(fault)),
        })
        .collect()
}

fn of_listener(listener: &Listener, fault: Fault) -> Fault {
    Fault::OfListener { name: listener.name.clone(), fault: Box::new(fault) }
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
        // Of two that contradict each other the allowing one is wrong.
        files.add("allow", "198.51.100.0/24");
        files.add("deny", "198.51.100.0/24");
        files.add("trusted", "10.0.0.0/16");
        let again = config.with_files_read_again(&all);
        assert_eq!(again.wrong, [allow]);
        let listener = &again.config.listeners[0];
        assert!(listener.trusted.iter().eq([&network("10.0.0.0/16")]));
        assert!(listener.deny.iter().eq([&network("198.51.100.0/24")]));
        assert_eq!(listener.allow, config.listeners[0].allow);
    }

    /// The keys of the inline lists, what files have at first and later, the wrong files, and why.
    type Case =
        (&'static str, [[&'static str; 2]; 2], &'static [&'static str], &'static [&'static str]);

    const N: &str = "172.16.5.0/24";
    const OTHER: &str = "198.51.100.0/24";
    const BOTH: &str = "172.16.5.0/24 198.51.100.0/24";

    #[rustfmt::skip]
    const CASES: [Case; 9] = [
        // The text denies what the file allows now.
        ("deny = '172.16.5.0/24'", [["", ""], [N, OTHER]], &["allow"], &[N]),
        ("allow = '172.16.5.0/24'", [["", ""], [OTHER, N]], &["deny"], &[N]),
        // What denies it has changed, but has denied it before.
        ("", [["", N], [N, BOTH]], &["allow"], &[N]),
        ("", [[N, ""], [BOTH, N]], &["deny"], &[N]),
        // Both say something new.
        ("", [["", ""], [N, N]], &["allow"], &[N]),
        // The text has allowed it before the file.
        ("allow = '172.16.5.0/24'", [["", ""], [N, N]], &["deny"], &[N]),
        // The denying file is wrong in any case, so nothing contradicts the allowing one.
        ("allow = '172.16.5.0/24'", [["", ""], [OTHER, BOTH]], &["deny"], &[N]),
        // A network moves.
        ("", [["", N], [N, ""]], &[], &[]),
        ("deny = '172.16.5.0/24'", [["", OTHER], [BOTH, ""]], &["allow"], &[N]),
    ];

    #[test]
    fn only_a_file_that_says_something_new_is_to_blame_for_a_contradiction() {
        for (inline, [before, after], wrong, networks) in CASES {
            let files = Files(tempfile::tempdir().unwrap());
            let paths = || ["allow", "deny"].into_iter();
            let write = |texts: [&str; 2]| {
                paths().zip(texts).map(|(name, text)| files.add(name, text)).collect::<Vec<_>>()
            };
            let all = write(before);
            let [allow, deny] = [&all[0], &all[1]].map(|path| path.display());
            let config = Config::from_toml(&format!(
                "[[listener]]\nname = 'web'\nports = [1]\ntrusted = '10.0.0.0/8'\n{inline}\n\
                 allow_file = '{allow}'\ndeny_file = '{deny}'\n"
            ))
            .unwrap();
            write(after);
            let again = config.with_files_read_again(&all);
            let case = format!("{inline} {before:?} {after:?}");
            let wrong: Vec<_> = wrong.iter().map(|name| files.0.path().join(name)).collect();
            assert_eq!(again.wrong, wrong, "{case}");
            let why = again.faults.to_string();
            assert_eq!(why.lines().count(), networks.len(), "{case}: {why}");
            for (file, network) in wrong.iter().zip(networks) {
                let at = format!("listener \"web\": {}: {network} ", file.display());
                assert!(why.starts_with(&at), "{case}: {why}");
            }
            let (old, new) = (&config.listeners[0], &again.config.listeners[0]);
            for (name, old, new) in
                [("allow", &old.allow, &new.allow), ("deny", &old.deny, &new.deny)]
            {
                let path = files.0.path().join(name);
                let changed = !wrong.contains(&path);
                assert_eq!(old != new, changed, "{case}: {name}");
            }
        }
    }

    #[test]
    fn many_contradictions_are_counted() {
        let files = Files(tempfile::tempdir().unwrap());
        let networks = (0..8).map(|n| format!("10.0.{n}.0/24")).collect::<Vec<_>>().join(" ");
        let [allow, deny] = ["allow", "deny"].map(|name| files.add(name, ""));
        files.add("deny", &networks);
        let config = Config::from_toml(&format!(
            "[[listener]]\nports = [1]\ntrusted = '10.0.0.0/8'\nallow_file = '{}'\ndeny_file = '{}'\n",
            allow.display(),
            deny.display()
        ))
        .unwrap();
        files.add("allow", &networks);
        let again = config.with_files_read_again(&[allow, deny]);
        assert_eq!(again.faults.0.len(), NAMED + 1);
        assert!(again.faults.to_string().ends_with(": and 3 more like these"), "{}", again.faults);
    }
}
