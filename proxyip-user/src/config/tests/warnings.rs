//! Warnings of what is allowed.

use proxyip_api::finding::Finding;

use super::{GOOD, LEAST};
use crate::config::Config;

#[test]
fn trusting_everyone_is_warned_of() {
    let text = LEAST.replace("'10.0.0.0/8'", "'0.0.0.0/0', '10.0.0.0/8', '::/0'");
    let warnings = Config::from_toml(&text).unwrap().warnings();
    assert_eq!(warnings.len(), 2);
    assert!(
        warnings[0].sentence.contains("0.0.0.0/0") && warnings[1].sentence.contains("::/0"),
        "{warnings:?}"
    );
    for (networks, expected) in [
        ("'0.0.0.0/1', '128.0.0.0/1'", &["0.0.0.0/0"][..]),
        ("'128.0.0.0/2', '0.0.0.0/1', '10.0.0.0/8', '192.0.0.0/2'", &["0.0.0.0/0"]),
        ("'::/1', '8000::/1'", &["::/0"]),
        ("'0.0.0.0/1', '8000::/1'", &[]),
        ("'0.0.0.0/1', '128.0.0.0/2'", &[]),
    ] {
        let config = Config::from_toml(&LEAST.replace("'10.0.0.0/8'", networks)).unwrap();
        let warnings = config.warnings();
        assert_eq!(warnings.len(), expected.len(), "{networks}: {warnings:?}");
        let told = |(warning, network): (&Finding, _)| {
            warning.label == "trusts_everyone"
                && warning.sentence.contains(&format!("trusts {network}"))
        };
        assert!(warnings.iter().zip(expected).all(told), "{networks}: {warnings:?}");
    }
    // It has lists, and a hand-off that is not always available.
    let warnings = Config::from_toml(GOOD).unwrap().warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].sentence.contains("\"auto\" translates them"), "{warnings:?}");
}

#[test]
fn lists_that_sources_can_bypass_are_warned_of() {
    for (lines, warned) in [
        ("", false),
        ("allow = []", false),
        ("denied = 'mark'", false),
        ("allow = ['192.0.2.0/24']", true),
        ("deny = ['192.0.2.0/24']", true),
        ("deny = ['192.0.2.0/24']\nuntrusted = 'bypass'", true),
        ("deny = ['192.0.2.0/24']\nuntrusted = 'reset'", false),
        ("allow = ['192.0.2.0/24']\nuntrusted = 'drop'", false),
    ] {
        let warnings = Config::from_toml(&format!("{LEAST}{lines}\n")).unwrap().warnings();
        assert_eq!(warnings.len(), usize::from(warned), "{lines}: {warnings:?}");
        assert!(warnings.iter().all(|one| one.sentence.contains("untrusted = \"reset\"")));
    }
}
