//! More connections to translate than there is room for: the old ones are vital, the new ones refused.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use proxyip_tests::{Agent, Guard, HandOff, Site, eventually, header, is_reset, turn};

use crate::common::{DESTINATION, open_and_send, socket_address, trusted_dial};

/// The least that may be configured.
const ROOM: u16 = 1024;

/// One connection. The test has both ends.
pub(crate) struct Connection {
    balancer: TcpStream,
    server: TcpStream,
}

impl Connection {
    pub(crate) fn exchange(&self) {
        for (mut from, mut to) in [(&self.balancer, &self.server), (&self.server, &self.balancer)] {
            from.write_all(b"alive").expect("the connection is alive");
            let mut received = [0; 5];
            to.read_exact(&mut received).expect("the connection is alive");
            assert_eq!(&received, b"alive");
        }
    }
}

/// Opens a connection for a new client.
pub(crate) fn open(site: &Site, listener: &TcpListener, number: u16) -> Connection {
    let balancer = send_header(site, number);
    let (server, client) = listener.accept().expect("a connection");
    assert_eq!(client, client_of(number));
    Connection { balancer, server }
}

fn client_of(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([198, 18, high, low], 40_000))
}

fn send_header(site: &Site, number: u16) -> TcpStream {
    let header = header::v2(client_of(number), socket_address(DESTINATION));
    open_and_send(site, &trusted_dial(80), &header)
}

#[test]
fn connections_beyond_the_table_are_refused_until_there_is_room() {
    let _alone = turn::alone();
    let site = Site::without_captures();
    let listener = site.net.server.enter(|| TcpListener::bind("10.77.1.1:80")).expect("a listener");
    let guard = Guard::ports(&[80]).hand_off(HandOff::Translate);
    let mut agent = Agent::start(&site, &guard.agent_setting(&format!("max_translated = {ROOM}")));
    let mut opened: Vec<_> = (0..ROOM).map(|number| open(&site, &listener, number)).collect();
    assert_eq!(agent.status().translated, u64::from(ROOM));

    let refused = send_header(&site, ROOM);
    assert!(is_reset(&refused));
    let peer = refused.local_addr().expect("a bound socket").to_string();
    assert_eq!(agent.wait_event("refuse", &peer)["reason"], "translation_table");
    opened.iter().for_each(Connection::exchange);

    // The server closes first: the place is needed for as long as TIME_WAIT lasts.
    let waiting = opened.pop().expect("a connection");
    drop(waiting.server);
    drop(waiting.balancer);
    eventually("TIME_WAIT at the server", || {
        (!site.net.server.run("ss -Htn state time-wait").is_empty()).then_some(())
    });
    assert!(is_reset(&send_header(&site, ROOM + 1)));

    // The load balancer closes first: the place is free at once.
    let ended = opened.pop().expect("a connection");
    drop(ended.balancer);
    drop(ended.server);
    agent.wait_counter("closed", 2);
    open(&site, &listener, ROOM + 2).exchange();
    opened.iter().for_each(Connection::exchange);
    site.finish(&mut agent, &[("translation_table", 2)]);
}
