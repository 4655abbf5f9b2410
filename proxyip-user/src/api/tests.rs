//! The API over a real socket, asked by the command line's client, with maps made by hand.

mod acl;
mod drain;
mod exchange;
mod flows;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use hyper::Method;
use proxyip_api::finding::{Finding, FindingKind};
use proxyip_api::reload::Reloaded;
use proxyip_api::status::DegradedPort;
use proxyip_api::status::Status;
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use proxyip_common::flow::{FlowKey, FlowRecord, HandOff};
use proxyip_common::verdict::Verdict;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::api::tests::acl::Rulebook;
use crate::api::tests::drain::{DRAINED, Taps};
use crate::client::{self, ClientError};
use crate::config::{Api, Config, Listener, Netns};
use crate::desired::active::Active;
use crate::flowlog::flows::tests::{HEADER, flows, key, record};
use crate::flowlog::losses::LostLines;
use crate::reconcile::reloads::{Requests, reloads};
use crate::tables::fill::Fill;
use crate::tables::listeners::ListenerCounts;
use crate::tables::maps::Cursor;
use crate::tables::maps::FlowChunk;
use crate::tables::outcomes::{Latency, Outcome};
use crate::watch::environment::LocatedObstacle;
use crate::watch::guarding::Place;

/// Maps with `flows` entries.
struct Maps {
    flows: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// They cannot be read.
    Broken,
    /// They have parts of two configurations.
    Mixed,
}

/// The client of the last flow of a large table; all others have another one.
const LAST: &str = "203.0.113.200";

impl Maps {
    /// From 10.0.0.2 and ports from 1 on, then from the next address.
    fn entry(number: u32) -> (FlowKey, FlowRecord) {
        let address = Ipv4Addr::from(0x0a00_0002 + (number - 1) / 65_535);
        (key(&format!("{address}:{}", (number - 1) % 65_535 + 1)), record())
    }
}

impl Source for Maps {
    fn flow(&self, peer: SocketAddr, local: SocketAddr) -> Result<Option<(FlowKey, FlowRecord)>> {
        Ok((1..=self.flows)
            .map(Self::entry)
            .find(|(key, _)| key.peer == peer.into() && key.local == local.into()))
    }

    fn clients(&self, _: &[(SocketAddr, SocketAddr)]) -> Result<Vec<Option<SocketAddr>>> {
        bail!("broken")
    }

    fn flows(&self, from: Cursor, about: usize) -> Result<FlowChunk> {
        if self.state == State::Broken {
            bail!("broken")
        }
        // As if each bucket had two entries.
        let start = from * 2 + 1;
        let end = (start + u32::try_from(about.next_multiple_of(2))?).min(self.flows + 1);
        let mut flows: Vec<_> = (start..end).map(Self::entry).collect();
        let next = (end <= self.flows).then_some(end / 2);
        if next.is_none()
            && self.flows > 10_000
            && let Some((_, record)) = flows.last_mut()
        {
            record.client = SocketAddr::new(LAST.parse()?, 1).into();
        }
        Ok(FlowChunk { flows, next })
    }

    fn capacity(&self) -> (u64, u64) {
        (1024, 2048)
    }

    fn flow_count(&self) -> Result<u64> {
        Ok(self.flows.into())
    }

    fn fills(&self) -> Result<Vec<Fill>> {
        Ok(vec![Fill { map: "TRUSTED", entries: 5, most: 9 }])
    }

    fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        if self.state == State::Broken {
            bail!("broken")
        }
        Ok(vec![(Counter::Established, 7)])
    }

    fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        Ok(vec![(DropReason::V1Port, 2)])
    }

    fn left_to_kernel(&self) -> Result<Vec<(Obstacle, u64)>> {
        Ok(vec![(Obstacle::Mptcp, 1)])
    }

    fn translated(&self) -> Result<u64> {
        Ok(2)
    }

    fn listener_counts(&self, listener: u16) -> Result<ListenerCounts> {
        assert_eq!(listener, 0);
        Ok(ListenerCounts {
            accept: 10,
            observe: 0,
            translate: vec![(Obstacle::Mptcp, 5)],
            denied: 1,
            headerless: 4,
        })
    }

    fn outcomes(&self, listener: u16) -> Result<Vec<Outcome>> {
        assert_eq!(listener, 0);
        let accepted = Outcome {
            hand_off: Some(HandOff::Accept),
            version: Some(2),
            verdict: Verdict::Accept,
            count: 10,
        };
        let reset = Outcome { hand_off: None, version: None, verdict: Verdict::Reset, count: 3 };
        Ok(vec![reset, accepted])
    }

    fn header_latency(&self, listener: u16) -> Result<Latency> {
        assert_eq!(listener, 0);
        let buckets = vec![(Some(1), 4), (Some(2), 6), (None, 0)];
        Ok(Latency { buckets, sum: std::time::Duration::from_millis(11), count: 10 })
    }

    fn obstacle(&self) -> Option<LocatedObstacle> {
        Some(LocatedObstacle { obstacle: Obstacle::NoKfunc, netns: None })
    }

    fn degraded(&self, _: &Listener) -> Result<Vec<DegradedPort>> {
        Ok(Vec::new())
    }

    fn drained(&self, listener: u16, ports: &[u16]) -> Vec<u16> {
        assert_eq!((listener, ports), (0, &[443][..]));
        if self.flows == DRAINED { vec![443] } else { Vec::new() }
    }

    fn limits(&self) -> Vec<String> {
        vec!["Linux is old".into()]
    }

    fn detached(&self) -> Vec<Finding> {
        let gone = || Finding::new(FindingKind::InterfaceGone, "interface eth0 is gone");
        if self.state == State::Broken { vec![gone()] } else { Vec::new() }
    }

    fn mixed(&self) -> Option<String> {
        (self.state == State::Mixed).then(|| "two configurations".into())
    }

    fn served(&self) -> Vec<Place> {
        vec![Place { name: "eth0".into(), netns: Netns::Host, xdp: None }]
    }

    fn mended(&self) -> u64 {
        2
    }

    fn findings(&self) -> Vec<Finding> {
        vec![Finding::new(FindingKind::HeadersMissing, "nobody sends a header")]
    }
}

/// Serves `maps` in a new directory while `test` runs with the socket's path.
async fn with_api(maps: Maps, test: impl AsyncFnOnce(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let api = Api { socket: path.clone(), ..Api::default() };
    let (shared, requests) = shared(maps);
    let (_server, mut failures) = Sockets::bind(&api).unwrap().serve(shared).unwrap();
    tokio::select! {
        error = failures.first() => panic!("{error:?}"),
        () = reload_each_second_time(requests) => {}
        () = test(&path) => {}
    }
}

fn shared(maps: Maps) -> (Shared, Requests) {
    let config =
        Config::from_toml("[[listener]]\nname='web'\nports=[443]\ntrusted=['10.0.0.0/8']\n")
            .unwrap();
    let flows = flows();
    flows.remember(Maps::entry(1).0, &record(), HEADER).unwrap();
    let current = Active::constant(config);
    let (reloads, requests) = reloads();
    let parts = Parts {
        source: Arc::new(maps),
        acl: Arc::new(Rulebook::default()),
        drain: Arc::new(Taps::default()),
        flows: Arc::new(flows),
        current,
        lost_lines: LostLines::default(),
        reloads,
    };
    (Shared::new(parts), requests)
}

/// Refuses the first request, and then takes each second one.
async fn reload_each_second_time(mut requests: Requests) {
    for outcome in [Err("proxyip.toml:3: no\nproxyip.toml:4: no".into()), Ok(vec!["odd".into()])]
        .into_iter()
        .cycle()
    {
        let answer = requests.next().await;
        requests.note(&outcome);
        answer.send(outcome).expect("somebody waits");
    }
}

async fn refusal(path: &Path, method: Method, request: &str) -> (u16, String) {
    match client::request::<Value>(path, method, request).await {
        Err(ClientError::Refused { status, sentence }) => (status.as_u16(), sentence),
        other => panic!("{request}: {other:?}"),
    }
}

#[tokio::test]
async fn lookup_finds_the_client() {
    with_api(Maps { flows: 3, state: State::Good }, async |path| {
        let request = "/v1/flows/lookup?peer=[::ffff:10.0.0.2]:1&local=10.0.1.2:443";
        let (mut flow, _) = client::get::<Value>(path, request).await.unwrap();
        let expected = json!({
            "listener": "web", "hand_off": "translate", "origin": "proxied", "version": "v2",
            "client": "203.0.113.9:51234", "peer": "10.0.0.2:1", "local": "10.0.1.2:443",
            "destination": "192.0.2.1:443", "tlvs": {"alpn": "h2"},
        });
        let established = flow.as_object_mut().unwrap().remove("established").unwrap();
        let established: jiff::Timestamp = established.as_str().unwrap().parse().unwrap();
        assert!(established <= jiff::Timestamp::now());
        assert_eq!(flow, expected);
    })
    .await;
}

#[tokio::test]
async fn other_requests_are_refused_with_a_sentence() {
    with_api(Maps { flows: 3, state: State::Broken }, async |path| {
        for (request, status, part) in [
            ("/v1/flows/lookup?peer=10.0.0.2:9&local=10.0.1.2:443", 404, "10.0.0.2:9"),
            ("/v1/flows/lookup?peer=10.0.0.2&local=10.0.1.2:443", 400, "peer must be IP:PORT"),
            ("/v1/flows/lookup?peer=10.0.0.2:1&local=host:443", 400, "local must be IP:PORT"),
            ("/v1/flows/lookup?peer=10.0.0.2:1", 400, "local must be IP:PORT"),
            ("/v1/flows/lookup?peer=1&peer=2", 400, "peer"),
            ("/v1/flows", 500, "broken"),
            ("/v1/flows?limit=0", 400, "1 to 1000"),
            ("/v1/flows?limit=1001", 400, "1 to 1000"),
            ("/v1/flows?cursor=x", 400, "cursor"),
            ("/v1/flows?client=203.0.113.9/24", 400, "203.0.113.0/24"),
            ("/v1/flows?client=host", 400, "host"),
            ("/v1/flows?listener=api", 404, "no listener \"api\""),
            ("/v1/flows?client=10.0.0.1&lister=web", 400, "lister"),
            ("/v1/clients?limit=0", 400, "1 to 1000"),
            ("/v1/status", 500, "broken"),
            ("/readyz", 503, "interface eth0 is gone"),
            ("/v2", 404, "no such resource"),
        ] {
            let (seen, sentence) = refusal(path, Method::GET, request).await;
            assert_eq!(seen, status, "{request}: {sentence}");
            assert!(sentence.contains(part), "{request}: {sentence}");
        }
        let (status, sentence) = refusal(path, Method::POST, "/readyz").await;
        assert_eq!((status, &*sentence), (405, "only GET is supported"));
    })
    .await;
}

#[tokio::test]
async fn readiness_and_status() {
    with_api(Maps { flows: 3, state: State::Good }, async |path| {
        client::get::<Value>(path, "/readyz").await.unwrap();
        let (mut status, _) = client::get::<Value>(path, "/v1/status").await.unwrap();
        status["pid"].take();
        status["uptime_s"].take();
        status["last_reload"]["time"].take();
        let expected = json!({
            "version": env!("CARGO_PKG_VERSION"), "pid": null, "uptime_s": null,
            "counters": {"established": 7}, "drops": {"v1_port": 2}, "left_to_kernel": {"mptcp": 1},
            "interfaces": [{"name": "eth0", "netns": "host"}],
            "listeners": [
                {
                    "name": "web", "ports": [443], "trusted": ["10.0.0.0/8"], "trusted_by_file": 0,
                    "denied": "reset", "hand_off": "auto",
                    "new_connections":
                        {"hand_off": "translate", "why": Obstacle::NoKfunc.sentence()},
                    "connections": [
                        {"hand_off": "accept", "count": 10},
                        {"hand_off": "translate", "reason": "mptcp", "count": 5,
                            "sentence": "the application listens with an MPTCP socket"},
                    ],
                    "headerless": 4, "verdicts": {"accept": 10, "mark": 0, "reset": 3, "drop": 0},
                },
            ],
            "last_reload": {"successful": true, "time": null},
            "flows": 3, "translated": 2, "limits": {"flows": 1024, "translated": 2048},
            "settings": {
                "api": {
                    "socket": "/run/proxyip/api.sock", "lookup_socket": "/run/proxyip/lookup.sock",
                    "http_remote": false, "getsockopt": false,
                },
                "log": {"flows": "json", "to": "stdout"},
                "agent": {
                    "pin_path": "/sys/fs/bpf/proxyip", "procfs_path": "/proc", "netns_path": "/run/netns", "max_tlv_memory_mib": 64, "handshake_timeout_s": 400,
                },
            },
            "mended": 2,
            "kernel": ["Linux is old"],
            "warnings": [], "findings": ["nobody sends a header"],
            "remarks": [{"label": "headers_missing", "sentence": "nobody sends a header"}],
        });
        assert_eq!(status, expected);
    })
    .await;
}

#[tokio::test]
async fn a_reload_says_how_it_ended_and_so_does_the_status() {
    with_api(Maps { flows: 0, state: State::Good }, async |path| {
        let (status, sentence) = refusal(path, Method::POST, "/v1/reload").await;
        assert_eq!((status, &*sentence), (409, "proxyip.toml:3: no\nproxyip.toml:4: no"));
        let (status, _) = client::get::<Status>(path, "/v1/status").await.unwrap();
        assert!(!status.last_reload.successful);
        let part = "stays in force: proxyip.toml:3: no; proxyip.toml:4: no";
        assert!(status.findings[0].ends_with(part), "{:?}", status.findings);
        assert_eq!(status.remarks[0].label, "reload_refused");

        let request = client::request::<Reloaded>(path, Method::POST, "/v1/reload").await;
        assert_eq!(request.unwrap().0.warnings, ["odd"]);
        let (status, _) = client::get::<Status>(path, "/v1/status").await.unwrap();
        assert_eq!((status.last_reload.successful, status.findings.len()), (true, 1));
        let (status, sentence) = refusal(path, Method::GET, "/v1/reload").await;
        assert_eq!((status, &*sentence), (405, "only POST is supported"));
    })
    .await;
}

/// The text of `/metrics`, which is no JSON.
async fn metrics(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn maps_with_parts_of_two_configurations_are_said_everywhere() {
    with_api(Maps { flows: 0, state: State::Mixed }, async |path| {
        let (status, sentence) = refusal(path, Method::GET, "/readyz").await;
        assert_eq!((status, &*sentence), (503, "two configurations"));
        let (status, _) = client::get::<Status>(path, "/v1/status").await.unwrap();
        assert!(status.findings.contains(&sentence), "{:?}", status.findings);
        let metrics = metrics(path).await;
        assert!(metrics.lines().any(|line| line == "proxyip_config_mixed 1"), "{metrics}");
    })
    .await;
}

#[tokio::test]
async fn metrics_say_how_full_tables_are() {
    with_api(Maps { flows: 3, state: State::Good }, async |path| {
        let metrics = client::text(path, "/metrics").await.unwrap();
        for line in [
            "proxyip_map_entries{map=\"FLOWS\"} 3\n",
            "proxyip_map_max_entries{map=\"FLOWS\"} 1024\n",
            "proxyip_map_entries{map=\"TRUSTED\"} 5\n",
            "proxyip_map_max_entries{map=\"TRUSTED\"} 9\n",
        ] {
            assert!(metrics.contains(line), "{line}: {metrics}");
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_to_ask() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let error = client::get::<Value>(&path, "/readyz").await.unwrap_err().to_string();
    assert!(error.contains("api.sock") && error.contains("proxyip run"), "{error}");
}
