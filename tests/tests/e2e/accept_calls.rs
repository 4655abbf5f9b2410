//! Every system call that names the peer.

use proxyip_tests::servers::{AcceptCall, EchoServer};
use proxyip_tests::{Agent, Guard, HandOff, Site, address};

use crate::common::{
    CLIENT, CLIENT6, ask_names, assert_both, auto_and_translate, header_of_client,
    header_of_client6, open_and_send, socket_address, trusted_dial, trusted_dial6,
};

auto_and_translate!(accept_accept4_io_uring_and_getpeername_name_the_client);

/// Each connection's answer holds what the call returned and what `getpeername()` says.
fn accept_accept4_io_uring_and_getpeername_name_the_client(hand_off: HandOff) {
    let site = Site::new();
    let server = &site.net.server;
    let calls = [(80, AcceptCall::Accept), (81, AcceptCall::Accept4), (82, AcceptCall::IoUring)];
    let _echoes = calls.map(|(port, call)| {
        let ipv4 = EchoServer::accepting(server, address::SERVER, port, call);
        (ipv4, EchoServer::accepting(server, address::SERVER6, port, call))
    });
    let mut agent = Agent::start(&site, &Guard::ports(&[80, 81, 82]).hand_off(hand_off));
    for (port, call) in calls {
        eprintln!("{call:?}");
        let stream = open_and_send(&site, &trusted_dial(port), &header_of_client());
        assert_both(ask_names(&stream), socket_address(CLIENT));
        let stream = open_and_send(&site, &trusted_dial6(port), &header_of_client6());
        assert_both(ask_names(&stream), socket_address(CLIENT6));
    }
    site.finish(&mut agent, &[]);
}
