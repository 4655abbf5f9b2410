//! Pages of flows, and their clients.

use proxyip_api::flow::FlowPage;
use serde_json::{Value, json};

use crate::api::routes::flows::MAX_SCANNED;
use crate::api::tests::{LAST, Maps, State, with_api};
use crate::client;

#[tokio::test]
async fn all_pages_together_have_each_flow_once() {
    for flows in [0, 1, 5000] {
        with_api(Maps { flows, state: State::Good }, async |path| {
            let mut peers = Vec::new();
            let mut cursor = Some(String::new());
            while let Some(from) = cursor {
                let request = format!("/v1/flows?limit=999{from}");
                let (page, _) = client::get::<FlowPage>(path, &request).await.unwrap();
                assert!(page.flows.len() <= 1000, "a bucket more at most");
                peers.extend(page.flows.iter().map(|live| live.flow.peer.port()));
                cursor = page.next.map(|next| format!("&cursor={next}"));
            }
            assert_eq!(peers, (1..=u16::try_from(flows).unwrap()).collect::<Vec<_>>());
        })
        .await;
    }
}

#[tokio::test]
async fn pages_are_filtered() {
    with_api(Maps { flows: 3, state: State::Good }, async |path| {
        for (filter, expected) in [
            ("client=203.0.113.9", 3),
            ("client=::ffff:203.0.113.9", 3),
            ("client=203.0.113.0/24&listener=web", 3),
            ("client=203.0.113.10", 0),
            ("client=2001:db8::/32", 0),
        ] {
            let request = format!("/v1/flows?{filter}");
            let (page, _) = client::get::<FlowPage>(path, &request).await.unwrap();
            assert_eq!((page.flows.len(), page.next), (expected, None), "{filter}");
        }
        // As if a bucket had two.
        let request = "/v1/flows?client=203.0.113.0/24&limit=1";
        let (page, _) = client::get::<FlowPage>(path, request).await.unwrap();
        assert_eq!((page.flows.len(), page.next.is_some()), (2, true));
    })
    .await;
}

#[tokio::test]
async fn a_search_in_a_large_table_goes_on_with_the_next_page() {
    // The last of them is the client's, and behind what is looked at for one page.
    let flows = u32::try_from(MAX_SCANNED + 100).unwrap();
    with_api(Maps { flows, state: State::Good }, async |path| {
        let request = format!("/v1/flows?client={LAST}&limit=1");
        let (page, _) = client::get::<FlowPage>(path, &request).await.unwrap();
        assert_eq!(page.flows.len(), 0);
        let next = page.next.expect("the rest of the table");
        let request = format!("{request}&cursor={next}");
        let (page, _) = client::get::<FlowPage>(path, &request).await.unwrap();
        assert_eq!((page.flows.len(), page.next), (1, None));
    })
    .await;
}

#[tokio::test]
async fn clients_are_counted() {
    with_api(Maps { flows: 3, state: State::Good }, async |path| {
        let (clients, _) = client::get::<Value>(path, "/v1/clients?listener=web").await.unwrap();
        let one = json!({"client": "203.0.113.9", "flows": 3});
        assert_eq!(clients, json!({"clients": [one], "flows": 3, "sampled": false}));
    })
    .await;
}
