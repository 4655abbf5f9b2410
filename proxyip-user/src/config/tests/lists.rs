//! Lists of networks in the configuration itself, and named sets.

use std::fmt::Write;

use ipnet::IpNet;

use super::{LEAST, problems};
use crate::config::*;

pub(crate) fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| network(text).unwrap()).collect()
}

pub(crate) fn first(text: &str) -> Listener {
    Config::from_toml(text).unwrap().listeners.remove(0)
}

/// A listener with `lines` and no `trusted`.
pub(crate) fn untrusting(lines: &str) -> String {
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
    assert_eq!(problems(&many(257)), ["4: set: more than 256 are not supported"]);
}
