//! `GET /v1/clients`: who has most connections.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::Result;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use proxyip_api::clients::{ClientCount, Clients};
use proxyip_api::flow::MAX_FLOWS;
use proxyip_api::health::ErrorJson;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::failure::Failure;
use crate::api::query;
use crate::api::state::{OfListener, Shared};

const DEFAULT_LIMIT: u16 = 10;
/// How many flows are counted. They are in the first buckets of a keyed hash table, which makes them a fair sample.
const SAMPLE: usize = 262_144;
/// Entries that are read at once.
const CHUNK: usize = 4096;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientsQuery {
    /// How many clients, from 1 to 1000; 10 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000, default = 10)]
    limit: Option<String>,
    /// Only flows of this listener.
    listener: Option<String>,
}

/// The clients with most live flows.
#[utoipa::path(
    get, path = "/v1/clients", params(ClientsQuery), tag = "flows",
    responses(
        (status = 200, description = "Clients, those with most flows first", body = Clients),
        (status = 400, description = "A parameter is wrong", body = ErrorJson),
        (status = 404, description = "No listener has this name", body = ErrorJson),
    )
)]
pub(crate) async fn clients(
    State(shared): State<Shared>,
    query: Result<Query<ClientsQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(query) = query?;
    let limit = query::limit(query.limit.as_deref(), DEFAULT_LIMIT, MAX_FLOWS)?;
    let listener = query.listener.map(|name| shared.of_listener(&name)).transpose()?;
    shared.json(move |shared| Ok(count(shared, listener.as_ref(), limit)?)).await
}

fn count(shared: &Shared, listener: Option<&OfListener>, limit: usize) -> Result<Clients> {
    let mut counts = HashMap::<IpAddr, u64>::new();
    let (mut cursor, mut seen) = (Some(0), 0);
    while let Some(from) = cursor
        && seen < SAMPLE
    {
        let chunk = shared.source.flows(from, CHUNK)?;
        seen += chunk.flows.len();
        for (key, record) in chunk.flows {
            if listener.is_none_or(|listener| listener.takes(&key, &record)) {
                *counts.entry(record.client.0.to_socket_addr().ip()).or_default() += 1;
            }
        }
        cursor = chunk.next;
    }
    let flows = counts.values().sum();
    let mut clients: Vec<_> = counts.into_iter().collect();
    clients.sort_unstable_by_key(|(client, flows)| (std::cmp::Reverse(*flows), *client));
    clients.truncate(limit);
    let clients = clients.into_iter().map(|(client, flows)| ClientCount { client, flows });
    Ok(Clients { clients: clients.collect(), flows, sampled: cursor.is_some() })
}
