//! Draining over the socket, and what other answers say of it.

use std::sync::Mutex;

use hyper::Method;
use proxyip_api::drain::Drained;
use proxyip_api::health::IsReady;
use proxyip_api::status::Status;

use crate::api::tests::{Maps, State, refusal, with_api};
use crate::client;
use crate::reconcile::drain::{Drain, DrainError};
use crate::tables::drained::Change;

/// A table with so many flows has a drained port too.
pub(crate) const DRAINED: u32 = 77;

/// What is drained of the listener `web`, which has the port 443.
#[derive(Default)]
pub(crate) struct Taps(Mutex<Vec<u16>>);

impl Drain for Taps {
    fn drain(
        &self,
        listener: &str,
        port: Option<u16>,
        change: Change,
    ) -> Result<Drained, DrainError> {
        let listener = listener.to_owned();
        match (&*listener, port) {
            ("web", None | Some(443)) => {}
            ("web", Some(port)) => return Err(DrainError::NotGuarded { listener, port }),
            _ => return Err(DrainError::NoListener { name: listener, known: vec!["web".into()] }),
        }
        let mut ports = self.0.lock().unwrap();
        *ports = if change == Change::Drain { vec![443] } else { Vec::new() };
        Ok(Drained { listener, ports: ports.clone() })
    }
}

#[tokio::test]
async fn a_listener_is_drained_and_resumed() {
    with_api(Maps { flows: 0, state: State::Good }, async |path| {
        for (request, ports) in [
            ("/v1/listeners/web/drain", vec![443]),
            ("/v1/listeners/web/resume", vec![]),
            ("/v1/listeners/web/drain?port=443", vec![443]),
        ] {
            let answer = client::request::<Drained>(path, Method::POST, request).await;
            assert_eq!(answer.unwrap().0, Drained { listener: "web".into(), ports }, "{request}");
        }
        for (request, status, part) in [
            ("/v1/listeners/web/drain?port=80", 404, "does not guard port 80"),
            ("/v1/listeners/api/drain", 404, "no listener \"api\"; there are web"),
            ("/v1/listeners/web/drain?port=x", 400, "port"),
            ("/v1/listeners/web/drain?ports=443", 400, "ports"),
        ] {
            let (seen, sentence) = refusal(path, Method::POST, request).await;
            assert_eq!(seen, status, "{request}: {sentence}");
            assert!(sentence.contains(part), "{request}: {sentence}");
        }
        let (status, sentence) = refusal(path, Method::GET, "/v1/listeners/web/drain").await;
        assert_eq!((status, &*sentence), (405, "only POST is supported"));
    })
    .await;
}

#[tokio::test]
async fn each_answer_about_the_agent_names_what_is_drained() {
    with_api(Maps { flows: DRAINED, state: State::Good }, async |path| {
        let (ready, _) = client::get::<IsReady>(path, "/readyz").await.unwrap();
        assert_eq!(ready, IsReady { ready: true, drained: vec!["web".into()] });
        let (status, _) = client::get::<Status>(path, "/v1/status").await.unwrap();
        assert_eq!(status.listeners[0].drained, [443]);
        let found = status.findings.iter().filter(|found| found.contains("drained")).count();
        assert_eq!(found, 1, "{:?}", status.findings);
        let metrics = client::text(path, "/metrics").await.unwrap();
        assert!(
            metrics.contains("proxyip_listener_drained_ports{listener=\"web\"} 1\n"),
            "{metrics}"
        );
    })
    .await;
}
