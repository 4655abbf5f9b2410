//! `GET /v1/flows`: the flow table in pages, which may be filtered.

use anyhow::Result;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use ipnet::IpNet;
use proxyip_api::flow::{FlowPage, MAX_FLOWS};
use proxyip_api::health::ErrorJson;
use proxyip_common::flow::{FlowKey, FlowRecord};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::failure::Failure;
use crate::api::query;
use crate::api::state::{OfListener, Shared};
use crate::json;
use crate::tables::maps::Cursor;
use crate::tables::maps::FlowChunk;

/// Flows on a page.
const DEFAULT_LIMIT: u16 = 100;
/// A page ends when it has this many bytes: TLVs may be long.
const MAX_BYTES: usize = 1 << 20;
/// Entries of the table that one page scans at most, so that no page takes long.
pub(crate) const MAX_SCANNED: usize = 65_536;
/// Entries that are read at once.
const CHUNK: usize = 64;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// Only flows of clients in this network, or with this address.
    #[param(example = "203.0.113.0/24")]
    client: Option<String>,
    /// Only flows of this listener.
    listener: Option<String>,
    /// How many flows, from 1 to 1000; 100 if absent. A few more may come: what the table holds together comes together.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, default = 100)]
    limit: Option<String>,
    /// `next` of the page before; absent for the first.
    #[param(pattern = "^[0-9]+$")]
    cursor: Option<String>,
}

/// Live flows, in pages. A flow that lives while all pages are asked for comes exactly once.
#[utoipa::path(
    get, path = "/v1/flows", params(PageQuery), tag = "flows",
    responses(
        (status = 200, description = "A page", body = FlowPage),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 404, description = "No listener has this name", body = ErrorJson),
    )
)]
pub(crate) async fn flows(
    State(shared): State<Shared>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let limit = query::limit(query.limit.as_deref(), DEFAULT_LIMIT, MAX_FLOWS)?;
    let from = query::cursor(query.cursor.as_deref())?;
    let client = query.client.map(|text| query::network("client", &text)).transpose()?;
    let listener = query.listener.map(|name| shared.of_listener(&name)).transpose()?;
    let filter = Filter { client, listener };
    shared.page(move |shared| Ok(page(shared, &filter, limit, from)?)).await
}

struct Filter {
    client: Option<IpNet>,
    listener: Option<OfListener>,
}

impl Filter {
    /// Whether it takes all.
    const fn is_any(&self) -> bool {
        self.client.is_none() && self.listener.is_none()
    }

    fn takes(&self, key: &FlowKey, record: &FlowRecord) -> bool {
        let client = || record.client.0.to_socket_addr().ip();
        self.listener.as_ref().is_none_or(|listener| listener.takes(key, record))
            && self.client.is_none_or(|network| network.contains(&client()))
    }
}

/// A [`FlowPage`], written while the table is read.
fn page(shared: &Shared, filter: &Filter, limit: usize, from: Cursor) -> Result<Vec<u8>> {
    let mut text = br#"{"flows":["#.to_vec();
    let (mut cursor, mut found, mut scanned) = (Some(from), 0, 0);
    while let Some(from) = cursor
        && found < limit
        && scanned < MAX_SCANNED
        && text.len() < MAX_BYTES
    {
        let (chunk, about) = read(shared, filter, from, limit - found)?;
        for (key, record) in chunk.flows.iter().filter(|(key, record)| filter.takes(key, record)) {
            if found > 0 {
                text.push(b',');
            }
            json::write(&mut text, &shared.flows.live(key, record))?;
            found += 1;
        }
        scanned += about;
        cursor = chunk.next;
    }
    text.push(b']');
    if let Some(next) = cursor {
        text.extend(format!(r#","next":"{next}""#).into_bytes());
    }
    text.push(b'}');
    Ok(text)
}

/// The next part of the table, and about how many entries it has: no more than there is room for. Most filters take few
/// entries, so with a filter the part is larger, unless it takes more than there is room for.
fn read(shared: &Shared, filter: &Filter, from: Cursor, room: usize) -> Result<(FlowChunk, usize)> {
    if !filter.is_any() && room < CHUNK {
        let chunk = shared.source.flows(from, CHUNK)?;
        let taken = chunk.flows.iter().filter(|(key, record)| filter.takes(key, record)).count();
        if taken <= room {
            return Ok((chunk, CHUNK));
        }
    }
    let about = CHUNK.min(room);
    Ok((shared.source.flows(from, about)?, about))
}
