//! `PostgreSQL`, which decides by the client's address.

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::Postgres;
use proxyip_tests::{Agent, Guard, HandOff, Site, address};

use crate::common::auto_and_translate;

auto_and_translate!(postgresql_admits_and_refuses_by_the_clients_own_address);

fn postgresql_admits_and_refuses_by_the_clients_own_address(hand_off: HandOff) {
    let site = Site::without_captures();
    let rules = format!("host all all {}/32 trust\n", address::CLIENT);
    let postgres = Postgres::start(&site, &rules);
    let _haproxy = HaProxy::start(&site, 5432, "10.77.1.1:5432", "send-proxy-v2");

    // Without proxyip the header is no startup packet.
    assert!(postgres.query(&site, address::FRONT, "select 1").is_err());
    let _ = postgres.log_line("connection received: host=10.77.1.2 ");
    let _ = postgres.log_line("invalid length of startup packet");

    let mut agent = Agent::start(&site, &Guard::ports(&[5432]).hand_off(hand_off));
    let query =
        "select inet_client_addr(), client_addr from pg_stat_activity where pid = pg_backend_pid()";
    let admitted = postgres.query(&site, address::FRONT, query);
    assert_eq!(admitted.as_deref(), Ok("203.0.113.9|203.0.113.9"));
    let _ = postgres.log_line("connection received: host=203.0.113.9 ");

    let refused = postgres.query(&site, address::FRONT_OTHER, query).expect_err("not admitted");
    assert!(refused.contains(r#"no pg_hba.conf entry for host "203.0.113.10""#), "{refused}");
    let _ = postgres.log_line("connection received: host=203.0.113.10 ");
    site.finish(&mut agent, &[]);
}
