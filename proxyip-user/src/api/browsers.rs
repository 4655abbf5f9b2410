//! What keeps web sites from asking the agent through the browser of somebody who can reach it.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::fail;

/// Says that only the agent's own page may use an answer.
pub(crate) const RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Whether requests must be for `localhost` or an address. Where others may ask, they may use any name; but nobody else
/// reaches a loopback address.
pub(crate) fn must_name_this_host(http_remote: bool, address: IpAddr) -> bool {
    !http_remote || address.to_canonical().is_loopback()
}

/// Refuses what a page of another site asks for. Its answer would be kept from that page, but the agent's work would be
/// done ([Fetch Metadata](https://www.w3.org/TR/fetch-metadata/)).
pub(crate) async fn refuse_other_sites(request: Request, next: Next) -> Response {
    if is_of_another_site(request.headers()) {
        let sentence = "a page of another site asks: only the agent's own page is answered";
        return fail(StatusCode::FORBIDDEN, sentence).into_response();
    }
    next.run(request).await
}

/// A browser names the site that asks. Other programs name none. Whoever follows a link sees what is asked for.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let value = |name| headers.get(name).map(axum::http::HeaderValue::as_bytes);
    let site = value("sec-fetch-site");
    let follows_a_link = value("sec-fetch-mode") == Some(b"navigate")
        && value("sec-fetch-dest") == Some(b"document");
    matches!(site, Some(b"cross-site" | b"same-site")) && !follows_a_link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_address_has_no_other_names() {
        for (http_remote, address, expected) in [
            (false, "127.0.0.1", true),
            (true, "127.0.0.1", true),
            (true, "::1", true),
            (true, "::ffff:127.0.0.1", true),
            (true, "10.77.1.1", false),
            (true, "::", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(must_name_this_host(http_remote, address), expected, "{address}");
        }
    }

    #[test]
    fn only_other_sites_are_refused() {
        for (site, mode, destination, refused) in [
            ("", "", "", false),
            ("none", "navigate", "document", false),
            ("same-origin", "cors", "empty", false),
            ("cross-site", "no-cors", "image", true),
            ("cross-site", "cors", "empty", true),
            ("cross-site", "navigate", "iframe", true),
            ("cross-site", "navigate", "document", false),
            ("same-site", "no-cors", "script", true),
            ("cross-site", "", "", true),
        ] {
            let mut headers = HeaderMap::new();
            let values = [
                ("sec-fetch-site", site),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", destination),
            ];
            for (name, value) in values.into_iter().filter(|(_, value)| !value.is_empty()) {
                headers.insert(name, value.parse().unwrap());
            }
            assert_eq!(is_of_another_site(&headers), refused, "{headers:?}");
        }
    }
}
