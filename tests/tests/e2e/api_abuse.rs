//! Even if clients of the API misbehave, connections are served and other clients are answered.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Api, Guard, Site, address, header, resident_kib, turn};

use crate::common::{
    CLIENT, DESTINATION, StopOnDrop, ask_names, open_and_send, open_for, socket_address,
    trusted_dial,
};

const HTTP: &str = "127.0.0.1:9811";
/// What abuse may cost the agent's memory. The crowds and pages here would take hundreds of megabytes without bounds.
const MEMORY_KIB: u64 = 64 * 1024;
/// How long a connection and three questions may take, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(3);
/// The server's own limits, and some time.
const HEAD: Duration = Duration::from_secs(30 + 8);
const STALL: Duration = Duration::from_secs(10 + 5);

/// Runs `abuse` beside connections and questions that go on as if there were none.
pub(crate) fn undisturbed(abuse: impl FnOnce(&Site, &Agent)) {
    undisturbed_with(&Guard::ports(&[80]), abuse);
}

pub(crate) fn undisturbed_with(guard: &Guard, abuse: impl FnOnce(&Site, &Agent)) {
    let _alone = turn::alone();
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let guard = guard.clone().api_setting(&format!("http = {HTTP:?}"));
    let mut agent = Agent::start(&site, &guard);
    let (pid, ended) = (agent.process().pid(), AtomicBool::new(false));
    serve_and_ask(&site, &agent, 0);
    let before = resident_kib(pid);
    thread::scope(|scope| {
        let (site, agent, ended) = (&site, &agent, &ended);
        let others = scope.spawn(move || {
            let mut number = 1;
            while !ended.load(Ordering::Relaxed) || number < 5 {
                serve_and_ask(site, agent, number);
                number += 1;
                assert!(resident_kib(pid) < before + MEMORY_KIB, "the agent takes too much memory");
                sleep(Duration::from_millis(50));
            }
        });
        let stop = StopOnDrop(ended);
        abuse(site, agent);
        drop(stop);
        others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    eprintln!("{} KiB resident, then {}", before, resident_kib(pid));
    agent.assert_healthy(&[]);
}

/// Opens a connection for a new client. Asserts that all surfaces name the client, and that the flow log has its
/// line.
fn serve_and_ask(site: &Site, agent: &Agent, number: u32) {
    let start = Instant::now();
    let (stream, client) = open_for(site, number);
    let served = start.elapsed();
    let peer = stream.local_addr().expect("bound").to_string();
    let lookup = format!("/v1/flows/lookup?peer={peer}&local=10.77.1.1:80");
    assert_eq!(agent.lines().ask(&format!("{peer} 10.77.1.1:80")), client.to_string());
    for mut api in [agent.api(), agent.api_over_tcp(HTTP)] {
        assert_eq!(api.get(&lookup)["client"], client.to_string());
    }
    let took = start.elapsed();
    assert!(
        took < AT_ONCE,
        "connection {number} was served after {served:?}, told of after {took:?}"
    );
    agent.wait_event("accept", &peer);
}

/// For crowds of connections.
pub(crate) fn lift_limit() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a higher limit");
}

/// Connections over both sockets.
fn apis(agent: &Agent) -> [Api; 2] {
    [agent.api(), agent.api_over_tcp(HTTP)]
}

#[test]
fn thousands_of_idle_connections_keep_nobody_out() {
    const CROWD: usize = 1100;
    lift_limit();
    undisturbed(|_, agent| {
        // Those in the middle of a request are idle as well.
        let mut https: Vec<_> = (0..CROWD).flat_map(|_| apis(agent)).collect();
        let mut lines: Vec<_> = (0..CROWD).map(|_| agent.lines()).collect();
        for api in https.iter_mut().rev().take(50) {
            api.send(b"GET /v1/flows HT").expect("the agent reads");
        }
        for line in lines.iter_mut().rev().take(50) {
            line.send(b"10.77.1.2:1 10.77").expect("the agent reads");
        }
        sleep(Duration::from_secs(2));
        // The silent ones had to go, the others stay.
        assert!(https[0].receive().is_err() && lines[0].receive().is_err());
        assert_eq!(lines[CROWD - 1].ask(".1.1:80"), "-");
    });
}

/// Flows with TLVs that fill pages of a megabyte.
fn long_flows(site: &Site) -> Vec<TcpStream> {
    let tlvs = header::tlv(0xe4, &[0x42; 3500]);
    let header = header::v2_with(socket_address(CLIENT), socket_address(DESTINATION), &tlvs);
    let open = || {
        let stream = open_and_send(site, &trusted_dial(80), &header);
        ask_names(&stream);
        stream
    };
    (0..150).map(|_| open()).collect()
}

/// Whether the other end has closed within `limit`; `touch` does something to the connection each second.
fn is_cut_off(limit: Duration, mut touch: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if !touch() {
            return true;
        }
        sleep(Duration::from_secs(1));
    }
    false
}

/// All at once, because each takes its time.
#[test]
fn slow_clients_are_cut_off() {
    const PAGES: &[u8] = b"GET /v1/flows?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    undisturbed(|site, agent| {
        let _flows = long_flows(site);
        thread::scope(|scope| {
            for mut api in apis(agent) {
                scope.spawn(move || {
                    let head =
                        b"GET /v1/flows HTTP/1.1\r\nX-Slow: ".iter().chain([b'x'].iter().cycle());
                    let mut head = head.copied();
                    let send = || api.send(&[head.next().expect("endless")]).is_ok();
                    assert!(is_cut_off(HEAD, send), "a head that takes for ever");
                });
            }
            for mut api in (0..5).flat_map(|_| apis(agent)) {
                scope.spawn(move || {
                    api.send(&PAGES.repeat(20)).expect("the agent reads");
                    sleep(STALL);
                    let complete = 20 << 20;
                    assert!(api.rest().len() < complete, "who never reads does not get everything");
                });
            }
            for mut api in apis(agent) {
                scope.spawn(move || {
                    api.send(&PAGES.repeat(20)).expect("the agent reads");
                    let touch = || api.read_some(1).is_ok() && api.send(b"G").is_ok();
                    assert!(is_cut_off(STALL * 3, touch), "who reads a byte a second");
                });
            }
            let mut lines = agent.lines();
            scope.spawn(move || {
                // Until both ends are full.
                while lines.send(&b"10.77.1.2:1 10.77.1.1:80\n".repeat(1000)).is_ok() {}
                let answers = std::iter::from_fn(|| lines.receive().ok()).count();
                assert!(answers < 1_000_000, "{answers} answers");
            });
        });
    });
}

#[test]
fn bodies_of_a_gigabyte_are_not_kept() {
    const PIECE: usize = 1 << 16;
    let piece = vec![b'x'; PIECE];
    let chunk = [format!("{PIECE:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
    undisturbed(|_, agent| {
        for (method, path) in
            [("POST", "/v1/disconnect"), ("GET", "/v1/flows"), ("PUT", "/v1/status")]
        {
            for (framing, piece) in [
                (format!("Content-Length: {}", 1 << 30), &piece),
                ("Transfer-Encoding: chunked".to_owned(), &chunk),
            ] {
                for mut api in apis(agent) {
                    let head =
                        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n");
                    api.send(head.as_bytes()).expect("the agent reads");
                    let sent =
                        (0..(1 << 30) / PIECE).take_while(|_| api.send(piece).is_ok()).count();
                    // A reset may overtake the answer.
                    let status = api.receive().map_or(0, |reply| reply.status);
                    assert!([0, 200, 403, 405].contains(&status), "{method} {framing}: {status}");
                    assert!(sent * PIECE < 1 << 30 || status != 0, "all was read for nothing");
                }
            }
        }
    });
}

#[test]
fn requests_in_a_long_row_are_all_answered() {
    const ROW: usize = 10_000;
    const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    undisturbed(|_, agent| {
        for mut api in apis(agent) {
            // As many as the sockets hold at a time: who never reads would be cut off.
            for _ in 0..ROW / 500 {
                api.send(&REQUEST.repeat(500)).expect("the agent reads");
                for _ in 0..500 {
                    assert_eq!(api.receive().expect("an answer").status, 200);
                }
            }
        }
        // All in one go: some are answered before the connection is cut off, if it is.
        let mut api = agent.api();
        let _ = api.send(&REQUEST.repeat(ROW));
        assert!(api.receive().is_ok_and(|reply| reply.status == 200));
    });
}

/// Requests with small answers, even if the tables are large.
const SMALL: [&str; 5] = ["/metrics", "/v1/status", "/v1/listeners", "/v1/clients", "/readyz"];

/// On each socket, clients that do not read take all the room for pages. Then a client that asks for a page gets an
/// error. A client that asks for something else notices nothing.
#[test]
fn readers_of_pages_who_do_not_read_hold_up_nobody_else() {
    const PAGE: &[u8] = b"GET /v1/flows?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    undisturbed(|site, agent| {
        let _flows = long_flows(site);
        let stuck: Vec<_> = (0..20)
            .flat_map(|_| apis(agent))
            .map(|mut api| {
                api.send(PAGE).expect("the agent reads");
                api
            })
            .collect();
        sleep(Duration::from_secs(1));
        // The kernel may hold whole pages for readers of TCP connections.
        let mut page = agent.api();
        page.send(PAGE).expect("the agent reads");
        for mut api in apis(agent) {
            for path in SMALL {
                let start = Instant::now();
                assert_eq!(api.reply("GET", path).status, 200, "{path}");
                assert!(start.elapsed() < AT_ONCE, "{path} after {:?}", start.elapsed());
            }
        }
        let reply = page.receive().expect("an answer");
        assert_eq!(reply.status, 503);
        assert!(reply.json()["error"].is_string(), "{}", reply.json());
        let document = agent.api().get("/openapi.json");
        let described = &document["paths"]["/v1/flows"]["get"]["responses"]["503"];
        assert!(described["description"].is_string(), "{described}");
        drop(stuck);
    });
}
