//! Every way to ask for a connection's client gives the same answer.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proxyip_common::address::{Local, Peer};
use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Api, FlowTable, Guard, HandOff, Site, address, eventually, header};
use serde_json::{Value, json};

use crate::common::{
    CLIENT, CLIENT6, DESTINATION, DESTINATION6, StopOnDrop, auto_translate_and_observe,
    header_of_client, header_of_client6, on_ipv6_socket, open_and_send, open_for, socket_address,
    trusted_dial, trusted_dial6,
};
use crate::socket_option::{self, info_of, listen};

auto_translate_and_observe!(all_surfaces_give_the_same_answer);

const HTTP: &str = "127.0.0.1:9811";

fn all_surfaces_give_the_same_answer(hand_off: HandOff) {
    let site = Site::without_captures();
    let (over4, over6) = (listen(&site, address::SERVER), listen(&site, address::SERVER6));
    let guard = socket_option::guard(hand_off).api_setting(&format!("http = {HTTP:?}"));
    let mut agent = Agent::start(&site, &guard);
    // Families of the client and of the connection may differ.
    for (listener, dial, header, client, destination) in [
        (&over4, trusted_dial(80), header_of_client(), CLIENT, DESTINATION),
        (&over4, trusted_dial(80), header_of_client6(), CLIENT6, DESTINATION6),
        (&over6, trusted_dial6(80), header_of_client(), CLIENT, DESTINATION),
        (&over6, trusted_dial6(80), header_of_client6(), CLIENT6, DESTINATION6),
    ] {
        let stream = open_and_send(&site, &dial, &header);
        let (socket, accepted) = listener.accept().expect("a connection");
        assert_told(&site, &agent, &stream, client);
        let named = name_on(&stream, hand_off, client);
        assert_eq!((accepted, socket.peer_addr().ok()), (named, Some(named)));
        let info = info_of(&socket).expect("the socket option");
        assert_eq!(info, socket_option::info(hand_off, client, destination));
        let peer = stream.local_addr().expect("bound").to_string();
        drop((stream, socket));
        agent.wait_event("close", &peer);
        eventually("the flow is gone", || FlowTable::of(&site).entries().is_empty().then_some(()));
    }
    site.finish(&mut agent, &[]);
}

/// What `accept()` and `getpeername()` have to say at the other end of `stream`.
fn name_on(stream: &TcpStream, hand_off: HandOff, client: &str) -> SocketAddr {
    let peer = stream.local_addr().expect("bound");
    let inexpressible = peer.is_ipv4() && socket_address(client).is_ipv6();
    if hand_off == HandOff::Observe || inexpressible {
        peer
    } else if peer.is_ipv6() {
        on_ipv6_socket(client)
    } else {
        socket_address(client)
    }
}

fn assert_told(site: &Site, agent: &Agent, stream: &TcpStream, client: &str) {
    let ends = [stream.local_addr(), stream.peer_addr()].map(|end| end.expect("connected"));
    let [peer, local] = ends.map(|end| end.to_string());
    let logged = agent.wait_event("accept", &peer);
    assert_eq!((&logged["client"], &logged["local"]), (&client.into(), &local.clone().into()));
    let flow = flow_of(&logged);

    let lookup = format!("/v1/flows/lookup?peer={peer}&local={local}");
    let address = socket_address(client).ip().to_string();
    let search = format!("/v1/flows?client={address}");
    for mut api in [agent.api(), agent.api_over_tcp(HTTP)] {
        assert_eq!(api.get(&lookup), flow);
        assert_eq!(api.get(&search), json!({ "flows": [flow] }));
    }
    assert_eq!(agent.lines().ask(&format!("{peer} {local}")), client);
    let command = ["lookup", &peer, &local];
    assert_eq!(agent.ask(&command).stdout, client);
    assert_eq!(agent.json::<Value>(&command), flow);
    assert_eq!(agent.json::<Value>(&["flows", "--client", &address]), json!([flow]));

    let entries = FlowTable::of(site).entries();
    let [(key, record)] = entries.as_slice() else { panic!("the flow table: {entries:?}") };
    assert_eq!((key.peer, key.local), (Peer::from(ends[0]), Local::from(ends[1])));
    assert_eq!(record.client.0.to_socket_addr(), socket_address(client));
    assert_eq!(record.destination.0.to_socket_addr().to_string(), flow["destination"]);
}

/// What the API has to say of a flow, from its line of the flow log.
fn flow_of(logged: &Value) -> Value {
    let mut flow = logged.clone();
    let fields = flow.as_object_mut().expect("an object");
    let time = fields.remove("time").expect("the time of the event");
    fields.insert("established".into(), time);
    fields.remove("event");
    fields.remove("verdict");
    flow
}

#[test]
fn filters_take_clients_by_network_and_flows_by_listener() {
    let site = Site::without_captures();
    let _echoes = [80, 81].map(|port| EchoServer::start(&site.net.server, "::", port));
    let guard = Guard::ports(&[80]).with(&Guard::ports(&[81]).named("other"));
    let mut agent = Agent::start(&site, &guard);
    let mut streams = Vec::new();
    for (port, client) in [
        (80, "198.51.100.7:1"),
        (80, "198.51.100.200:2"),
        (81, "198.51.100.7:3"),
        (81, "203.0.113.4:4"),
        (81, "[2001:db8:5::7]:5"),
    ] {
        let client = socket_address(client);
        let to = if client.is_ipv4() { DESTINATION } else { "[2001:db8:2::1]:443" };
        let header = [header::v2(client, socket_address(to)), b"who am I?\n".to_vec()].concat();
        let stream = open_and_send(&site, &trusted_dial(port), &header);
        agent.wait_event("accept", &stream.local_addr().expect("bound").to_string());
        streams.push(stream);
    }
    let mut api = agent.api();
    for (query, ports) in [
        ("", [1, 2, 3, 4, 5].as_slice()),
        ("client=198.51.100.7", &[1, 3]),
        ("client=::ffff:198.51.100.7", &[1, 3]),
        ("client=198.51.100.0/25", &[1, 3]),
        ("client=198.51.100.0%2F24", &[1, 2, 3]),
        ("client=0.0.0.0/0", &[1, 2, 3, 4]),
        ("client=::/0", &[5]),
        ("client=2001:db8:5::/48", &[5]),
        ("client=192.0.2.0/24", &[]),
        ("listener=web", &[1, 2]),
        ("listener=other", &[3, 4, 5]),
        ("client=198.51.100.0/24&listener=other", &[3]),
    ] {
        for limit in ["", "&limit=1"] {
            let flows = all_pages(&mut api, &format!("{query}{limit}"));
            let mut found: Vec<_> = flows.iter().map(|flow| client_of(flow).port()).collect();
            found.sort_unstable();
            assert_eq!(found, ports, "{query}{limit}");
        }
    }
    for (query, status) in [
        ("listener=nobody", 404),
        ("client=198.51.100.7/24", 400),
        ("client=nobody", 400),
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=many", 400),
        ("cursor=first", 400),
        ("cursor=99999999999", 400),
        ("page=1", 400),
    ] {
        let (answered, json) = api.request("GET", &format!("/v1/flows?{query}"));
        assert_eq!(answered, status, "{query}: {json}");
        assert!(json["error"].is_string(), "{query}: {json}");
    }
    site.finish(&mut agent, &[]);
}

#[test]
fn flows_that_stay_are_on_exactly_one_page() {
    const STAYING: u32 = 300;
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, "10.77.1.1", 80);
    let mut agent = Agent::start(&site, &Guard::ports(&[80]));
    let staying: Vec<_> = (0..STAYING).map(|number| open_for(&site, number)).collect();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let passing = scope.spawn(|| {
            let mut number = STAYING;
            while !ended.load(Ordering::Relaxed) {
                drop([0, 1, 2].map(|more| open_for(&site, number + more)));
                number += 3;
            }
            number
        });
        let stop = StopOnDrop(&ended);
        let mut api = agent.api();
        for limit in [7, 20, 64, 7, 1000] {
            let mut times = BTreeMap::<SocketAddr, u32>::new();
            for flow in all_pages(&mut api, &format!("limit={limit}")) {
                *times.entry(client_of(&flow)).or_default() += 1;
            }
            for (_, client) in &staying {
                assert_eq!(times.get(client), Some(&1), "{client} by {limit}");
            }
        }
        drop(stop);
        assert!(passing.join().expect("connections are made") > STAYING);
    });
    site.finish(&mut agent, &[]);
}

/// The flows of all pages.
fn all_pages(api: &mut Api, query: &str) -> Vec<Value> {
    let (mut flows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/v1/flows?{query}{cursor}"));
        flows.extend(page["flows"].as_array().expect("an array").iter().cloned());
        let Some(next) = page["next"].as_str() else { return flows };
        cursor = format!("&cursor={next}");
    }
}

fn client_of(flow: &Value) -> SocketAddr {
    socket_address(flow["client"].as_str().expect("a client"))
}
