//! What a reload or a start would change, and where the host is not as the configuration in force wants it. It changes
//! nothing.

mod keys;
mod places;

use std::path::{Path, PathBuf};

use proxyip_api::config::ConfigJson;
use proxyip_api::difference::{Change, Difference};
use proxyip_api::finding::{Finding, FindingKind};
use proxyip_api::status::{InterfaceJson, Status};

use self::keys::changes;
use self::places::{Chosen, chosen, without};
use crate::bpf::probe::probe;
use crate::config::schema::Effect;
use crate::config::{Agent, Api, Config, DEFAULT_PIN_PATH, Interface, Log, Origin};
use crate::host::roots;
use crate::lifecycle::detach::has_pins;
use crate::lifecycle::lock;

/// What a running agent says of itself.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its configuration.
    pub config: ConfigJson,
    /// What it guards, and what it has found.
    pub status: Status,
}

/// What a reload of this file would change.
#[must_use]
pub fn of_reload(
    file: &Path,
    mut config: Config,
    InForce { config: old, status }: &InForce,
) -> Difference {
    let mut notes = keep_flags(&mut config, old);
    notes.extend(another_file(old.file.as_deref(), file));
    if status.mended > 0 {
        notes.push(format!(
            "kernel programs or pins that were missing, and were put back: {}",
            status.mended
        ));
    }
    let changes = changes(old, &config.shown());
    let own = pin_path(old).and_then(lock::holder_of).map(namespace_of);
    let agent = places::Agent { namespace: own.as_deref(), pin_path: &config.agent.pin_path };
    let before = chosen(&Interface::all_shown(old), agent);
    let after = chosen(&config.interfaces, agent);
    let (_, findings) = status.split_remarks();
    Difference {
        agent: Some(status.pid),
        file: file.display().to_string(),
        attach: without(&after.there, &before.there),
        leave: without(&before.there, &after.there),
        refused: refused(&changes, old)
            .into_iter()
            .chain(unfit(&config))
            .chain(missing(&before, after))
            .collect(),
        changes,
        drift: findings.into_iter().filter(is_drift).collect(),
        notes,
    }
}

/// What a start with this file would attach and write. The tables `[api]`, `[log]` and `[agent]` are compared with their
/// defaults.
#[must_use]
pub fn of_start(file: &Path, config: &Config) -> Difference {
    let nothing = Config {
        interfaces: Vec::new(),
        listeners: Vec::new(),
        sets: Vec::new(),
        api: Api::default(),
        log: Log::default(),
        agent: Agent::default(),
        origin: Origin::default(),
    };
    let Agent { pin_path, max_flows, max_translated, .. } = &config.agent;
    let here = places::Agent { namespace: None, pin_path };
    let Chosen { there, missing } = chosen(&config.interfaces, here);
    let mut notes = vec![format!(
        "no agent runs: this is what a start would do. Its tables have room for {max_flows} flows and {max_translated} \
         translated connections"
    )];
    if has_pins(pin_path).unwrap_or(false) {
        notes.push(format!(
            "kernel programs of an agent that has ended go on working, pinned below {}: a start takes their place",
            pin_path.display()
        ));
    }
    Difference {
        agent: None,
        file: file.display().to_string(),
        changes: changes(&nothing.shown(), &config.shown()),
        attach: there,
        leave: Vec::new(),
        refused: unfit(config)
            .into_iter()
            .chain(missing.into_iter().map(|(_, error)| error))
            .collect(),
        drift: Vec::new(),
        notes,
    }
}

/// Why this host or its kernel cannot do what the file wants.
fn unfit(config: &Config) -> Vec<String> {
    let kernel = probe().and_then(|capability| capability.check(config));
    let found = [roots::check(&config.agent), kernel];
    found.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect()
}

/// A reload keeps what flags have set.
fn keep_flags(config: &mut Config, old: &ConfigJson) -> Vec<String> {
    let in_force = |section: &str, key: &str| {
        let is_kept = old.flags.iter().any(|flag| *flag == format!("{section}.{key}"));
        old.config.get(section)?.get(key)?.as_str().map(PathBuf::from).filter(|_| is_kept)
    };
    let mut notes = Vec::new();
    let keys = [
        ("api", "socket", &mut config.api.socket),
        ("agent", "pin_path", &mut config.agent.pin_path),
    ];
    for (section, key, path) in keys {
        if let Some(kept) = in_force(section, key).filter(|kept| kept != path) {
            notes.push(format!(
                "a flag or the environment of `proxyip run` has {section}.{key} at {}: a reload keeps it, whatever the \
                 file says",
                kept.display()
            ));
            *path = kept;
        }
    }
    notes
}

/// That a reload does not read this file.
fn another_file(read: Option<&str>, file: &Path) -> Option<String> {
    let same = |path: &Path| {
        let resolved =
            |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
        resolved(path) == resolved(file)
    };
    let here = file.display();
    match read {
        None => Some(format!(
            "the agent was started without a file, so a reload does not read {here}: this is what a start with it would change"
        )),
        Some(read) if !same(Path::new(read)) => {
            Some(format!("a reload reads {read}, and not {here}"))
        }
        Some(_) => None,
    }
}

/// What is pinned cannot follow.
fn refused(changes: &[Change], old: &ConfigJson) -> Vec<String> {
    let detach = match pin_path(old) {
        Some(path) if path != Path::new(DEFAULT_PIN_PATH) => {
            format!("proxyip detach --pin-path {}", path.display())
        }
        _ => "proxyip detach".to_owned(),
    };
    let fixed = changes.iter().filter(|one| one.needs == Effect::Detach.label());
    let sentence = |one: &Change| {
        let key = one.key.as_deref().unwrap_or_default();
        format!("{}.{key}: stop the agent, run `{detach}`, and start the agent", one.section)
    };
    fixed.map(sentence).collect()
}

/// What the file names anew and is not there. What was named before is missed by the agent already.
fn missing(before: &Chosen, after: Chosen) -> Vec<String> {
    let is_known = |place: &InterfaceJson| {
        before.there.contains(place) || before.missing.iter().any(|(missing, _)| missing == place)
    };
    let missing = after.missing.into_iter().filter(|(place, _)| !is_known(place));
    missing.map(|(_, error)| error).collect()
}

fn pin_path(shown: &ConfigJson) -> Option<&Path> {
    shown.config.get("agent")?.get("pin_path")?.as_str().map(Path::new)
}

/// As `/proc` has it.
fn namespace_of(process: u32) -> PathBuf {
    format!("/proc/{process}/ns/net").into()
}

/// Whether a finding says that the kernel or the host is not as the configuration in force wants it. The others are about
/// traffic, and about room in tables.
fn is_drift(finding: &Finding) -> bool {
    let kind = FindingKind::ALL.iter().find(|kind| kind.label() == finding.label);
    kind.is_some_and(|kind| match kind {
        FindingKind::NotAttached
        | FindingKind::InterfaceGone
        | FindingKind::NamespaceLost
        | FindingKind::NamespaceWaits
        | FindingKind::NamespaceUnmounted
        | FindingKind::MatchesNothing
        | FindingKind::StillAttached
        | FindingKind::SetsUnpinned
        | FindingKind::ThreadFails
        | FindingKind::ConfigMixed
        | FindingKind::Degraded
        | FindingKind::Drained
        | FindingKind::ListsStale
        | FindingKind::OtherProgramFirst
        | FindingKind::PinsHidden
        | FindingKind::PinsLost => true,
        FindingKind::NamespaceTwice
        | FindingKind::ReloadRefused
        | FindingKind::FlowsFull
        | FindingKind::TranslationsFull
        | FindingKind::NetworksFull
        | FindingKind::SetsFull
        | FindingKind::DrainedFull
        | FindingKind::RoutesFull
        | FindingKind::SegmentsEarly
        | FindingKind::Redirected
        | FindingKind::EndsUnnoticed
        | FindingKind::HeadersMissing
        | FindingKind::SomeHeadersMissing
        | FindingKind::UntrustedHeaders
        | FindingKind::UntrustedOnly
        | FindingKind::TrustsEveryone
        | FindingKind::ListsBypassed
        | FindingKind::AcceptUnjudged
        | FindingKind::RulesOrphaned => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::LEAST;

    fn config(more: &str) -> Config {
        Config::from_toml(&format!("{LEAST}{more}")).unwrap()
    }

    #[test]
    fn what_flags_have_set_is_no_difference() {
        let mut old = config("").shown();
        old.config["api"]["socket"] = "/run/b.sock".into();
        old.config["api"]["lookup_socket"] = "/run/lookup.sock".into();
        let mut new = config("[agent]\npin_path = '/sys/fs/bpf/b'\n");
        assert_eq!(keep_flags(&mut new, &old), Vec::<String>::new());
        old.flags = vec!["api.socket".into(), "agent.pin_path".into()];
        let notes = keep_flags(&mut new, &old);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("has api.socket at /run/b.sock: a reload keeps it"), "{notes:?}");
        assert_eq!(changes(&old, &new.shown()), []);
    }

    #[test]
    fn what_a_reload_cannot_change_is_refused() {
        let [old, new] = ["", "[agent]\nmax_flows = 2048\nmax_tlv_memory = 1\n"]
            .map(|more| config(&format!("[api]\nhttp_remote = true\n{more}")).shown());
        let changes = changes(&old, &new);
        assert_eq!(changes.len(), 2);
        let expected = "agent.max_flows: stop the agent, run `proxyip detach`, and start the agent";
        assert_eq!(refused(&changes, &old), [expected]);
    }

    #[test]
    fn only_what_is_missing_anew_is_refused() {
        let place =
            |name: &str| InterfaceJson { name: name.into(), netns: "host".into(), xdp: None };
        let missing_at =
            |names: &[&str]| names.iter().map(|name| (place(name), (*name).to_owned())).collect();
        let before = Chosen { there: vec![place("lo")], missing: missing_at(&["eth7"]) };
        let after = Chosen { there: Vec::new(), missing: missing_at(&["eth7", "eth8"]) };
        assert_eq!(missing(&before, after), ["eth8"]);
    }

    #[test]
    fn a_file_that_a_reload_does_not_read_is_named() {
        let file = Path::new("/proc/self/status");
        let own = std::process::id();
        assert_eq!(another_file(Some(&format!("/proc/{own}/status")), file), None);
        let other = another_file(Some("/etc/other.toml"), file).unwrap();
        assert_eq!(other, "a reload reads /etc/other.toml, and not /proc/self/status");
        assert!(
            another_file(None, file).unwrap().starts_with("the agent was started without a file")
        );
    }

    #[test]
    fn drift_is_not_about_traffic() {
        let drifts = |kind| is_drift(&Finding::new(kind, "so"));
        assert!(drifts(FindingKind::NotAttached) && !drifts(FindingKind::HeadersMissing));
        assert!(!is_drift(&Finding { label: "of_a_later_version".into(), sentence: "so".into() }));
    }
}
