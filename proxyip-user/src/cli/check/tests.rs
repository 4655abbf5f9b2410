use std::fs;

use proxyip_api::finding::FindingKind;
use serde_json::json;

use super::*;
use crate::config::DEFAULT_PIN_PATH;

/// Reads a file with `text`.
fn read(text: &str) -> (Report, Option<Config>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxyip.toml");
    fs::write(&path, text).unwrap();
    let mut report = Report::default();
    let config = report.read(&path);
    (report, config)
}

#[test]
fn files_are_right_questionable_or_wrong() {
    for (text, code, part) in [
        ("[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\n", 0, "no mistakes found"),
        (
            "[[listener]]\nports=[443]\ntrusted=['0.0.0.0/0']\n",
            1,
            "warning: trusts_everyone: listener",
        ),
        ("[[listener]]\nports=[0]\n", 2, "/proxyip.toml:2: listener.ports: "),
        ("[[listener]]\nports=[0]\n", 2, "/proxyip.toml:1: listener.trusted: missing"),
    ] {
        let (report, _) = read(text);
        assert_eq!(report.exit().code(), code, "{report:?}");
        assert!(report.text().contains(part), "{}", report.text());
    }
    let mut report = Report::default();
    report.read(Path::new("/nonexistent/proxyip.toml"));
    assert_eq!((report.exit().code(), report.problems.len()), (2, 1), "{report:?}");
}

#[test]
fn the_agent_is_asked_where_the_file_says() {
    let file = "[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\n[api]\nsocket='/x/api.sock'";
    assert_eq!(read(file).1.unwrap().api.socket, Path::new("/x/api.sock"));
}

/// A mistake in the file, or in a list that it names, does not make its agent another one.
#[test]
fn the_agent_of_a_file_with_mistakes_is_the_file_s() {
    let there = |text: &str| {
        let Whereabouts { socket, pin_path } = Whereabouts::read(text);
        [socket, pin_path].map(|path| path.display().to_string())
    };
    let tables = "[api]\nsocket = '/x/api.sock'\n[agent]\npin_path = '/sys/fs/bpf/x'\n";
    let (x, default) = (["/x/api.sock", "/sys/fs/bpf/x"], [DEFAULT_SOCKET, DEFAULT_PIN_PATH]);
    for (before, behind, expected) in [
        ("", "", x),
        ("[[listener]]\nports = [0]\n", "", x),
        ("", "[[listener]]\nports = [", x),
        ("port = = 3\n", "", x),
        ("", "max_flows = 1\n", x),
    ] {
        assert_eq!(there(&format!("{before}{tables}{behind}")), expected, "{before} {behind}");
    }
    assert_eq!(there("[api]\nsocket = 3\n[agent]\npin_path = 'a'\n"), default);
    let nobody = "/run/proxyip-of-nobody.sock";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxyip.toml");
    fs::write(&file, format!("[[listener]]\nports=[0]\n[api]\nsocket='{nobody}'\n")).unwrap();
    let silence = super::report(Some(&file), None).silence.unwrap();
    assert!(silence.contains(nobody), "{silence}");
}

#[test]
fn each_sentence_has_its_line() {
    let unlabelled = Finding { label: "".into(), sentence: "g".into() };
    let mut report = Report {
        warnings: vec![Finding::new(FindingKind::TrustsEveryone, "w")],
        findings: vec![Finding::new(FindingKind::Drained, "f"), unlabelled],
        notes: vec!["n".into()],
        limits: vec!["l".into()],
        silence: Some("no agent".into()),
        ..Report::default()
    };
    assert_eq!(
        report.text(),
        "warning: trusts_everyone: w\nfound: drained: f\nfound: g\nnote: n\nkernel: l\n\
         nothing could be learnt from traffic: no agent\n"
    );
    assert_eq!(report.exit().code(), 1);
    let json = serde_json::to_value(report.labelled()).unwrap();
    assert_eq!((&json["warnings"], &json["findings"]), (&json!(["w"]), &json!(["f", "g"])));
    assert_eq!(json["remarks"][0], json!({"label": "trusts_everyone", "sentence": "w"}));
    assert_eq!(json["remarks"].as_array().unwrap().len(), 3);
    report.warnings.clear();
    report.findings.clear();
    report.notes.clear();
    assert_eq!((report.exit().code(), report.text().contains("no mistakes found")), (0, true));
    assert_eq!(
        serde_json::to_value(report.labelled()).unwrap(),
        json!({
            "problems": [], "warnings": [], "findings": [], "notes": [], "limits": ["l"],
            "preflight": [], "agent": false, "remarks": [],
        })
    );
}

#[test]
fn what_may_be_meant_is_noted() {
    let listener = json!({
        "name": "web", "ports": [443], "trusted": [], "denied": "reset", "hand_off": "auto",
        "new_connections": {"hand_off": "accept", "why": "x"}, "connections": [], "headerless": 7,
        "degraded": [{"port": 443, "netns": "host", "reason": "stack_refuses", "retry_s": 9}],
    });
    let notes = notes(&serde_json::from_value(listener).unwrap());
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("\"web\": 7 connections"), "{notes:?}");
    assert!(notes[1].contains("port 443 are translated for 9 s"), "{notes:?}");
}

fn looked_at(check: Subject, netns: Option<&str>, state: State) -> Check {
    Check { check, netns: netns.map(Into::into), state, sentence: "as it is".into() }
}

#[test]
fn what_was_looked_at_is_grouped() {
    let report = Report {
        preflight: vec![
            looked_at(Subject::Kernel, None, State::Ok),
            looked_at(Subject::Cgroup, None, State::Problem),
            looked_at(Subject::Interface, Some("/run/netns/blue"), State::Ok),
            looked_at(Subject::Listener, None, State::Warning),
        ],
        ..Report::default()
    };
    assert_eq!(
        report.text(),
        "this host\n  ok       kernel: as it is\n  problem  cgroup: as it is\n\
         network namespace /run/netns/blue\n  ok       interface: as it is\n\
         applications\n  warning  listener: as it is\n"
    );
    let json = serde_json::to_value(&report).unwrap();
    let problem = json!({"check": "cgroup", "state": "problem", "sentence": "as it is"});
    assert_eq!(json["preflight"][1], problem);
    assert_eq!(json["preflight"][2]["netns"], "/run/netns/blue");
}

#[test]
fn the_worst_that_was_found_is_the_exit_code() {
    for (state, code) in [(State::Ok, 0), (State::Warning, 1), (State::Problem, 2)] {
        let preflight =
            vec![looked_at(Subject::Kernel, None, State::Ok), looked_at(Subject::Jit, None, state)];
        assert_eq!(Report { preflight, ..Report::default() }.exit().code(), code, "{state:?}");
    }
}

#[test]
fn the_advice_to_look_again_keeps_what_the_command_was_given() {
    let path = |text| Some(Path::new(text));
    assert_eq!(again(None, None), "proxyip check");
    assert_eq!(
        again(path("/etc/proxyip.toml"), path("/run/my agent.sock")),
        "proxyip check --config /etc/proxyip.toml --socket '/run/my agent.sock'"
    );
    assert_eq!(again(path("it's.toml"), None), r"proxyip check --config 'it'\''s.toml'");
}

#[test]
fn another_socket_than_the_file_s_is_named() {
    let [default, other] = ["/run/proxyip/api.sock", "/run/other.sock"].map(Path::new);
    assert_eq!(asked(default, default), None);
    let sentence = asked(other, default).unwrap();
    assert!(sentence.starts_with("the agent was asked on /run/other.sock, as"), "{sentence}");
    assert!(sentence.contains("not on /run/proxyip/api.sock"), "{sentence}");
}
