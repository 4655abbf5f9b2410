//! Every key of the configuration is changed while the agent runs: one at a time, and all at once.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use proxyip_tests::{Agent, Api, Guard, Pod, Site, address, eventually, run};
use proxyip_user::config::schema::{SECTIONS, Shape};
use serde_json::Value;

/// A group that nobody is in.
const GROUP: u32 = 54_321;
/// The same one, by another path.
const PROCFS: &str = "/proc/self/root/proc";
const JOURNAL: &str = "/run/systemd/journal/socket";

/// The values of a file, as TOML, by section and key.
type File = BTreeMap<(&'static str, &'static str), String>;

/// A changed value, with other keys that it needs.
struct Change<'a> {
    key: (&'static str, &'static str),
    file: File,
    seen: Seen<'a>,
}

/// How a change shows.
enum Seen<'a> {
    /// The kernel's maps of listeners and sets have other entries.
    InMaps,
    /// This holds soon.
    Holds(Box<dyn Fn() -> bool + 'a>),
    /// The reload is refused with a sentence that has this.
    Refused(String),
}

impl<'a> Seen<'a> {
    fn when(holds: impl Fn() -> bool + 'a) -> Self {
        Self::Holds(Box::new(holds))
    }

    /// The status, asked on this socket, says so.
    fn in_status(socket: PathBuf, pointer: &'static str, expected: Value) -> Self {
        Self::when(move || {
            socket.exists()
                && Api::connect(&socket).get("/v1/status").pointer(pointer) == Some(&expected)
        })
    }
}

/// The file that the agent is started with.
fn base(site: &Site) -> File {
    let path = |path: PathBuf| format!("{:?}", path.display().to_string());
    let entries = [
        (("interface", "name"), "\"eth0\"".into()),
        (("listener", "ports"), "[80]".into()),
        (("listener", "trusted"), format!("[\"{}/32\"]", address::BALANCER)),
        (("set", "name"), "\"office\"".into()),
        (("set", "cidrs"), "[\"198.51.100.0/24\"]".into()),
        (("api", "socket"), path(site.scratch.path("api.sock"))),
        (("agent", "pin_path"), path(site.scratch.pin_path())),
    ];
    entries.into_iter().collect()
}

fn text(file: &File) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let header = match section.shape {
            Shape::Table => format!("[{}]", section.name),
            Shape::Tables(..) => format!("[[{}]]", section.name),
        };
        writeln!(text, "{header}").expect("a String grows");
        for ((_, key), value) in file.iter().filter(|((name, _), _)| *name == section.name) {
            writeln!(text, "{key} = {value}").expect("a String grows");
        }
    }
    text
}

/// What the kernel's maps have of listeners and sets.
fn maps(site: &Site) -> String {
    let maps = ["LISTENERS", "POLICIES", "PORTS", "SETS", "LISTENER_NAMES", "SET_NAMES"];
    maps.map(|name| dump(&site.scratch.pin_path(), name)).concat()
}

fn dump(pin_path: &Path, name: &str) -> String {
    let directories = fs::read_dir(pin_path).expect("pins");
    let mut directories = directories.map(|entry| entry.expect("a pin").path());
    let is_of_maps = |path: &PathBuf| path.join(name).exists();
    let map = directories.find(is_of_maps).expect("the directory of maps").join(name);
    run("bpftool", &["map", "dump", "pinned", &map.display().to_string()])
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode() & 0o777)
}

fn group(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |metadata| metadata.gid())
}

/// A value for each key, other than in [`base`].
fn changes(site: &Site) -> Vec<Change<'_>> {
    let list = site.scratch.write("networks", "203.0.113.0/24\n");
    let list = format!("{list:?}");
    // No network may be allowed and denied.
    let denied = format!("{:?}", site.scratch.write("denied", "203.0.112.0/24\n"));
    let change = |key, value: &str, more: &[(_, &str)], seen| {
        let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
        Change { key, file: more.chain([(key, value.to_owned())]).collect(), seen }
    };
    let listener = |key, value: &str, more| change(("listener", key), value, more, Seen::InMaps);
    let set = |key, value: &str| change(("set", key), value, &[], Seen::InMaps);
    let mut all = vec![
        listener("name", "\"other\"", &[]),
        listener("ports", "[80, 81]", &[]),
        listener("trusted", "[\"10.9.0.0/31\"]", &[]),
        listener("trusted_file", &list, &[]),
        listener("untrusted", "\"reset\"", &[]),
        listener("allow", "[\"198.51.100.0/24\"]", &[]),
        listener("allow_file", &list, &[]),
        listener("deny", "[\"192.0.2.0/24\"]", &[]),
        listener("deny_file", &denied, &[]),
        listener("denied", "\"mark\"", &[]),
        listener("mark", "7", &[(("listener", "denied"), "\"mark\"")]),
        listener("versions", "[\"v2\"]", &[]),
        listener("hand_off", "\"translate\"", &[]),
        listener("unknown", "\"reset\"", &[]),
        listener("headerless", "\"local\"", &[]),
        listener("header_timeout", "9", &[]),
        set("name", "\"home\""),
        set("cidrs", "[\"192.0.2.0/24\"]"),
        set("file", &list),
    ];
    all.extend(of_api(site));
    all.extend(of_log(site));
    all.extend(of_agent(site));
    let fixed = |key, value: &str, sentence: &str| {
        change(key, value, &[], Seen::Refused(sentence.to_owned()))
    };
    all.extend([
        change(
            ("interface", "name"),
            "\"lo\"",
            &[],
            Seen::in_status(site.scratch.path("api.sock"), "/interfaces/0/name", "lo".into()),
        ),
        change(
            ("interface", "xdp"),
            "\"auto\"",
            &[],
            Seen::in_status(
                site.scratch.path("api.sock"),
                "/interfaces/0/xdp/wanted",
                "auto".into(),
            ),
        ),
        change(
            ("interface", "netns"),
            &format!("{:?}", Pod::path(site, 1)),
            &[],
            Seen::in_status(
                site.scratch.path("api.sock"),
                "/interfaces/0/netns",
                Pod::path(site, 1).into(),
            ),
        ),
        fixed(("interface", "netns"), "\"/run/netns/x\"", "/run/netns/x cannot be opened"),
        fixed(("agent", "pin_path"), "\"/sys/fs/bpf/x\"", "agent.pin_path has changed from "),
        fixed(("agent", "max_flows"), "2048", "agent.max_flows has changed from "),
        fixed(
            ("agent", "max_translated"),
            "4096",
            "agent.max_translated has changed from 262144 to 4096",
        ),
        fixed(("agent", "max_listeners"), "64", "agent.max_listeners has changed from 256 to 64"),
    ]);
    all
}

fn of_api(site: &Site) -> Vec<Change<'_>> {
    let path = |name: &str| site.scratch.path(name);
    let (api, lookup) = (path("api.sock"), path("lookup.sock"));
    let (other, lines) = (path("other.sock"), path("lines.sock"));
    let change = |key, value: String, seen| {
        let key = ("api", key);
        Change { key, file: [(key, value)].into_iter().collect(), seen }
    };
    let pin = site.scratch.pin_path().join("links/getsockopt");
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let moved = |to: &Path, from: PathBuf| {
        let to = to.to_owned();
        Seen::when(move || to.exists() && !from.exists())
    };
    let mode_of = |path: PathBuf| Seen::when(move || mode(&path) == 0o600);
    let group_of = |path: PathBuf| Seen::when(move || group(&path) == GROUP);
    let server = &site.net.server;
    let answers = move |host: &'static str| {
        Seen::when(move || server.enter(|| TcpStream::connect((host, 9811))).is_ok())
    };
    let mut remote = change("http_remote", "true".into(), answers(address::SERVER));
    remote.file.insert(("api", "http"), "\"0.0.0.0:9811\"".into());
    vec![
        change("socket", quoted(&other), moved(&other, api.clone())),
        change("socket_mode", "\"0600\"".into(), mode_of(api.clone())),
        change("socket_group", format!("\"{GROUP}\""), group_of(api)),
        change("lookup_socket", quoted(&lines), moved(&lines, lookup.clone())),
        change("lookup_socket_mode", "\"0600\"".into(), mode_of(lookup.clone())),
        change("lookup_socket_group", format!("\"{GROUP}\""), group_of(lookup)),
        change("http", "\"127.0.0.1:9811\"".into(), answers("127.0.0.1")),
        change("getsockopt", "true".into(), Seen::when(move || pin.exists())),
        remote,
    ]
}

fn of_log(site: &Site) -> Vec<Change<'_>> {
    let (file, socket) = (site.scratch.path("flows.log"), site.scratch.path("api.sock"));
    let change = |key, value: String, seen| {
        let key = ("log", key);
        Change { key, file: [(key, value)].into_iter().collect(), seen }
    };
    let quoted = format!("{:?}", file.display().to_string());
    let to_journal = if Path::new(JOURNAL).exists() {
        Seen::in_status(socket.clone(), "/settings/log/to", "journald".into())
    } else {
        Seen::Refused(format!("log.to: the systemd journal, {JOURNAL}, cannot be written to"))
    };
    vec![
        change(
            "flows",
            "\"vpc\"".into(),
            Seen::in_status(socket, "/settings/log/flows", "vpc".into()),
        ),
        change("path", quoted, Seen::when(move || file.exists())),
        change("to", "\"journald\"".into(), to_journal),
    ]
}

fn of_agent(site: &Site) -> Vec<Change<'_>> {
    let (socket, pin_path) = (site.scratch.path("api.sock"), site.scratch.pin_path());
    let change = |key, value: &str, seen| {
        let key = ("agent", key);
        Change { key, file: [(key, value.to_owned())].into_iter().collect(), seen }
    };
    let before = dump(&pin_path, "NAMESPACES");
    vec![
        change(
            "max_tlv_memory",
            "3",
            Seen::in_status(socket.clone(), "/settings/agent/max_tlv_memory_mib", 3.into()),
        ),
        change(
            "procfs_path",
            &format!("{PROCFS:?}"),
            Seen::in_status(socket.clone(), "/settings/agent/procfs_path", PROCFS.into()),
        ),
        change(
            "netns_path",
            "\"/tmp\"",
            Seen::in_status(socket, "/settings/agent/netns_path", "/tmp".into()),
        ),
        change(
            "handshake_timeout",
            "321",
            Seen::when(move || dump(&pin_path, "NAMESPACES") != before),
        ),
    ]
}

/// Lets the agent read this file; returns what it says.
fn reload(agent: &mut Agent, file: &File) -> String {
    fs::write(agent.config(), text(file)).expect("written");
    agent.hang_up()
}

fn is_taken(said: &str) -> bool {
    said.contains("the configuration is in force as it is now")
}

/// Changes one key, and back.
fn one(site: &Site, agent: &mut Agent, change: &Change<'_>) {
    let Change { key, file, seen } = change;
    let (base, before) = (base(site), maps(site));
    let mut changed = base.clone();
    changed.extend(file.clone());
    let said = reload(agent, &changed);
    match seen {
        Seen::Refused(sentence) => {
            assert!(!is_taken(&said) && said.contains(sentence), "{key:?}: {said}");
            assert_eq!(maps(site), before, "{key:?}");
        }
        Seen::InMaps => {
            assert!(is_taken(&said), "{key:?}: {said}");
            assert_ne!(maps(site), before, "{key:?}");
        }
        Seen::Holds(holds) => {
            assert!(is_taken(&said), "{key:?}: {said}");
            eventually(&format!("a change of {key:?} shows"), || holds().then_some(()));
            assert_eq!(maps(site), before, "{key:?}");
        }
    }
    let said = reload(agent, &base);
    assert!(is_taken(&said), "{key:?}: {said}");
}

#[test]
fn each_key_alone_and_all_keys_at_once() {
    let site = Site::without_captures();
    let _pod = Pod::start(&site, 1);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let base = base(&site);
    assert!(is_taken(&reload(&mut agent, &base)));
    let unchanged = maps(&site);
    assert!(is_taken(&reload(&mut agent, &base)));
    assert_eq!(maps(&site), unchanged, "otherwise a change would not show");

    let changes = changes(&site);
    for section in SECTIONS {
        for key in section.keys {
            let place = (section.name, key.name());
            let mut of_key = changes.iter().filter(|change| change.key == place).peekable();
            assert!(of_key.peek().is_some(), "{place:?} has no change");
            of_key.for_each(|change| one(&site, &mut agent, change));
        }
    }

    // All at once; with one that is refused, nothing changes.
    let mut all = base.clone();
    let taken = |change: &&Change| !matches!(change.seen, Seen::Refused(_));
    for change in changes.iter().filter(taken) {
        all.extend(change.file.clone());
    }
    // Without `path`.
    all.remove(&("log", "to"));
    let (before, other) = (maps(&site), site.scratch.path("other.sock"));
    let mut refused = all.clone();
    refused.insert(("agent", "max_flows"), "2048".into());
    refused.insert(("agent", "max_translated"), "4096".into());
    let said = reload(&mut agent, &refused);
    assert!(!is_taken(&said), "{said}");
    assert!(said.contains("agent.max_flows") && said.contains("agent.max_translated"), "{said}");
    assert_eq!(maps(&site), before);
    assert!(!other.exists() && agent.status().last_reload.error.is_some());
    let said = reload(&mut agent, &all);
    assert!(is_taken(&said), "{said}");
    assert_ne!(maps(&site), before);
    let status = Api::connect(&other).get("/v1/status");
    let expected = serde_json::json!({
        "api": {
            "socket": other, "lookup_socket": site.scratch.path("lines.sock"), "http": "0.0.0.0:9811",
            "http_remote": true, "getsockopt": true,
        },
        "log": {"flows": "vpc", "to": site.scratch.path("flows.log")},
        "agent": {
            "pin_path": site.scratch.pin_path(), "procfs_path": PROCFS, "netns_path": "/tmp", "max_tlv_memory_mib": 3, "handshake_timeout_s": 321,
        },
    });
    assert_eq!(status["settings"], expected);
    assert_eq!(status["listeners"][0]["name"], "other");
    assert_eq!(status["interfaces"][0]["netns"], Pod::path(&site, 1));
    assert_eq!((mode(&other), group(&other)), (0o600, GROUP));
    assert!(is_taken(&reload(&mut agent, &base)));
    site.finish(&mut agent, &[]);
}
