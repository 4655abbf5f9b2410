//! The configuration file of a policy.

use std::fmt::Write;

use proxyip_tests::Scratch;

use super::files::{Place, SET, path};
use super::policy::{List, Nobody, Policy, Treatment};

/// The file; `more` are further lines of `[agent]`, the last table.
pub(super) fn toml(scratch: &Scratch, policy: &Policy, more: &str) -> String {
    let mut text = "[[interface]]\nname = \"eth0\"\n".to_owned();
    for one in &policy.listeners {
        let (ports, versions): (Vec<_>, _) = (one.ports.iter().collect(), &one.versions);
        let untrusted = treatment("bypass", one.untrusted);
        let denied = treatment("mark", one.denied);
        let (unknown, headerless) = (nobody(one.unknown), nobody(one.headerless));
        let hand_off = one.hand_off;
        write!(
            text,
            "[[listener]]\nname = {:?}\nports = {ports:?}\nuntrusted = {untrusted:?}\ndenied = {denied:?}\n\
             unknown = {unknown:?}\nheaderless = {headerless:?}\nversions = {versions:?}\nhand_off = {hand_off:?}\n",
            one.name
        )
        .expect("a String grows");
        if one.denied == Treatment::Pass {
            writeln!(text, "mark = {}", one.mark).expect("a String grows");
        }
        for (kind, list) in [("trusted", &one.trusted), ("allow", &one.allow), ("deny", &one.deny)]
        {
            add(&mut text, scratch, [kind, &format!("{kind}_file")], ((one.name, kind), list));
        }
    }
    for (name, list) in &policy.sets {
        writeln!(text, "[[set]]\nname = {name:?}").expect("a String grows");
        add(&mut text, scratch, ["cidrs", "file"], ((name, SET), list));
    }
    let [socket, pin_path] =
        [scratch.path("api.sock"), scratch.pin_path()].map(|path| path.display().to_string());
    let rest = format!(
        "[api]\nsocket = {socket:?}\n[log]\nflows = \"off\"\n[agent]\npin_path = {pin_path:?}\n{more}\n"
    );
    text + &rest
}

fn add(
    text: &mut String,
    scratch: &Scratch,
    [key, file_key]: [&str; 2],
    (place, list): (Place, &List),
) {
    if !list.written.is_empty() {
        let networks: Vec<_> = list.written.iter().map(ToString::to_string).collect();
        writeln!(text, "{key} = {networks:?}").expect("a String grows");
    }
    if list.file.is_some() {
        let path = path(scratch, place).display().to_string();
        writeln!(text, "{file_key} = {path:?}").expect("a String grows");
    }
}

const fn treatment(pass: &str, treatment: Treatment) -> &str {
    match treatment {
        Treatment::Pass => pass,
        Treatment::Reset => "reset",
        Treatment::Drop => "drop",
    }
}

const fn nobody(nobody: Nobody) -> &'static str {
    match nobody {
        Nobody::Accept => "accept",
        Nobody::Reset => "reset",
        Nobody::Local => "local",
    }
}
