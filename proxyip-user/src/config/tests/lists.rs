//! Lists of networks, in the configuration and in files, and named sets.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{LEAST, problems};
use crate::config::network_file::parse;
use crate::config::*;

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

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| network(text).unwrap()).collect()
}

fn first(text: &str) -> Listener {
    Config::from_toml(text).unwrap().listeners.remove(0)
}

/// A listener with `lines` and no `trusted`.
fn untrusting(lines: &str) -> String {
    format!("[[listener]]\nports = [443]\n{lines}\n")
}

#[test]
fn a_list_may_be_one_string() {
    let expected = networks(&["203.0.113.0/24", "198.51.100.7/32"]);
    for value in [
        "['203.0.113.0/24', '198.51.100.7/32']",
        "'203.0.113.0/24,198.51.100.7/32'",
        "'  203.0.113.0/24 ,  198.51.100.7/32 '",
        "'203.0.113.0/24,198.51.100.7/32,203.0.113.0/24'",
        "'''\n203.0.113.0/24,\n198.51.100.7/32'''",
    ] {
        assert_eq!(first(&untrusting(&format!("trusted = {value}"))).trusted.written, expected);
        assert_eq!(first(&format!("{LEAST}allow = {value}")).allow.written, expected);
        assert_eq!(first(&format!("{LEAST}deny = {value}")).deny.written, expected);
        let sets = format!("{LEAST}[[set]]\nname = 'a'\ncidrs = {value}");
        let set = &Config::from_toml(&sets).unwrap().sets[0];
        assert_eq!(set.networks, expected.clone().into());
    }
}

#[test]
fn an_empty_list_is_none() {
    let listener = first(&format!("{LEAST}allow = []\ndeny = []\n"));
    assert!(!listener.allow.is_given() && !listener.deny.is_given());
    assert_eq!(listener, first(LEAST));
}

#[test]
fn each_mistake_in_a_list() {
    for (value, expected) in [
        ("''", "must name at least one network"),
        ("' '", "must name at least one network"),
        ("'10.0.0.0/8,'", "\"\" is not a network"),
        ("'10.0.0.0/8 10.1.0.0/16'", "\"10.0.0.0/8 10.1.0.0/16\" is not a network"),
        ("'10.0.0.0/8, 10.0.0.1'", "\"10.0.0.1\" is an address; write \"10.0.0.1/32\" to mean"),
        ("'10.0.0.0/8, 10.0.0.1/16'", "\"10.0.0.1/16\" has bits set behind its prefix"),
        ("['10.0.0.0/8, 11.0.0.0/8']", "\"10.0.0.0/8, 11.0.0.0/8\" has a comma in it; give each"),
        ("['10.0.0.0/8', ' 11.0.0.0/8']", "\" 11.0.0.0/8\" is not a network"),
        ("['10.0.0.0/8', 1]", "must be networks such as \"10.0.0.0/16\", not an integer"),
        (
            "1",
            "must be a list of networks, or one string of them with commas between, not an integer",
        ),
    ] {
        for (key, text) in [
            ("listener.trusted", untrusting(&format!("trusted = {value}"))),
            (
                "listener.allow",
                format!("[[listener]]\nports = [1]\nallow = {value}\ntrusted = '::/8'"),
            ),
            (
                "listener.deny",
                format!("[[listener]]\nports = [1]\ndeny = {value}\ntrusted = '::/8'"),
            ),
            ("set.cidrs", format!("[[set]]\nname = 'a'\ncidrs = {value}\n{LEAST}")),
        ] {
            let seen = problems(&text);
            assert_eq!(seen.len(), 1, "{text}: {seen:#?}");
            assert!(seen[0].starts_with(&format!("3: {key}: {expected}")), "{text}: {seen:#?}");
        }
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
    let file = NetworkFile { path, networks: expected.clone() };
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

#[test]
fn each_mistake_in_a_set() {
    let not_a_name =
        "is not a set's name, which has 1 to 32 of the characters A-Z, a-z, 0-9, _ and -";
    let long = "a".repeat(33);
    let set = "name = 'a'\ncidrs = '::/8'";
    for (lines, expected) in [
        ("cidrs = '::/8'".into(), "1: set.name: missing; it has no default".into()),
        ("name = ''\ncidrs = '::/8'".into(), format!("2: set.name: \"\" {not_a_name}")),
        ("name = 'a/b'\ncidrs = '::/8'".into(), format!("2: set.name: \"a/b\" {not_a_name}")),
        (
            format!("name = '{long}'\ncidrs = '::/8'"),
            format!("2: set.name: \"{long}\" {not_a_name}"),
        ),
        ("name = 'a'".into(), "1: set.cidrs: missing; write it or file".into()),
        ("name = 'a'\ncidrs = []".into(), "3: set.cidrs: must name at least one network".into()),
        (
            format!("{set}\n[[set]]\n{set}"),
            "5: set.name: another set is named \"a\"; names must differ".into(),
        ),
        (format!("{set}\nx = 1"), "4: set.x: no such key; there are name, cidrs, file".into()),
    ] {
        assert_eq!(problems(&format!("[[set]]\n{lines}\n{LEAST}")), [expected]);
    }
    let many = |count| {
        (0..count).fold(String::from(LEAST), |mut text, number| {
            write!(text, "[[set]]\nname = 's{number}'\ncidrs = '::/8'\n").unwrap();
            text
        })
    };
    assert_eq!(Config::from_toml(&many(256)).unwrap().sets.len(), 256);
    assert_eq!(problems(&many(257)), ["1: set: more than 256 are not supported"]);
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
