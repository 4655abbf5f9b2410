//! The flow table, page by page: it may have millions of entries, and no more than a page is held.

use std::path::Path;

use ipnet::IpNet;
use proxyip_api::flow::FlowPage;
use proxyip_api::flow::LiveFlow;

use crate::client::{self, ClientError, escaped};

/// Flows on a page.
const LIMIT: u16 = 1000;

/// Which flows are asked for.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    /// Of clients in this network.
    pub(super) client: Option<IpNet>,
    /// Of this listener.
    pub(super) listener: Option<&'a str>,
}

/// The pages that have not come yet.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    socket: &'a Path,
    request: String,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    Cursor(String),
    End,
}

impl<'a> Pages<'a> {
    pub(super) fn new(socket: &'a Path, query: &Query) -> Self {
        let client = query.client.map(|one| format!("&client={}", escaped(&one.to_string())));
        let listener = query.listener.map(|name| format!("&listener={}", escaped(name)));
        let (client, listener) = (client.unwrap_or_default(), listener.unwrap_or_default());
        let request = format!("/v1/flows?limit={LIMIT}{client}{listener}");
        Self { socket, request, next: Next::First }
    }

    /// The flows of one page, maybe none; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<LiveFlow>>, ClientError> {
        let request = match &self.next {
            Next::First => self.request.clone(),
            Next::Cursor(cursor) => format!("{}&cursor={}", self.request, escaped(cursor)),
            Next::End => return Ok(None),
        };
        let (page, _) = client::get::<FlowPage>(self.socket, &request).await?;
        self.next = page.next.map_or(Next::End, Next::Cursor);
        Ok(Some(page.flows))
    }
}
