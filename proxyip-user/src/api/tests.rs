//! The API over a real socket, asked by the command line's client, with maps made by hand.

mod acl;

use std::path::Path;

use hyper::Method;
use proxyip_common::counter::{Counter, DropReason, Reason};
use proxyip_common::flow::{FlowKey, FlowRecord};
use serde_json::{Value, json};

use self::acl::Rulebook;
use super::*;
use crate::active::Active;
use crate::client::{self, ClientError};
use crate::config::Config;
use crate::flow::Flow;
use crate::flows::tests::{HEADER, flows, key, record};
use crate::kernel::{ListenerCounts, Obstacle};

/// Maps with `flows` entries from 10.0.0.2 and ports from 1 on; the last cannot be read if `broken`.
struct Maps {
    flows: u16,
    broken: bool,
}

impl Maps {
    fn entry(port: u16) -> (FlowKey, FlowRecord) {
        (key(&format!("10.0.0.2:{port}")), record())
    }
}

impl Source for Maps {
    fn flow(&self, peer: SocketAddr, local: SocketAddr) -> Result<Option<(FlowKey, FlowRecord)>> {
        Ok((1..=self.flows)
            .map(Self::entry)
            .find(|(key, _)| key.peer == peer.into() && key.local == local.into()))
    }

    fn flows(&self) -> Box<dyn Iterator<Item = Result<(FlowKey, FlowRecord)>> + '_> {
        Box::new((1..=self.flows).map(|port| {
            if self.broken && port == self.flows {
                bail!("broken")
            }
            Ok(Self::entry(port))
        }))
    }

    fn flow_count(&self) -> Result<u64> {
        Ok(self.flows.into())
    }

    fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        if self.broken {
            bail!("broken")
        }
        Ok(vec![(Counter::Established, 7)])
    }

    fn drops(&self) -> Result<Vec<(DropReason, u64)>> {
        Ok(vec![(DropReason::V1Port, 2)])
    }

    fn left_to_kernel(&self) -> Result<Vec<(Reason, u64)>> {
        Ok(vec![(Reason::Mptcp, 1)])
    }

    fn translated(&self) -> Result<u64> {
        Ok(2)
    }

    fn listener_counts(&self, listener: u16) -> Result<ListenerCounts> {
        assert_eq!(listener, 0);
        Ok(ListenerCounts { accept: 10, observe: 0, translate: vec![(Reason::Mptcp, 5)] })
    }

    fn obstacle(&self, _: u16) -> Result<Option<Obstacle>> {
        Ok(Some(Obstacle { reason: Reason::NoKfunc, netns: None }))
    }

    fn limits(&self) -> Vec<String> {
        vec!["Linux is old".into()]
    }

    fn findings(&self) -> Vec<String> {
        vec!["nobody sends a header".into()]
    }
}

/// Serves `maps` in a new directory while `test` runs with the socket's path.
async fn with_api(maps: Maps, test: impl AsyncFnOnce(&Path)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let config =
        Config::from_toml("[[listener]]\nname='web'\nports=[443]\ntrusted=['10.0.0.0/8']\n")
            .unwrap();
    let flows = flows();
    flows.remember(Maps::entry(1).0, &record(), HEADER).unwrap();
    let socket = Socket::bind(&path).unwrap();
    let shared = Shared::new(maps, Rulebook::default(), Arc::new(flows), Active::constant(config));
    tokio::select! {
        ended = serve(&socket, shared) => panic!("{ended:?}"),
        () = test(&path) => {}
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
    with_api(Maps { flows: 3, broken: false }, async |path| {
        let request = "/v1/flows/lookup?peer=[::ffff:10.0.0.2]:1&local=10.0.1.2:443";
        let (flow, _) = client::get::<Value>(path, request).await.unwrap();
        let expected = json!({
            "listener": "web", "hand_off": "translate", "origin": "proxied", "version": "v2",
            "client": "203.0.113.9:51234", "peer": "10.0.0.2:1", "local": "10.0.1.2:443",
            "destination": "192.0.2.1:443", "tlvs": {"alpn": "h2"},
        });
        assert_eq!(flow, expected);
    })
    .await;
}

#[tokio::test]
async fn other_requests_are_refused_with_a_sentence() {
    with_api(Maps { flows: 3, broken: true }, async |path| {
        for (request, status, part) in [
            ("/v1/flows/lookup?peer=10.0.0.2:9&local=10.0.1.2:443", 404, "10.0.0.2:9"),
            ("/v1/flows/lookup?peer=10.0.0.2&local=10.0.1.2:443", 400, "peer must be IP:PORT"),
            ("/v1/flows/lookup?peer=10.0.0.2:1&local=host:443", 400, "local must be IP:PORT"),
            ("/v1/flows/lookup?peer=10.0.0.2:1", 400, "local must be IP:PORT"),
            ("/v1/flows/lookup?peer=1&peer=2", 400, "peer"),
            ("/v1/status", 500, "broken"),
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
    with_api(Maps { flows: 3, broken: false }, async |path| {
        client::get::<Value>(path, "/readyz").await.unwrap();
        let (mut status, _) = client::get::<Value>(path, "/v1/status").await.unwrap();
        status["pid"].take();
        let expected = json!({
            "version": env!("CARGO_PKG_VERSION"), "pid": null,
            "counters": {"established": 7}, "drops": {"v1_port": 2}, "left_to_kernel": {"mptcp": 1},
            "interfaces": [{"name": "eth0", "netns": "host"}],
            "listeners": [
                {
                    "name": "web", "ports": [443], "trusted": ["10.0.0.0/8"], "trusted_by_file": 0,
                    "denied": "reset", "hand_off": "auto",
                    "new_connections":
                        {"hand_off": "translate", "why": Reason::NoKfunc.sentence()},
                    "connections": [
                        {"hand_off": "accept", "count": 10},
                        {"hand_off": "translate", "reason": "mptcp", "count": 5,
                            "sentence": "the application listens with an MPTCP socket"},
                    ],
                },
            ],
            "flows": 3, "translated": 2, "kernel": ["Linux is old"],
            "warnings": [], "findings": ["nobody sends a header"],
        });
        assert_eq!(status, expected);
    })
    .await;
}

#[tokio::test]
async fn lists_of_any_length_come_whole() {
    for flows in [0, 1, 20_000] {
        with_api(Maps { flows, broken: false }, async |path| {
            let (list, _) = client::get::<Vec<Flow>>(path, "/v1/flows").await.unwrap();
            let peers: Vec<_> = list.iter().map(|flow| flow.peer.port()).collect();
            assert_eq!(peers, (1..=flows).collect::<Vec<_>>());
        })
        .await;
    }
}

#[tokio::test]
async fn a_list_that_ends_early_is_an_error() {
    with_api(Maps { flows: 2000, broken: true }, async |path| {
        let answer = client::get::<Value>(path, "/v1/flows").await;
        assert!(matches!(answer, Err(ClientError::Http(_))), "{answer:?}");
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
