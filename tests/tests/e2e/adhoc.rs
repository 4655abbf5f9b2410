use crate::common::*;
use proxyip_tests::balancers::*;
use proxyip_tests::servers::*;
use proxyip_tests::*;
use std::io::Write;
#[test]
fn ssh_and_pg() {
    let site = Site::new();
    let sshd = Sshd::start(&site);
    let _h = HaProxy::start(&site, 22, "10.77.1.1:22", "");
    eprintln!("{}", sshd.log_in(&site, address::FRONT, "echo $SSH_CLIENT"));
    eprintln!("{}", sshd.connection_from(1));
    let pg = Postgres::start(&site, "host all all 10.77.1.2/32 trust\n");
    let _h2 = HaProxy::start(&site, 5432, "10.77.1.1:5432", "");
    let query =
        "select inet_client_addr(), client_addr from pg_stat_activity where pid = pg_backend_pid()";
    eprintln!("{:?}", pg.query(&site, address::FRONT, query));
    eprintln!("{}", pg.log_line("connection received"));
    let _h3 = HaProxy::start(&site, 5433, "10.77.1.1:5432", "source 10.77.1.3");
    site.assert_clean();
}
#[test]
fn raw() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut peer = RawPeer::new(&site, 4000, 80);
    eprintln!("{:?}", peer.open(&[]));
    peer.send(RawPeer::ACK | RawPeer::PSH, &[], b"who am I?\n");
    eprintln!("{:?}", String::from_utf8(peer.receive_payload()));
    peer.send(RawPeer::ACK | RawPeer::PSH, &[], b"next");
    assert_eq!(peer.receive_payload(), b"next");
    peer.send(RawPeer::FIN | RawPeer::ACK, &[], &[]);
    site.assert_clean();
}
#[test]
fn gso() {
    for offloads in [
        Offloads { checksums: true, segmentation: true, merging: false },
        Offloads { merging: true, ..Offloads::NONE },
        Offloads { checksums: true, segmentation: true, merging: true },
        Offloads { checksums: true, segmentation: false, merging: true },
    ] {
        let site = Site::with(&Plan { offloads, ..Plan::default() });
        let _echo = EchoServer::start(&site.net.server, "::", 80);
        site.net.balancer.ip("route replace 10.77.1.0/24 dev eth1 src 10.77.1.2 initcwnd 60");
        site.net.balancer.ip("-6 route replace fd00:77:1::/64 dev eth1 metric 256 initcwnd 60");
        let whole = Capture::start(&site.scratch, &site.net.server, "eth0", Directions::Both);
        for dial in [trusted_dial(80), trusted_dial6(80)] {
            let b = pattern(60_000);
            let s = open_and_send(&site, &dial, &[b"who am I?\n".to_vec(), b.clone()].concat());
            s.shutdown(std::net::Shutdown::Write).unwrap();
            expect_names(&s);
            assert_same(&read_rest(&s), &b);
        }
        whole.stop();
        eprintln!(
            "{offloads:?} {:?}",
            whole.fields("tcp.dstport == 80 && tcp.seq == 1 && tcp.len > 0", &["tcp.len"])
        );
        site.assert_clean();
    }
}
#[test]
fn super_segment() {
    let offloads = Offloads { checksums: true, segmentation: true, merging: false };
    let site = Site::with(&Plan { offloads, ..Plan::default() });
    let capture = Capture::start(&site.scratch, &site.net.server, "eth0", Directions::Both);
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut peer = RawPeer::new(&site, 4000, 80);
    peer.open(&[2, 4, 0x05, 0xb4]);
    let payload = pattern(60_000);
    peer.send_super_segment(&site, &[b"who am I?\n", payload.as_slice()].concat(), 1460);
    let mut received = Vec::new();
    while received.len() < 60_000 {
        received.extend(peer.receive_payload());
        peer.send(RawPeer::ACK, &[], &[]);
    }
    peer.send(RawPeer::FIN | RawPeer::ACK, &[], &[]);
    capture.stop();
    eprintln!("super {}", capture.count("tcp.len == 60010"));
    assert_eq!(
        &received[received.len() - 50_000..],
        &payload[10_000
            - (60_000 + received.iter().position(|b| *b == b'\n').unwrap() + 1 - received.len())..]
            [..50_000]
    );
    site.assert_clean();
}
#[test]
fn fin() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    let s = trusted_dial(80).open(&site.net.balancer);
    let socket = socket2::SockRef::from(&s);
    socket.set_tcp_nodelay(false).unwrap();
    socket.send_with_flags(b"who am I?\n", libc::MSG_MORE).unwrap();
    s.shutdown(std::net::Shutdown::Write).unwrap();
    expect_names(&s);
    read_rest(&s);
    site.stop_captures();
    eprintln!("fin: {}", site.balancer_capture().count("tcp.len == 10 && tcp.flags.fin == 1"));
}
#[test]
fn lost() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let balancer = &site.net.balancer;
    let once = "-m statistic --mode nth --every 1000000 --packet 0 -j DROP";
    balancer.run(&format!("iptables -A INPUT -p tcp --tcp-flags SYN,ACK SYN,ACK {once}"));
    balancer.run(&format!("iptables -A OUTPUT -p tcp --dport 80 --tcp-flags PSH PSH {once}"));
    let t = std::time::Instant::now();
    let s = trusted_dial(80).open(balancer);
    eprintln!("connected after {:?}", t.elapsed());
    ask_names(&s);
    eprintln!("retrans {}", balancer.statistic("Tcp", "RetransSegs"));
    for e in [balancer, &site.net.server] {
        e.run("iptables -A INPUT -p tcp -m statistic --mode random --probability 0.02 -j DROP");
    }
    let t = std::time::Instant::now();
    assert_echoed(&s, &pattern(1_000_000));
    eprintln!("1 MB with loss {:?}", t.elapsed());
    eprintln!(
        "retrans {} {}",
        balancer.statistic("Tcp", "RetransSegs"),
        site.net.server.statistic("Tcp", "RetransSegs")
    );
    site.assert_clean();
}
#[test]
fn timewait() {
    let site = Site::new();
    let _ruby = RubyEcho::start(&site, address::SERVER, 7);
    let dial = Dial::to(address::SERVER, 7).from(address::BALANCER, 5000);
    for _ in 0..2 {
        let stream = open_and_send(&site, &dial, b"hello\n");
        eprintln!("{}", read_line(&stream));
        assert_eq!(proxyip_tests::read_rest(&stream), b"");
        drop(stream);
        std::thread::sleep(std::time::Duration::from_millis(100));
        eprintln!("tw {}", site.net.server.run("ss -Htn state time-wait"));
    }
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let dial = trusted_dial(80).from(address::BALANCER, 5000);
    let s = dial.open(&site.net.balancer);
    ask_names(&s);
    crate::kernel::close_in_silence(s);
    let t = std::time::Instant::now();
    let s = dial.open(&site.net.balancer);
    eprintln!("again after {:?}", t.elapsed());
    ask_names(&s);
    let mut s2 = trusted_dial(81).attempt(&site.net.balancer).unwrap_err();
    let _ = &mut s2;
    eprintln!("{s2}");
}
#[test]
fn load() {
    let site = Site::new();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let _haproxy = HaProxy::start(&site, 80, "10.77.1.1:80", "");
    site.net.client.ip("route add local 198.18.0.0/16 dev lo");
    site.net.balancer.ip("route add 198.18.0.0/16 via 203.0.113.9 dev eth0");
    let next = std::sync::atomic::AtomicUsize::new(0);
    let t = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                site.net.client.enter(|| {
                    loop {
                        let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if number >= 10000 {
                            return;
                        }
                        let client = format!("198.18.{}.{}", number / 250, number % 250 + 1);
                        let s =
                            Dial::to(address::FRONT, 80).from(&client, 0).attempt_here().unwrap();
                        ask_names(&s);
                    }
                })
            });
        }
    });
    eprintln!("10000 in {:?}", t.elapsed());
    let t = std::time::Instant::now();
    site.assert_clean();
    eprintln!("checked in {:?}", t.elapsed());
}
#[test]
fn mss() {
    let site = Site::with(&Plan { mtu: 9001, ..Plan::default() });
    site.net.server.ip("route replace 10.77.1.0/24 dev eth0 src 10.77.1.1 mtu 1400");
    site.net.server.ip("-6 route replace fd00:77:1::/64 dev eth0 metric 256 mtu 1400");
    let _echo = EchoServer::start(&site.net.server, "::", 80);
    eprintln!("{:?}", crate::syn_ack::offer_to(&site, &trusted_dial(80).open(&site.net.balancer)));
    eprintln!("{:?}", crate::syn_ack::offer_to(&site, &trusted_dial6(80).open(&site.net.balancer)));
    site.net.server.ip("route replace 10.77.1.0/24 dev eth0 src 10.77.1.1");
    eprintln!("{:?}", crate::syn_ack::offer_to(&site, &trusted_dial(80).open(&site.net.balancer)));
    site.net.set_mtu(4000);
    eprintln!("{:?}", crate::syn_ack::offer_to(&site, &trusted_dial(80).open(&site.net.balancer)));
    site.net.server.sysctl("ipv4.tcp_timestamps", "0");
    site.net.balancer.sysctl("ipv4.tcp_sack", "0");
    eprintln!("{:?}", crate::syn_ack::offer_to(&site, &trusted_dial(80).open(&site.net.balancer)));
    let s = trusted_dial(80).open(&site.net.balancer);
    s.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = (&s).write_all(b"");
}
