//! `GET /`: the page, which asks this API from the reader's browser.

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use proxyip_common::counter::{Counter, DropReason, Obstacle};
use serde_json::{Map, Value, json};

use crate::api::failure::fail;
use crate::api::state::Shared;

const TEMPLATE: &str = include_str!("page.html");

pub(crate) fn routes() -> Router<Shared> {
    Router::new().route("/", get(page))
}

/// The page. The browser runs and applies only what carries this answer's own nonce. So nothing that a client of the
/// load balancer writes into a header can run.
pub(crate) async fn page() -> Response {
    let mut nonce = [0; 16];
    if let Err(error) = getrandom::fill(&mut nonce) {
        let sentence = format!("there are no random numbers: {error}");
        return fail(StatusCode::INTERNAL_SERVER_ERROR, sentence).into_response();
    }
    let nonce = format!("{:032x}", u128::from_be_bytes(nonce));
    let headers =
        [(CONTENT_SECURITY_POLICY, policy(&nonce)), (REFERRER_POLICY, "no-referrer".into())];
    (headers, Html(fill_in(&nonce))).into_response()
}

fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

fn fill_in(nonce: &str) -> String {
    TEMPLATE.replace("{{nonce}}", nonce).replace("{{sentences}}", &sentences())
}

/// What the labels of the status mean, as JSON for a `<script>`.
fn sentences() -> String {
    let sentences = json!({
        "counters": by_label(Counter::ALL, Counter::label, Counter::sentence),
        "drops": by_label(DropReason::ALL, DropReason::label, DropReason::sentence),
        "left_to_kernel": by_label(Obstacle::ALL, Obstacle::label, Obstacle::sentence),
    });
    // The end of the script is found before JSON is read.
    sentences.to_string().replace('<', "\\u003c")
}

fn by_label<T: Copy>(
    all: &[T],
    label: impl Fn(T) -> &'static str,
    sentence: impl Fn(T) -> &'static str,
) -> Map<String, Value> {
    all.iter().map(|one| (label(*one).into(), sentence(*one).into())).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn answer() -> (String, String) {
        let answer = page().await;
        assert_eq!(answer.status(), StatusCode::OK);
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (policy, String::from_utf8(body.to_vec()).unwrap())
    }

    fn nonce_of(policy: &str) -> &str {
        policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap()
    }

    #[tokio::test]
    async fn scripts_and_styles_carry_the_nonce_of_the_policy() {
        let (policy, html) = answer().await;
        let nonce = nonce_of(&policy);
        assert_eq!(nonce.len(), 32);
        assert!(policy.contains(&format!("style-src 'nonce-{nonce}'")), "{policy}");
        let carries = format!("nonce=\"{nonce}\">");
        for tag in
            html.split('<').filter(|tag| tag.starts_with("script") || tag.starts_with("style"))
        {
            let tag = &tag[..=tag.find('>').unwrap()];
            assert!(tag.ends_with(&carries), "{tag}");
        }
        assert!(!html.contains("{{"), "a token is left");
    }

    #[tokio::test]
    async fn every_answer_has_its_own_nonce() {
        let (one, other) = (answer().await.0, answer().await.0);
        assert_ne!(nonce_of(&one), nonce_of(&other));
    }

    /// The policy would refuse them, and the page would be without.
    #[test]
    fn nothing_needs_what_the_policy_forbids() {
        for forbidden in [
            " style=",
            " onclick=",
            " onload=",
            "src=\"http",
            "href=\"http",
            "@import",
            "innerHTML",
            "eval(",
        ] {
            assert!(!TEMPLATE.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn every_label_has_its_sentence() {
        let sentences: Value = serde_json::from_str(&sentences()).unwrap();
        assert_eq!(sentences["drops"]["v2_checksum"], DropReason::V2Checksum.sentence());
        assert_eq!(sentences["counters"].as_object().unwrap().len(), Counter::ALL.len());
        assert_eq!(sentences["left_to_kernel"].as_object().unwrap().len(), Obstacle::ALL.len());
    }
}
