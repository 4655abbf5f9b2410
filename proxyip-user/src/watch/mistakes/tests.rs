use super::*;

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
    assert!(sentence.starts_with("listener \"web\": 5 PROXY headers"), "{sentence}");
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
