//! A load balancer on the server's own host, as after its virtual address has moved there: it connects over `lo`.

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Dial, Guard, HandOff, Site, address};

use crate::common::{
    CLIENT, ask_names, assert_both, assert_echoed, auto_and_translate, exchange, header_of_client,
    on_ipv6_socket, pattern, trusted_dial,
};

auto_and_translate!(headers_come_over_the_wire_and_over_the_own_host);

fn headers_come_over_the_wire_and_over_the_own_host(hand_off: HandOff) {
    let site = Site::without_captures();
    let server = &site.net.server;
    let _echo = EchoServer::start(server, "::", 80);
    let guard = Guard::ports(&[80]).interface_setting("[[interface]]\nname = \"lo\"");
    let guard =
        guard.hand_off(hand_off).also_trusting("10.77.1.1/32").also_trusting("fd00:77:1::1/128");
    let mut agent = Agent::start(&site, &guard);
    let client = on_ipv6_socket(CLIENT);
    let own = [address::SERVER, address::SERVER6].map(|own| Dial::to(own, 80).from(own, 0));
    for (from, dial) in
        [(&site.net.balancer, &trusted_dial(80)), (server, &own[0]), (server, &own[1])]
    {
        let stream = dial.open(from);
        std::io::Write::write_all(&mut &stream, &header_of_client()).expect("cannot send");
        assert_both(ask_names(&stream), client);
        assert_echoed(&stream, &pattern(100_000));
    }
    // Local programs connect from other addresses, and send no header.
    for local in ["127.0.0.1", "::1"] {
        let stream = Dial::to(local, 80).open(server);
        let own = stream.local_addr().expect("a bound socket").to_string();
        assert_both(ask_names(&stream), on_ipv6_socket(&own));
        exchange(&stream);
    }
    site.finish(&mut agent, &[]);
}
