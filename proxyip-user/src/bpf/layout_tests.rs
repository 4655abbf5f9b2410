//! What the pinned maps hold, written down for each layout.
//!
//! `layouts/N.txt` lists each map's definition, each field of its keys and values, and what numbers in them mean. A change
//! of any of these needs another number, so that no agent reads another version's maps as its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use aya_obj::Object;
use proxyip_common::counter::{Counter, DropReason, Obstacle};

use super::btf::Btf;
use super::loader::PINNED;
use super::object;
use super::pins::LAYOUT;
use super::takeover::types::of_object;

/// Where the numbers in maps get their meaning.
const SOURCES: [&str; 10] = [
    "counter/per_listener.rs",
    "cookie.rs",
    "event.rs",
    "flow.rs",
    "latency.rs",
    "nat.rs",
    "neighbour.rs",
    "partial.rs",
    "policy.rs",
    "settings.rs",
];

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file() -> PathBuf {
    manifest().join(format!("layouts/{LAYOUT}.txt"))
}

fn describe() -> String {
    let object = object::object(None).expect("the kernel object");
    let object = Object::parse(&object).expect("the kernel object");
    let types = object.btf.as_ref().expect("BTF").to_bytes();
    let types = Btf::parse(&types).expect("BTF");
    let mut text = String::new();
    for name in PINNED {
        let map = &object.maps[*name];
        writeln!(
            text,
            "{name}: type {}, {} + {} bytes, {} entries, flags {:#x}",
            map.map_type(),
            map.key_size(),
            map.value_size(),
            map.max_entries(),
            map.map_flags()
        )
        .unwrap();
        let fields = of_object(&types, name).expect("the map's types");
        for (part, fields) in [("key", fields.key), ("value", fields.value)] {
            for field in fields {
                writeln!(text, "  {part} {field}").unwrap();
            }
        }
    }
    for (list, labels) in [
        ("Counter", Counter::ALL.iter().map(|one| one.label()).collect::<Vec<_>>()),
        ("DropReason", DropReason::ALL.iter().map(|one| one.label()).collect()),
        ("Obstacle", Obstacle::ALL.iter().map(|one| one.label()).collect()),
    ] {
        writeln!(text, "{list}: {}", labels.join(" ")).unwrap();
    }
    for source in SOURCES {
        writeln!(text, "{source}:").unwrap();
        let path = manifest().join("../proxyip-common/src").join(source);
        let code = fs::read_to_string(&path).expect("a source of proxyip-common");
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        code.lines().map(str::trim).filter(|line| has_meaning(line)).for_each(|line| {
            writeln!(text, "  {line}").unwrap();
        });
    }
    text
}

/// Whether a line of source says what a number in a map means, or where a field is.
fn has_meaning(line: &str) -> bool {
    let item = line.strip_prefix("pub ").unwrap_or(line);
    let is_named = |rest: &str| rest.starts_with(|first: char| first.is_ascii_uppercase());
    let is_constant = item.strip_prefix("const ").is_some_and(is_named);
    let is_type = ["struct ", "enum "].iter().any(|kind| item.starts_with(kind));
    let is_variant = is_named(item)
        && item.split_once(" = ").is_some_and(|(_, rest)| rest.starts_with(char::is_numeric));
    let is_field = line.starts_with("pub ") && line.ends_with(',') && line.contains(": ");
    is_constant || is_type || is_variant || is_field
}

/// The lines that only one of two texts has.
fn difference(before: &str, now: &str) -> String {
    let count = |text: &str| {
        let mut lines = BTreeMap::<String, i32>::new();
        text.lines().for_each(|line| *lines.entry(line.into()).or_default() += 1);
        lines
    };
    let (before, now) = (count(before), count(now));
    let only = |one: &BTreeMap<String, i32>, other: &BTreeMap<String, i32>, sign| {
        let lines = one.iter().filter(|(line, count)| other.get(*line) != Some(count));
        lines.map(|(line, _)| format!("{sign}{line}")).collect::<Vec<_>>().join("\n")
    };
    only(&before, &now, '-') + "\n" + &only(&now, &before, '+')
}

/// With `PROXYIP_WRITE_LAYOUT` in the environment it writes the file of a layout that has none.
#[test]
fn a_change_of_what_maps_hold_has_another_layout() {
    let (file, now) = (file(), describe());
    if std::env::var_os("PROXYIP_WRITE_LAYOUT").is_some() && !file.exists() {
        fs::write(&file, &now).expect("cannot write the layout's file");
    }
    let before = fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!(
            "{}: {error}: PROXYIP_WRITE_LAYOUT=1 cargo test -p proxyip-user a_change_of_what_maps_hold writes it",
            file.display()
        )
    });
    assert!(
        before == now,
        "what the pinned maps hold has changed:\n{}\nRaise LAYOUT in proxyip-user/src/bpf/pins.rs, or an agent reads maps of \
         another version as its own. Then PROXYIP_WRITE_LAYOUT=1 cargo test -p proxyip-user a_change_of_what_maps_hold \
         writes layouts/N.txt. If the layout of {} has never been in a release, remove that file instead of raising LAYOUT",
        difference(&before, &now),
        file.display()
    );
}

/// Sockets keep their records, and the kernel knows no types of a ring buffer. Whoever changes one of them gives the map
/// another name.
#[test]
fn what_cannot_be_copied_is_the_same_in_every_layout() {
    let now = describe();
    for entry in fs::read_dir(manifest().join("layouts")).expect("the layouts") {
        let path = entry.expect("a file").path();
        let layout = fs::read_to_string(&path).expect("a layout");
        for map in ["SOCKETS", "EVENTS"] {
            let here = section(&now, map);
            assert!(here.lines().count() > 5, "{here}");
            assert_eq!(section(&layout, map), here, "{map} in {}", path.display());
        }
    }
}

/// What a text says of a map; empty if that does not have it.
fn section(text: &str, map: &str) -> String {
    let head = format!("{map}: ");
    let mut lines = text.lines().skip_while(|line| !line.starts_with(&head));
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| line.starts_with("  "));
    std::iter::once(first).chain(rest).collect::<Vec<_>>().join("\n")
}

#[test]
fn lines_with_a_meaning_are_found() {
    for line in [
        "pub const CLOSED: u8 = 2;",
        "const OWNER_AT: u32 = 32;",
        "Accept = 1, \"accept\"",
        "Reset = 0,",
        "pub seen_ns: u64,",
        "pub struct FlowKey {",
        "pub struct Name(pub [u8; Name::MAX]);",
    ] {
        assert!(has_meaning(line), "{line}");
    }
    for line in ["/// const A: u8 = 1;", "pub const fn new() -> Self {", "let a = 1;", "a == 1,"] {
        assert!(!has_meaning(line), "{line}");
    }
}

#[test]
fn a_type_that_grows_or_a_counter_in_the_middle_is_noticed() {
    let now = describe();
    for (before, changed) in [
        ("value 8 isn u32", "value 8 isn u64"),
        ("Counter: bypassed ", "Counter: new bypassed "),
        ("pub const CLOSED: u8 = 2;", "pub const CLOSED: u8 = 4;"),
        ("PORTS: type 2, 4 + 2 bytes", "PORTS: type 2, 4 + 4 bytes"),
    ] {
        assert!(now.contains(before), "{before} is not in\n{now}");
        let difference = difference(&now.replace(before, changed), &now);
        assert!(difference.contains(before), "{difference}");
    }
}
