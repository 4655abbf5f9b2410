//! Pages of a fake agent.

use std::path::{Path, PathBuf};

use axum::extract::RawQuery;
use axum::routing::get;
use axum::{Json, Router};
use proxyip_api::flow::FlowPage;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::*;
use crate::flowlog::flows::tests::{flows, key, record};

fn flow(port: u16) -> LiveFlow {
    let flow = flows().describe(&key(&format!("10.0.0.2:{port}")), &record());
    LiveFlow { flow, established: "2026-11-20T20:50:01.123Z".into() }
}

/// Answers with three pages; the second has no flows; refuses any other request.
async fn answer(RawQuery(query): RawQuery) -> Json<Value> {
    let filter = "limit=1000&client=203%2E0%2E113%2E0%2F24&listener=a%26b";
    let query = query.unwrap_or_default();
    let page = |flows, next: Option<&str>| {
        let page = FlowPage { flows, next: next.map(Into::into) };
        Json(serde_json::to_value(page).unwrap())
    };
    match query.strip_prefix(filter) {
        Some("") => page(vec![flow(1), flow(2)], Some("7")),
        Some("&cursor=7") => page(vec![], Some("9")),
        Some("&cursor=9") => page(vec![flow(3)], None),
        _ => Json(json!({"error": query})),
    }
}

/// Its socket, and the directory that it is in.
fn serve() -> (PathBuf, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let router = Router::new().route("/v1/flows", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (socket, directory)
}

fn pages(socket: &Path) -> Pages<'_> {
    let client = Some("203.0.113.0/24".parse().unwrap());
    Pages::new(socket, &Query { client, listener: Some("a&b") })
}

#[tokio::test]
async fn all_pages_come_and_filters_go_with_each() {
    let (socket, _directory) = serve();
    let mut pages = pages(&socket);
    let (mut ports, mut count) = (Vec::new(), 0);
    while let Some(flows) = pages.next().await.unwrap() {
        ports.extend(flows.iter().map(|flow| flow.flow.peer.port()));
        count += 1;
    }
    assert_eq!((ports, count), (vec![1, 2, 3], 3));
    assert!(pages.next().await.unwrap().is_none());
}

#[test]
fn pages_make_one_array() {
    let mut separator = "[";
    let text = [vec![], vec![flow(1), flow(2)], vec![], vec![flow(3)]]
        .map(|page| elements(&page, &mut separator).unwrap())
        .concat();
    let array: Vec<LiveFlow> = serde_json::from_slice(&[&text[..], b"]"].concat()).unwrap();
    assert_eq!(array, [flow(1), flow(2), flow(3)]);
}

#[test]
fn columns_are_aligned() {
    let now = "2026-11-20T20:55:13Z".parse().unwrap();
    let head = DEFAULT.iter().map(|column| column.head()).collect();
    let text = Table::default().align(&[head, row(&DEFAULT, &flow(1), now)]);
    assert_eq!(
        text,
        "CLIENT             PEER        LOCAL         DESTINATION    LISTENER  ORIGIN   VERSION  AGE\n\
         203.0.113.9:51234  10.0.0.2:1  10.0.1.2:443  192.0.2.1:443  web       proxied  v2       5m12s\n"
    );
    let columns = [Column::HandOff, Column::Peer];
    assert_eq!(row(&columns, &flow(1), now), ["translate", "10.0.0.2:1"]);
}

#[test]
fn lines_are_cut_off_where_the_terminal_ends() {
    let text = || "CLIENT  PEER\nä  b\n".to_owned();
    assert_eq!(Room { columns: 3, lines: 9 }.crop(text()), "CLI\nä  \n");
    assert_eq!(Room::UNLIMITED.crop(text()), text());
}
