//! The places to answer are exchanged.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::api::leaving::Failures;
use crate::config::Access;

/// An agent that answers where `api` says.
fn start(api: &Api) -> (Server, Failures, Requests) {
    let (shared, requests) = shared(Maps { flows: 3, state: State::Good });
    let (server, failures) = Sockets::bind(api).unwrap().serve(shared).unwrap();
    (server, failures, requests)
}

fn change(server: &Server, old: &Api, new: &Api) {
    server.exchange(server.prepare(old, new).unwrap());
}

async fn is_alive(path: &Path) -> bool {
    client::get::<Value>(path, "/healthz").await.is_ok()
}

/// What a TCP address answers to a request for this name.
async fn status_over_tcp(address: SocketAddr, host: &str) -> Option<u16> {
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

/// The old rules may still hold for a connection that comes while they are exchanged.
async fn wait_status(address: SocketAddr, expected: Option<u16>) {
    for _ in 0..5 {
        if status_over_tcp(address, "agent.example").await == expected {
            return;
        }
    }
    panic!("{address} does not answer {expected:?}");
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn another_socket_is_answered_on_and_connections_to_the_old_one_are_finished() {
    let directory = tempfile::tempdir().unwrap();
    let [one, two] = ["one.sock", "two/two.sock"].map(|name| directory.path().join(name));
    let old = Api { socket: one.clone(), ..Api::default() };
    let new = Api { socket: two.clone(), ..old.clone() };
    let (server, mut failures, mut requests) = start(&old);
    // A request that is answered after the exchange, and a connection that asks nothing more.
    let asked = tokio::spawn({
        let one = one.clone();
        async move { client::request::<Reloaded>(&one, Method::POST, "/v1/reload").await }
    });
    let answer = requests.next().await;
    let mut idle = UnixStream::connect(&one).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");

    change(&server, &old, &new);
    assert!(is_alive(&two).await && !one.exists());
    assert!(two.with_file_name("lookup.sock").exists(), "it is beside the other one");
    assert!(!one.with_file_name("lookup.sock").exists());
    answer.send(Ok(vec!["odd".into()])).unwrap();
    assert_eq!(asked.await.unwrap().unwrap().0.warnings, ["odd"]);
    idle.read_to_end(&mut Vec::new()).await.unwrap();
    change(&server, &new, &old);
    assert!(is_alive(&one).await && !two.exists());
    let failed = tokio::time::timeout(std::time::Duration::from_millis(50), failures.first());
    assert!(failed.await.is_err(), "nobody has ended unasked");
}

#[tokio::test]
async fn lines_that_were_sent_to_the_old_lookup_socket_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let old = Api { socket: path("api.sock"), ..Api::default() };
    let new = Api { lookup_socket: Some(path("other.sock")), ..old.clone() };
    let (server, _failures, _requests) = start(&old);
    let mut asking = UnixStream::connect(path("lookup.sock")).await.unwrap();
    // It waits to be accepted or read when the socket is given up.
    asking.write_all(b"x\n").await.unwrap();
    change(&server, &old, &new);
    let mut answer = String::new();
    asking.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "! a line is PEER LOCAL, each IP:PORT or [IP]:PORT\n");
    let mut other = UnixStream::connect(path("other.sock")).await.unwrap();
    other.write_all(b"x\n").await.unwrap();
    other.read_exact(&mut [0; 2]).await.unwrap();
    assert!(UnixStream::connect(path("lookup.sock")).await.is_err());
    assert!(is_alive(&path("api.sock")).await, "it stays");
}

#[tokio::test]
async fn what_cannot_be_bound_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let old = Api { socket: path("api.sock"), ..Api::default() };
    let (server, _failures, _requests) = start(&old);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    std::fs::write(path("file"), "precious").unwrap();
    let closed = Access { mode: 0o600, group: None };
    let new = Api { socket: path("new.sock"), lookup_access: closed, ..old.clone() };
    for (new, part) in [
        (
            Api { http: Some(address), ..new.clone() },
            format!("cannot bind the API's TCP address {address}: Address already in use"),
        ),
        (Api { lookup_socket: Some(path("file")), ..new.clone() }, "no socket".into()),
        (Api { socket: path("lookup.sock"), ..old.clone() }, "the lookup socket must be".into()),
        (
            Api {
                socket: path("lookup.sock"),
                lookup_socket: Some(path("api.sock")),
                ..old.clone()
            },
            "it is the agent's other socket until the reload".into(),
        ),
    ] {
        let error = server.prepare(&old, &new).err().expect("it is refused");
        assert!(format!("{error:#}").contains(&part), "{error:#}");
        assert!(is_alive(&path("api.sock")).await);
        assert!(!path("new.sock").exists());
        let mode = std::fs::metadata(path("lookup.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    }
    assert_eq!(std::fs::read(path("file")).unwrap(), b"precious");
    // A prepared change that is not made.
    drop(server.prepare(&old, &new).unwrap());
    assert!(is_alive(&path("api.sock")).await && !path("new.sock").exists());
}

#[tokio::test]
async fn the_tcp_address_and_its_rules_are_exchanged() {
    let directory = tempfile::tempdir().unwrap();
    let none = Api { socket: directory.path().join("api.sock"), ..Api::default() };
    let (server, _failures, _requests) = start(&none);
    let address = free_port();
    let wide: SocketAddr = format!("0.0.0.0:{}", address.port()).parse().unwrap();
    let on = Api { http: Some(address), ..none.clone() };
    let remote = Api { http: Some(wide), http_remote: true, ..none.clone() };
    change(&server, &none, &on);
    assert_eq!(status_over_tcp(address, "localhost").await, Some(200));
    assert_eq!(status_over_tcp(address, "agent.example").await, Some(403));
    // It overlaps with the old one.
    change(&server, &on, &remote);
    wait_status(address, Some(200)).await;
    // The same address with other rules.
    let strict = Api { http_remote: false, ..remote.clone() };
    change(&server, &remote, &strict);
    wait_status(address, Some(403)).await;
    change(&server, &strict, &none);
    wait_status(address, None).await;
    std::net::TcpListener::bind(address).expect("nobody has the address");
}

#[tokio::test]
async fn a_socket_that_stays_gets_its_permissions_and_its_connections_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let old = Api { socket: path.clone(), ..Api::default() };
    let (server, _failures, _requests) = start(&old);
    let mut kept = UnixStream::connect(&path).await.unwrap();
    let closed = Access { mode: 0o600, group: None };
    let new = Api { socket_access: closed, lookup_access: closed, ..old.clone() };
    change(&server, &old, &new);
    for name in ["api.sock", "lookup.sock"] {
        let metadata = std::fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    kept.read_exact(&mut [0; 15]).await.unwrap();
    // Somebody removed its file: it is made again.
    std::fs::remove_file(&path).unwrap();
    change(&server, &new, &new);
    assert!(is_alive(&path).await);
}
