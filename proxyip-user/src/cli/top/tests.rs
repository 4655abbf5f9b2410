//! Frames and keys, with a fake agent.

use std::time::Instant;

use anyhow::anyhow;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use proxyip_api::clients::Clients;
use proxyip_api::status::Status;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::json;

use super::state::{Counted, LONGEST, Order, Rate, Sample};
use super::view::parts::rate;
use super::*;

fn status(web: [u64; 2], ssh: [u64; 2], drops: &serde_json::Value) -> Status {
    let listener = |name: &str, [accept, reset]: [u64; 2]| {
        json!({
            "name": name, "ports": [443], "trusted": [], "denied": "reset", "hand_off": "auto",
            "new_connections": {"hand_off": "accept", "why": ""}, "connections": [],
            "verdicts": {"accept": accept, "mark": 0, "reset": reset, "drop": 0},
        })
    };
    let status = json!({
        "version": "0.1.0", "pid": 7, "uptime_s": 11_100, "counters": {}, "drops": drops,
        "left_to_kernel": {}, "interfaces": [], "listeners": [listener("web", web), listener("ssh", ssh)],
        "flows": 12, "translated": 3, "limits": {"flows": 262_144, "translated": 1024}, "kernel": [],
    });
    serde_json::from_value(status).unwrap()
}

fn counted(sampled: bool) -> Counted {
    let clients = json!({
        "clients": [{"client": "203.0.113.9", "flows": 9}, {"client": "2001:db8::7", "flows": 2},
            {"client": "198.51.100.1", "flows": 1}],
        "flows": 12, "sampled": sampled,
    });
    let clients: Clients = serde_json::from_value(clients).unwrap();
    Counted { clients, live: [("web".into(), 11), ("ssh".into(), 1)].into() }
}

/// After two answers with two seconds between.
fn running() -> Top {
    let mut top = Top::new(2);
    let begin = Instant::now();
    let drops = json!({"header_missing": 5, "denied_reset": 100, "v1_port": 0});
    top.take(Ok(Sample {
        at: begin,
        status: status([100, 7], [0, 0], &drops),
        counted: counted(false),
    }));
    let drops = json!({"header_missing": 8, "denied_reset": 100, "v1_port": 0});
    top.take(Ok(Sample {
        at: begin + Duration::from_secs(2),
        status: status([125, 10], [1, 0], &drops),
        counted: counted(false),
    }));
    top
}

fn press(top: &mut Top, code: KeyCode) -> After {
    top.press(KeyEvent::new(code, KeyModifiers::NONE))
}

/// The frame of a terminal of this size.
fn frame(top: &Top, theme: Theme, columns: u16, lines: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
    let view = View { top, theme, live: true };
    terminal.draw(|frame| frame.render_widget(view, frame.area())).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<_> = buffer.content.iter().map(ratatui::buffer::Cell::symbol).collect();
    let lines = symbols.chunks(width).map(|line| line.concat().trim_end().to_owned() + "\n");
    lines.collect()
}

#[test]
fn rates_are_differences_over_time() {
    let mut top = running();
    let rows = top.listeners();
    assert_eq!((rows[0].accepted_rate, rows[0].refused_rate), (Some(12.5), Some(1.5)));
    assert_eq!((rows[1].accepted_rate, rows[1].live), (Some(0.5), Some(1)));
    let drops: Vec<_> = top.drops().into_iter().map(|row| (row.reason, row.rate)).collect();
    let expected = [("header_missing".into(), Some(1.5)), ("denied_reset".into(), Some(0.0))];
    assert_eq!(
        drops, expected,
        "what happens now comes first, and what never happened is not there"
    );
    assert_eq!(top.history(), &[Rate { per_second: 13.0, seconds: 2.0 }]);
    // New pins count from the beginning.
    let at = Instant::now() + Duration::from_secs(4);
    let anew = Sample { at, status: status([1, 0], [0, 0], &json!({})), counted: counted(false) };
    top.take(Ok(anew));
    assert_eq!(top.listeners()[0].accepted_rate, Some(0.0));
}

#[test]
fn one_answer_has_no_rates() {
    let mut top = Top::new(2);
    let status = status([1, 0], [0, 0], &json!({"v1_port": 1}));
    top.take(Ok(Sample { at: Instant::now(), status, counted: Counted::default() }));
    let rows = top.listeners();
    assert_eq!((rows[0].accepted_rate, rows[0].live), (None, None));
    assert_eq!(top.drops()[0].rate, None);
    assert!(top.history().is_empty());
    let text = text(&frame(&top, Theme::plain(), 80, 24));
    assert!(text.contains("New connections per second: -\n"), "{text}");
}

#[test]
fn a_listener_that_is_new_has_no_rates() {
    let mut top = running();
    let begin = top.history().len();
    let mut status = status([125, 10], [1, 0], &json!({}));
    status.listeners[1].name = "git".into();
    status.listeners[1].verdicts.accept = 1_000_000;
    let at = Instant::now() + Duration::from_secs(4);
    top.take(Ok(Sample { at, status, counted: Counted::default() }));
    assert_eq!(top.listeners()[1].accepted_rate, None);
    assert!(top.history()[begin].per_second < 0.1, "nor a share in the sum");
}

#[test]
fn an_ordinary_terminal_shows_all() {
    let text = text(&frame(&running(), Theme::plain(), 80, 24));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "proxyip 0.1.0  running for 3h05m  every 2 s");
    assert_eq!(lines[1], "flows 12 / 262144  translated 3 / 1024");
    assert_eq!(lines[2], "New connections per second: 13.0, highest 13.0 of the last 2s");
    assert!(lines[5].ends_with('█'), "{text}");
    for (line, words) in [
        (6, "LISTENER ACCEPT/S REFUSE/S LIVE ACCEPTED REFUSED"),
        (7, "web 12.5 1.5 11 125 10"),
        (8, "ssh 0.5 0.0 1 1 0"),
        (10, "CLIENT (by connections) LIVE REFUSED FOR PER S TOTAL"),
        (11, "203.0.113.9 9 header_missing 1.5 8"),
        (12, "2001:db8::7 2 denied_reset 0.0 100"),
        (13, "198.51.100.1 1"),
    ] {
        let seen: Vec<_> = lines[line].split_whitespace().collect();
        assert_eq!(seen.join(" "), words, "{text}");
    }
    assert!(lines[23].starts_with(" q quit"), "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80));
}

#[test]
fn any_size_can_be_drawn() {
    let mut waiting = Top::new(2);
    waiting.take(Err(anyhow!("no agent answers on /run/proxyip/api.sock")));
    for (columns, lines) in
        [(1, 1), (3, 40), (40, 12), (20, 5), (80, 2), (80, 16), (200, 60), (700, 10)]
    {
        for top in [&running(), &waiting, &Top::new(2)] {
            frame(top, Theme::coloured(), columns, lines);
        }
    }
    for columns in [20, 25, 30, 40, 50] {
        let narrow = text(&frame(&running(), Theme::plain(), columns, 16));
        for part in ["web", "203.0.1", "header_m"] {
            assert!(narrow.contains(part), "{part} of {columns} columns: {narrow}");
        }
    }
}

#[test]
fn an_agent_that_is_away_is_told_of_until_it_is_back() {
    let mut top = running();
    top.take(Err(anyhow!("no agent answers on /x")));
    let away = text(&frame(&top, Theme::plain(), 80, 24));
    assert!(away.contains("trying again: no agent answers on /x"), "{away}");
    assert!(away.contains("203.0.113.9"), "what was known stays: {away}");
    let at = Instant::now() + Duration::from_secs(12);
    let back = status([145, 10], [1, 0], &json!({}));
    top.take(Ok(Sample { at, status: back, counted: counted(false) }));
    assert!(!text(&frame(&top, Theme::plain(), 80, 24)).contains("trying again"));
    let rate = top.listeners()[0].accepted_rate.unwrap();
    assert!((1.9..2.1).contains(&rate), "that of the ten seconds between: {rate}");
}

#[test]
fn keys() {
    let mut top = running();
    for code in [KeyCode::Char('q'), KeyCode::Esc] {
        assert_eq!(press(&mut top, code), After::Quit);
    }
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(top.press(interrupt), After::Quit);
    assert_eq!(press(&mut top, KeyCode::Char('c')), After::GoOn);

    press(&mut top, KeyCode::Char('p'));
    assert!(top.pace().held);
    assert!(text(&frame(&top, Theme::plain(), 80, 24)).contains("HELD"));
    press(&mut top, KeyCode::Char('p'));
    assert!(!top.pace().held);

    for (code, interval) in [('+', 3), ('-', 2), ('-', 1), ('-', 1)] {
        press(&mut top, KeyCode::Char(code));
        assert_eq!(top.interval(), interval);
    }
    let mut slow = Top::new(LONGEST);
    press(&mut slow, KeyCode::Char('+'));
    assert_eq!(slow.interval(), LONGEST);
}

#[test]
fn clients_are_gone_through_and_sorted() {
    let mut top = running();
    for (code, selected) in [
        (KeyCode::Down, 1),
        (KeyCode::Char('j'), 2),
        (KeyCode::Down, 2),
        (KeyCode::Char('k'), 1),
        (KeyCode::Up, 0),
        (KeyCode::Up, 0),
    ] {
        press(&mut top, code);
        assert_eq!(top.ordered_clients().1, selected);
    }
    let names = |top: &Top| -> Vec<String> {
        top.ordered_clients().0.iter().map(|one| one.client.to_string()).collect()
    };
    assert_eq!(names(&top), ["203.0.113.9", "2001:db8::7", "198.51.100.1"]);
    press(&mut top, KeyCode::Char('s'));
    assert_eq!(top.order(), Order::Address);
    assert_eq!(names(&top), ["198.51.100.1", "203.0.113.9", "2001:db8::7"]);
    // A list that has become shorter.
    press(&mut top, KeyCode::Down);
    let at = Instant::now() + Duration::from_secs(9);
    let status = status([125, 10], [1, 0], &json!({}));
    top.take(Ok(Sample { at, status, counted: Counted::default() }));
    assert_eq!(top.ordered_clients(), (vec![], 0));
}

#[test]
fn colours_can_be_done_without() {
    let colours = |theme| {
        let buffer = frame(&running(), theme, 80, 24);
        buffer.content.iter().any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
    };
    assert!(colours(Theme::coloured()));
    assert!(!colours(Theme::plain()));
}

#[test]
fn a_sample_is_called_one() {
    let mut top = Top::new(2);
    let status = status([1, 0], [0, 0], &json!({}));
    top.take(Ok(Sample { at: Instant::now(), status, counted: counted(true) }));
    let text = text(&frame(&top, Theme::plain(), 120, 24));
    assert!(text.contains("of 12 flows") && text.contains("≥11"), "{text}");
}

#[test]
fn a_frame_can_be_plain_text() {
    let text = plain(&running(), 100);
    assert!(text.starts_with("proxyip 0.1.0  running for 3h05m\n"), "{text}");
    for part in ["web", "203.0.113.9", "198.51.100.1", "header_missing", "denied_reset"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("quit") && !text.contains('\x1b') && text.ends_with('\n'), "{text}");
}

#[test]
fn rates_have_about_three_digits() {
    for (number, text) in [(Some(0.0), "0.0"), (Some(99.94), "99.9"), (Some(1234.5), "1234")] {
        assert_eq!(rate(number), text);
    }
    assert_eq!(rate(None), "-");
}
