//! Crowds of clients that ask the agent and do not read its answers.

use std::thread::sleep;
use std::time::Duration;

use proxyip_tests::Guard;

use crate::api_abuse::{lift_limit, undisturbed, undisturbed_with};

/// Lines that are wrong are answered with longer ones.
#[test]
fn crowds_that_send_nonsense_and_do_not_read_take_little_memory() {
    const CROWD: usize = 1000;
    lift_limit();
    undisturbed(|_, agent| {
        let crowd: Vec<_> = (0..CROWD)
            .map(|_| {
                let mut lines = agent.lines();
                lines.send(&[b'\n'; 1 << 14]).expect("the agent reads");
                lines
            })
            .collect();
        sleep(Duration::from_secs(2));
        drop(crowd);
    });
}

/// A listener with many ports makes answers long that are short elsewhere.
#[test]
fn crowds_that_do_not_read_long_answers_take_little_memory() {
    const CROWD: usize = 250;
    const STATUS: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let ports: Vec<u16> = (1000..=u16::MAX).collect();
    let wide = Guard::ports(&[80]).with(&Guard::ports(&ports).named("wide"));
    undisturbed_with(&wide, |_, agent| {
        assert!(agent.api().reply("GET", "/v1/status").body.len() > 300_000);
        let crowd: Vec<_> = (0..CROWD)
            .map(|_| {
                let mut api = agent.api();
                api.send(STATUS).expect("the agent reads");
                api
            })
            .collect();
        sleep(Duration::from_secs(6));
        drop(crowd);
    });
}
