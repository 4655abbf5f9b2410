//! The demonstration: a client, a load balancer and a server, before and after proxyip.

use std::io::Write;
use std::net::TcpStream;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use proxyip_tests::balancers::HaProxy;
use proxyip_tests::servers::{Nginx, RubyEcho};
use proxyip_tests::{
    Agent, Dial, Guard, Site, address, curl, eventually, read_line, remove_everything,
    remove_everything_on_signals, use_agent_binary,
};

/// Width of the table's columns, characters.
const LABEL: usize = 18;
const COLUMN: usize = 46;

fn main() -> ExitCode {
    let Some(binary) = std::env::args_os().nth(1).map(PathBuf::from).filter(|path| path.is_file())
    else {
        eprintln!("usage: demo PROXYIP (the path of the program)");
        return ExitCode::from(2);
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("the demo makes network namespaces and loads kernel programs: run it as root");
        return ExitCode::FAILURE;
    }
    use_agent_binary(binary);
    remove_everything_on_signals("the demo");
    let start = Instant::now();
    // A panic has printed its message, and dropping the fixtures has removed what they made.
    let outcome = panic::catch_unwind(demonstrate);
    remove_everything();
    if outcome.is_err() {
        eprintln!("the demo failed; all that it made is removed");
        return ExitCode::FAILURE;
    }
    println!(
        "\nDone in {:.0} s; all that the demo made is removed.",
        start.elapsed().as_secs_f32()
    );
    ExitCode::SUCCESS
}

fn demonstrate() {
    println!(
        "client {} ── HAProxy {} with send-proxy-v2 ── server {}: nginx and a Ruby echo server.\n\
         Neither server knows the PROXY protocol; each machine is a network namespace.\n",
        address::CLIENT,
        address::FRONT,
        address::SERVER,
    );
    let site = Site::without_captures();
    let nginx = Nginx::plain(&site, 80);
    let _rubies = [
        RubyEcho::start(&site, address::SERVER, 7000),
        RubyEcho::start(&site, address::SERVER6, 7006),
    ];
    let _balancers = [
        HaProxy::start(&site, 80, "10.77.1.1:80", "send-proxy-v2"),
        HaProxy::start(&site, 8006, "fd00:77:1::1:80", "send-proxy-v2"),
        HaProxy::start(&site, 7000, "10.77.1.1:7000", "send-proxy-v2"),
        HaProxy::start(&site, 7006, "fd00:77:1::1:7006", "send-proxy-v2"),
    ];

    let before = observe(&site, &nginx);
    let agent = Agent::start(&site, &Guard::ports(&[80, 7000, 7006]));
    let after = observe(&site, &nginx);
    print_row("", "BEFORE", "AFTER: proxyip runs on the server");
    for (before, after) in before.iter().zip(&after) {
        println!("\n{}", before.title);
        for ((label, before), (_, after)) in before.rows.iter().zip(&after.rows) {
            print_row(label, before, after);
        }
    }
    show_live_connection(&site, &agent);
}

/// One block of the table: what the client asked one server, and what came of it.
struct Observation {
    title: &'static str,
    rows: Vec<(&'static str, String)>,
}

fn observe(site: &Site, nginx: &Nginx) -> [Observation; 4] {
    [
        ask_nginx(site, nginx, "nginx, IPv4", "http://203.0.113.1/"),
        ask_nginx(site, nginx, "nginx, IPv6", "http://[2001:db8:c::1]:8006/"),
        ask_ruby(site, "Ruby echo server, IPv4", address::FRONT, 7000),
        ask_ruby(site, "Ruby echo server, IPv6", address::FRONT6, 7006),
    ]
}

fn ask_nginx(site: &Site, nginx: &Nginx, title: &'static str, url: &str) -> Observation {
    let known = nginx.access_log().len();
    let fetched = curl(site, &[url]);
    let line = nginx.access_log_line(known + 1);
    let client = fetched.client.map_or_else(String::new, |client| client.to_string());
    let answer = match (fetched.status, fetched.body.lines().next()) {
        (200, _) => "200 OK".to_owned(),
        // nginx refuses before it has seen a request: the answer is bare HTML.
        (_, Some(text)) => text.replace("<html>", "400 Bad Request"),
        (_, None) => "400 Bad Request".to_owned(),
    };
    let rows = vec![
        ("client", client),
        ("asked for", url.to_owned()),
        ("nginx answered", answer),
        ("nginx logged", line),
    ];
    Observation { title, rows }
}

fn ask_ruby(site: &Site, title: &'static str, front: &str, port: u16) -> Observation {
    let mut stream = Dial::to(front, port).open(&site.net.client);
    stream.write_all(b"hello\n").expect("cannot send");
    let client = stream.local_addr().expect("a bound socket").to_string();
    let answer = read_line(&stream);
    let mut words = answer.splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default().to_owned();
    let peer = format!("{} {}", next(), next());
    let rows = vec![
        ("client", client),
        ("sent the line", r#""hello\n""#.to_owned()),
        ("peeraddr", peer),
        ("gets returned", next()),
    ];
    Observation { title, rows }
}

fn show_live_connection(site: &Site, agent: &Agent) {
    let stream: TcpStream = Dial::to(address::FRONT, 7000).open(&site.net.client);
    let client = stream.local_addr().expect("a bound socket");
    let live = eventually("the connection among the flows", || {
        agent.flows().into_iter().find(|live| live.flow.client == client)
    });
    let (peer, local) = (live.flow.peer.to_string(), live.flow.local.to_string());
    println!("\nA connection that is open now:");
    for arguments in [["flows"].as_slice(), &["lookup", &peer, &local]] {
        let answer = agent.ask(arguments);
        println!("\n$ proxyip {}\n{}", arguments.join(" "), answer.stdout);
    }
}

fn print_row(label: &str, before: &str, after: &str) {
    println!("  {label:LABEL$}{:COLUMN$}{}", shortened(before), shortened(after));
}

fn shortened(text: &str) -> String {
    if text.chars().count() < COLUMN {
        return text.to_owned();
    }
    text.chars().take(COLUMN - 2).chain(['…']).collect()
}
