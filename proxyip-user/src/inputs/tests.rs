//! Files of networks, and groups.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::network_file::parse;
use super::read_networks;
use crate::config::tests::lists::{first, networks, untrusting};
use crate::config::tests::{LEAST, problems};
use crate::config::{Config, ConfigError, Fault, NetworkFile, Networks, Spec};

/// A directory for files of networks.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn add(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }
}

#[test]
fn a_file_is_read_with_comments_and_any_separators() {
    let files = Files::new();
    let content = "\u{feff}# ours\r\n\r\n10.0.0.0/8, 192.0.2.0/24\t2001:db8::/32 # three\r\n\
        10.0.0.0/8,,\n   # none\n198.51.100.0/24,";
    let path = files.add("a", content);
    let expected = networks(&["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24"]);
    assert_eq!(read_networks(&path), Ok(expected.clone()));

    let written = networks(&["203.0.113.0/24", "10.0.0.0/8"]);
    let listener = first(&format!(
        "{LEAST}allow = '203.0.113.0/24, 10.0.0.0/8'\nallow_file = '{}'\n",
        path.display()
    ));
    let file = NetworkFile { path, networks: expected.clone().into() };
    assert_eq!(listener.allow, Networks { written: written.clone(), file: Some(file) });
    assert!(listener.allow.iter().eq(written.iter().chain(&expected)));

    let latin_1 = files.add("latin-1", b"10.0.0.0/8 # B\xfcro\n");
    assert_eq!(read_networks(&latin_1), Ok(networks(&["10.0.0.0/8"])));
}

#[test]
fn every_list_has_a_file() {
    let files = Files::new();
    let path = |name, content| files.add(name, content).display().to_string();
    let config = Config::from_toml(&format!(
        "[[listener]]\nports = [1]\ntrusted = []\ntrusted_file = '{}'\nallow_file = '{}'\n\
         deny_file = '{}'\n[[set]]\nname = 'a'\nfile = '{}'\n",
        path("trusted", "10.0.0.0/8"),
        path("allow", "# nobody"),
        path("deny", "192.0.2.0/24"),
        path("set", "2001:db8::/32"),
    ))
    .unwrap();
    let listener = &config.listeners[0];
    assert!(listener.trusted.iter().eq(&networks(&["10.0.0.0/8"])));
    assert!(listener.allow.is_given() && listener.allow.iter().next().is_none());
    assert!(listener.deny.iter().eq(&networks(&["192.0.2.0/24"])));
    assert!(config.sets[0].networks.iter().eq(&networks(&["2001:db8::/32"])));
    let names = ["trusted", "allow", "deny", "set"].map(|name| files.path(name));
    assert!(config.files().eq(names.iter()));
    assert_eq!(Config::from_toml(LEAST).unwrap().files().count(), 0);
}

#[test]
fn each_mistake_in_a_file_has_its_place() {
    let files = Files::new();
    let path = files.add("a", "10.0.0.0/8\nx # y\n\n10.0.0.1, ok?\n");
    let at = path.display();
    assert_eq!(
        problems(&format!("{LEAST}deny_file = '{at}'\n")),
        [
            format!(
                "4: listener.deny_file: {at}:2: \"x\" is not a network, such as \"10.0.0.0/16\" or \
                 \"fd00::/8\""
            ),
            format!(
                "4: listener.deny_file: {at}:4: \"10.0.0.1\" is an address; write \"10.0.0.1/32\" to mean \
                 that one alone"
            ),
            format!(
                "4: listener.deny_file: {at}:4: \"ok?\" is not a network, such as \"10.0.0.0/16\" or \
                 \"fd00::/8\""
            ),
        ]
    );
    let error = read_networks(&path).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 3);
    assert!(error.lines().all(|line| line.starts_with(&format!("{at}:"))), "{error}");

    let path = files.add("many", "x\n".repeat(100));
    let error = read_networks(&path).unwrap_err();
    assert_eq!(error.0.len(), 6);
    assert_eq!(error.0[5].to_string(), format!("{}: and 95 more like these", path.display()));

    let path = files.add("long", "é".repeat(1 << 20));
    let error = read_networks(&path).unwrap_err().to_string();
    let item = "é".repeat(64) + "…";
    assert!(error.starts_with(&format!("{}:1: {item:?} is not", path.display())), "{error}");
}

#[test]
fn what_is_no_file_of_networks() {
    let files = Files::new();
    let fifo = files.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let large = files.add("large", "");
    fs::File::options().write(true).open(&large).unwrap().set_len((64 << 20) + 1).unwrap();
    for (path, expected) in [
        (files.path("absent"), "cannot be read: No such file or directory (os error 2)"),
        (files.path(""), "cannot be read: not a regular file"),
        (fifo, "cannot be read: not a regular file"),
        (PathBuf::from("/dev/zero"), "cannot be read: not a regular file"),
        (large, "must have at most 64 MiB"),
    ] {
        let at = path.display();
        let text = format!("[[set]]\nname = 'a'\nfile = '{at}'\n{LEAST}");
        assert_eq!(problems(&text), [format!("3: set.file: {at}: {expected}")]);
    }
    for key in ["trusted_file", "allow_file", "deny_file"] {
        let seen = problems(&format!("{LEAST}{key} = 'a.txt'\n"));
        assert_eq!(seen, [format!("4: listener.{key}: \"a.txt\" is not an absolute path")]);
    }
}

#[test]
fn someone_must_be_trusted() {
    let files = Files::new();
    let empty = files.add("empty", "");
    let at = empty.display();
    let nobody = |line| {
        vec![format!(
            "{line}: listener.trusted_file: {at} names no network, so nobody would be trusted"
        )]
    };
    for (lines, expected) in [
        (String::new(), vec!["1: listener.trusted: missing; write it or trusted_file".into()]),
        ("trusted = []".into(), vec!["3: listener.trusted: must name at least one network".into()]),
        (format!("trusted_file = '{at}'"), nobody(3)),
        (format!("trusted = []\ntrusted_file = '{at}'"), nobody(4)),
    ] {
        assert_eq!(problems(&untrusting(&lines)), expected);
    }
    let both = untrusting(&format!("trusted = ['10.0.0.0/8']\ntrusted_file = '{at}'"));
    assert!(first(&both).trusted.iter().eq(&networks(&["10.0.0.0/8"])));
}

#[test]
fn a_network_is_not_both_allowed_and_denied() {
    let files = Files::new();
    let path = files.add("deny", "192.0.2.0/24\n10.0.0.0/8\n198.51.100.0/25\n");
    let text = format!(
        "{LEAST}allow = '10.0.0.0/8, 198.51.100.0/24, 192.0.2.0/24'\ndeny = '10.0.0.0/8'\n\
         deny_file = '{}'\n",
        path.display()
    );
    let rest = "is allowed too; remove it from one of the lists";
    assert_eq!(
        problems(&text),
        [
            format!("5: listener.deny: 10.0.0.0/8 {rest}"),
            format!("6: listener.deny_file: 192.0.2.0/24 {rest}")
        ]
    );

    let many: Vec<_> = (0..12).map(|byte| format!("10.{byte}.0.0/16")).collect();
    let many = many.join(",");
    let seen = problems(&format!("{LEAST}allow = '{many}'\ndeny = '{many}'\n"));
    assert_eq!(seen.len(), 6, "{seen:#?}");
    assert_eq!(seen[5], "5: listener.deny: and 7 more like these");
}

/// `count` different networks, a line each.
fn lines(count: u32) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        writeln!(text, "{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + number)).unwrap();
        text
    })
}

#[test]
fn long_lists_are_read_quickly() {
    let files = Files::new();
    let long = lines(100_000);
    let path = files.add("long", &long);
    let written = long.trim().replace('\n', ",");
    let begun = Instant::now();
    let listener =
        first(&format!("{LEAST}allow = '{written}'\ntrusted_file = '{}'", path.display()));
    assert_eq!(listener.allow.written.len(), 100_000);
    assert_eq!(listener.trusted.iter().count(), 100_001);
    // Without optimization it takes some tenths of a second.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    let wrong = long.trim().replace("/32", "").replace('\n', "',\n'");
    let begun = Instant::now();
    assert_eq!(problems(&format!("{LEAST}deny = ['{wrong}']\n")).len(), 100_000);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_file_has_so_many_networks_at_most() {
    let most = "10.0.0.0/32 10.0.0.1/32\n10.0.0.2/32 10.0.0.0/32\n";
    assert_eq!(parse(most, 3).unwrap().len(), 3, "one is there twice");
    let more = format!("{most} 10.0.0.3/32 x\n");
    assert_eq!(parse(&more, 3), Err(vec![(None, Fault::TooManyNetworks(3))]));

    let files = Files::new();
    let path = files.add("more", lines(1_000_001));
    let expected = format!("{}: must have at most 1000000 networks", path.display());
    assert_eq!(read_networks(&path).unwrap_err().to_string(), expected);
}

/// What is wrong with a file of this text.
fn error(files: &Files, text: &str) -> ConfigError {
    Config::from_file(&files.add("proxyip.toml", text)).unwrap_err()
}

#[test]
fn a_wrong_text_is_told_from_a_host_that_is_not_as_it_says() {
    let files = Files::new();
    let absent = files.path("absent");
    let of_host =
        format!("{LEAST}allow_file = '{}'\n[api]\nsocket_group = 'no such'\n", absent.display());
    assert!(Spec::from_toml(&of_host).is_ok(), "the text is right");
    let ConfigError::Host { problems, .. } = error(&files, &of_host) else {
        panic!("not of the host")
    };
    let lines: Vec<_> =
        problems.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
    assert_eq!(lines, [(4, "listener.allow_file"), (6, "api.socket_group")]);

    let both = format!("{of_host}[agent]\nmax_flows = 1\n");
    let ConfigError::Wrong { problems, .. } = error(&files, &both) else {
        panic!("not of the text")
    };
    assert_eq!(problems.len(), 3, "everything is said at once: {problems:?}");
    let not_toml = format!("{of_host}x\n");
    assert!(
        matches!(error(&files, &not_toml), ConfigError::Wrong { problems, .. } if problems.len() == 1)
    );
    let unreadable = Config::from_file(Path::new("/nonexistent/proxyip.toml"));
    assert!(matches!(unreadable, Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_text_is_read_without_its_files() {
    let text = "[[listener]]\nports = [1]\ntrusted_file = '/nonexistent/list'\n";
    let spec = Spec::from_toml(text).unwrap();
    let file = spec.listeners[0].trusted.file.as_ref().unwrap();
    assert_eq!(file.value, Path::new("/nonexistent/list"));
    assert_eq!((file.place.line, file.place.key), (3, "trusted_file"));
}

#[test]
fn a_group_is_a_number_or_in_the_group_database() {
    for (group, expected) in [("'0'", 0), ("'root'", 0), ("'12345'", 12345)] {
        let config = Config::from_toml(&format!("{LEAST}[api]\nsocket_group = {group}\n")).unwrap();
        assert_eq!(config.api.socket_access.group.map(nix::unistd::Gid::as_raw), Some(expected));
    }
    for group in ["no such", "4294967295", ""] {
        let seen = problems(&format!("{LEAST}[api]\nsocket_group = '{group}'\n"));
        assert_eq!(seen, [format!("5: api.socket_group: there is no group {group:?}")]);
    }
}

#[test]
fn files_that_have_not_changed_are_neither_read_nor_copied() {
    let files = Files::new();
    let (a, b) = (files.add("a", "10.0.0.0/8"), files.add("b", "192.0.2.0/24"));
    let config = Config::from_toml(&format!(
        "[[listener]]\nports = [1]\ntrusted_file = '{}'\nallow_file = '{}'\n[[set]]\nname = 's'\nfile = '{}'\n",
        a.display(),
        b.display(),
        b.display()
    ))
    .unwrap();
    files.add("a", "not a network");
    files.add("b", "198.51.100.0/24 203.0.113.0/24");
    let again = config.with_files_read_again(std::slice::from_ref(&b));
    assert!(again.wrong.is_empty());
    let again = again.config;
    let trusted = |config: &Config| config.listeners[0].trusted.file.clone().unwrap().networks;
    assert!(std::sync::Arc::ptr_eq(&trusted(&config), &trusted(&again)));
    let new = networks(&["198.51.100.0/24", "203.0.113.0/24"]);
    assert!(again.listeners[0].allow.iter().eq(&new));
    assert!(again.sets[0].networks.iter().eq(&new));
    let again = config.with_files_read_again(std::slice::from_ref(&a));
    assert_eq!((again.wrong, again.config), (vec![a], config));
}
