use proxyip_api::finding::Finding;

use super::*;
use crate::config::Config;

#[test]
fn those_without_header_are_counted_apart_if_others_have_one() {
    let mut before = Counts::default();
    let none = [(Kind::Headerless, 0), (Kind::OnlyUntrusted, 0)];
    let some = [&none[..], &[(Kind::SomeHeaderless, 6)]].concat();
    for (headers, headerless, untrusted, refused, expected) in [
        (0, 2, 0, 2, vec![]),
        (0, 3, 0, 3, vec![(Kind::OnlyUntrusted, 3), (Kind::Headerless, 3)]),
        (0, 4, 1, 5, vec![(Kind::UntrustedHeader, 1)]),
        (1, 9, 1, 9, some),
        (1, 11, 4, 11, vec![(Kind::UntrustedHeader, 3)]),
        (1, 12, 4, 11, vec![(Kind::Headerless, 3)]),
        (1, 12, 4, 12, vec![(Kind::OnlyUntrusted, 3)]),
    ] {
        let now = Counts { headers, headerless, untrusted, refused };
        assert_eq!(seen(&mut before, now), expected, "{now:?}");
    }
}

/// A load balancer whose PROXY protocol is off is found where connections without a header are served too.
#[test]
fn what_is_served_without_a_header_has_none() {
    assert_eq!(headers(7, 3, Headerless::Reset), 7);
    assert_eq!(headers(7, 3, Headerless::Local), 4);
    let before = headers(7, 7, Headerless::Local);
    assert_eq!(headers(9, 9, Headerless::Local), before);
}

#[test]
fn a_mistake_is_new_once_and_counts_on() {
    let findings = Findings::default();
    let mistake = || ("web".to_owned(), Kind::UntrustedHeader);
    let [old, new] = ["198.51.100.7", "2001:db8::7"].map(|address| address.parse().unwrap());
    let sentence = findings.add(mistake(), 2, &[old]).unwrap();
    assert!(sentence.contains("trusted (198.51.100.7);"), "{sentence}");
    assert_eq!(findings.add(mistake(), 3, &[old, new]), None);
    let found = findings.all();
    let Finding { label, sentence } = &found[0];
    assert_eq!(label, "untrusted_headers");
    assert!(sentence.starts_with("listener \"web\": PROXY headers"), "{sentence}");
    assert!(sentence.contains(", 5 by now: "), "{sentence}");
    assert!(sentence.contains(" (2001:db8::7, 198.51.100.7);"), "{sentence}");
    assert!(sentence.contains("preserve_client_ip.enabled"));
    findings.remove(&mistake());
    assert!(findings.all().is_empty());
}

#[test]
fn one_or_two_without_header_among_others_are_an_accident() {
    let findings = Findings::default();
    let mistake = || ("web".to_owned(), Kind::SomeHeaderless);
    assert_eq!(findings.add(mistake(), 2, &[]), None);
    assert!(findings.all().is_empty());
    let sentence = findings.add(mistake(), 1, &[]).unwrap();
    assert!(sentence.starts_with("listener \"web\": 3 connections"), "{sentence}");
    assert_eq!(Finding::sentences(&findings.all()), [sentence]);
    assert_eq!(findings.add(mistake(), 1, &[]), None);
}

#[test]
fn a_few_strangers_are_remembered_the_newest_last() {
    let mut strangers = Strangers::default();
    let seen = |at_ns, last: u8| Seen { at_ns, address: [192, 0, 2, last].into() };
    strangers.take(&[seen(1, 1), seen(2, 2), seen(3, 3)]);
    strangers.take(&[seen(4, 1), seen(5, 5), seen(6, 6)]);
    let last: Vec<_> = strangers.sources.iter().map(ToString::to_string).collect();
    assert_eq!(last, ["192.0.2.3", "192.0.2.1", "192.0.2.5", "192.0.2.6"]);
    assert_eq!(strangers.newest_ns, 6);
}

const WEB: &str = "[[listener]]\nname='web'\nports=[443]\ntrusted=['10.0.0.0/8']\n";

fn active(text: &str) -> Arc<Active> {
    Active::constant(Config::from_toml(text).unwrap()).borrow().clone()
}

/// The findings of a listener `web`, each of its own kind, after a reload.
fn left_after(reload: &str) -> Vec<Finding> {
    left_between(WEB, reload)
}

fn left_between(old: &str, new: &str) -> Vec<Finding> {
    let findings = Findings::default();
    let stranger = "198.51.100.7".parse().unwrap();
    for kind in [Kind::Headerless, Kind::SomeHeaderless, Kind::UntrustedHeader] {
        findings.add(("web".into(), kind), ACCIDENTS, &[stranger]);
    }
    assert_eq!(findings.all().len(), 3);
    findings.follow(&active(old), &active(new));
    findings.all()
}

#[test]
fn a_reload_ends_the_findings_that_it_may_have_cured() {
    let all = &["headers_missing", "some_headers_missing", "untrusted_headers"][..];
    let more = "trusted=['10.0.0.0/8', '192.0.2.0/24']";
    for (what, from, to, left) in [
        ("nothing of it", "[443]", "[443, 8443]", all),
        ("the source is trusted", "['10.0.0.0/8']", "['10.0.0.0/8', '198.51.100.0/24']", &[]),
        ("another source is trusted", "trusted=['10.0.0.0/8']", more, &all[2..]),
        ("it refuses the source", "name", "untrusted='reset'\nname", &all[..2]),
        ("no header is needed", "name", "headerless='local'\nname", &[all[0], all[2]]),
        ("the port is not guarded", "443", "444", &[]),
    ] {
        let found = left_after(&WEB.replace(from, to));
        let labels: Vec<_> = found.iter().map(|one| &*one.label).collect();
        assert_eq!(labels, left, "{what}");
    }
    // The finding may be of the port that stays.
    assert_eq!(left_between(&WEB.replace("443", "443, 25"), WEB).len(), 3);
}

#[test]
fn a_finding_names_its_listener_as_it_is_called_now() {
    let found = left_after(&WEB.replace("web", "shop"));
    assert_eq!(found.len(), 3);
    for Finding { sentence, .. } in found {
        assert!(sentence.starts_with("listener \"shop\": "), "{sentence}");
    }
    // Another listener has the port now.
    let other = "[[listener]]\nname='mail'\nports=[25]\ntrusted=['10.0.0.0/8']\n";
    assert_eq!(left_after(other), []);
}

/// A header that comes between a reload and the next look is found, also at a listener that is new.
#[test]
fn what_strangers_did_since_the_last_look_is_judged_after_a_reload() {
    let listener = |text: &str| active(text).config.listeners[0].clone();
    let (web, wider) = (listener(WEB), listener(&WEB.replace("10.0.0.0/8", "10.0.0.0/7")));
    let counts = |count| Counts { headers: count, headerless: count, untrusted: count, refused: 0 };
    for (before, now, expected) in
        [(Some(&web), &wider, ["untrusted_headers"]), (None, &web, ["untrusted_headers"])]
    {
        let (mut look, findings) =
            (Look { before: counts(4), ..Look::default() }, Findings::default());
        look.restart(before, now);
        look.judge(now, counts(7), &findings);
        assert_eq!(labels(&findings), expected);
    }
}

/// A listener `web` with these lines.
fn web(lines: &str) -> Arc<Active> {
    active(&format!("{WEB}{lines}\n"))
}

/// What one reload after the other, with what is counted after each, leaves to be found.
fn found_after(reloads: &[(&str, Counts)]) -> Vec<String> {
    let findings = Findings::default();
    let mut look = Look::default();
    let mut old: Option<Arc<Active>> = None;
    for (lines, now) in reloads {
        let new = web(lines);
        if let Some(old) = &old {
            findings.follow(old, &new);
            look.restart(Some(&old.config.listeners[0]), &new.config.listeners[0]);
        }
        look.strangers.take(&[Seen { at_ns: 1, address: [198, 51, 100, 7].into() }]);
        look.judge(&new.config.listeners[0], *now, &findings);
        old = Some(new);
    }
    labels(&findings)
}

fn labels(findings: &Findings) -> Vec<String> {
    findings.all().into_iter().map(|one| one.label.to_string()).collect()
}

/// What is counted until the agent follows a reload belongs to the settings before.
#[test]
fn a_reload_that_cures_a_mistake_does_not_bring_it_back() {
    let none = Counts::default();
    let untrusted = |untrusted| Counts { untrusted, ..none };
    let refused = |refused| Counts { refused, ..none };
    let (bypass, reset) = ("untrusted='bypass'", "untrusted='reset'");
    let wider = "untrusted='reset'\nheader_timeout=4";
    for (what, reloads, expected) in [
        ("bypassed", vec![(bypass, untrusted(1))], &["untrusted_headers"][..]),
        ("refused since", vec![(bypass, untrusted(1)), (reset, untrusted(2))], &[]),
        ("refused", vec![(reset, refused(3))], &["untrusted_only"]),
        ("bypassed since", vec![(reset, refused(3)), (bypass, refused(9))], &[]),
        ("still refused", vec![(reset, refused(3)), (wider, refused(6))], &["untrusted_only"]),
        (
            "refused, bypassed and refused",
            vec![
                (reset, refused(2)),
                (bypass, refused(2)),
                (reset, refused(2)),
                (reset, refused(3)),
            ],
            &[],
        ),
        ("counted on", vec![(reset, refused(2)), (wider, refused(3))], &["untrusted_only"]),
    ] {
        assert_eq!(found_after(&reloads), expected, "{what}");
    }
}

/// Two refusals of a source that is trusted now and one of a scanner are no three refusals.
#[test]
fn refusals_from_before_a_source_was_trusted_do_not_count() {
    let refused = |refused| Counts { refused, ..Counts::default() };
    let listener = |trusted: &str| {
        let text = WEB.replace("['10.0.0.0/8']", trusted) + "untrusted='reset'\n";
        active(&text).config.listeners[0].clone()
    };
    let (narrow, wide) = (listener("['10.0.0.0/8']"), listener("['10.0.0.0/8', '192.0.2.0/24']"));
    let (mut look, findings) = (Look::default(), Findings::default());
    look.judge(&narrow, refused(2), &findings);
    look.restart(Some(&narrow), &wide);
    look.judge(&wide, refused(2), &findings);
    look.judge(&wide, refused(4), &findings);
    assert_eq!(labels(&findings), [""; 0]);
    look.judge(&wide, refused(5), &findings);
    assert_eq!(labels(&findings), ["untrusted_only"]);
}

#[test]
fn listeners_that_swap_their_names_keep_their_findings() {
    let listener = |name, port| {
        format!("[[listener]]\nname='{name}'\nports=[{port}]\ntrusted=['10.0.0.0/8']\n")
    };
    let both = |web, mail| active(&(listener("web", web) + &listener("mail", mail)));
    let findings = Findings::default();
    findings.add(("web".into(), Kind::Headerless), 4, &[]);
    findings.follow(&both(443, 25), &both(25, 443));
    let sentences = Finding::sentences(&findings.all());
    assert!(sentences[0].starts_with("listener \"mail\": 4 "), "{sentences:?}");
}

#[test]
fn strangers_that_are_trusted_now_prove_nothing() {
    let trusted = &active(WEB).config.listeners[0].trusted;
    let [friend, stranger]: [IpAddr; 2] = [[10, 0, 0, 2].into(), [192, 0, 2, 1].into()];
    for (sources, cured, left) in [
        (vec![], false, vec![]),
        (vec![friend], true, vec![]),
        (vec![friend, stranger], false, vec![stranger]),
    ] {
        let mut strangers = Strangers { sources, ..Strangers::default() };
        assert_eq!(strangers.forget_trusted(trusted), cured);
        assert_eq!(strangers.sources, left);
    }
}
