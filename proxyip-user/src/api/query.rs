//! Parameters of requests, and what is said of wrong ones.

use std::net::IpAddr;

use axum::http::StatusCode;
use ipnet::IpNet;

use super::failure::fail;
use crate::api::failure::Failure;
use crate::config;
use crate::tables::maps::Cursor;

fn wrong(sentence: impl std::fmt::Display) -> Failure {
    fail(StatusCode::BAD_REQUEST, sentence)
}

/// How much is asked for: from 1 to `most`.
pub(crate) fn limit(text: Option<&str>, default: u16, most: u16) -> Result<usize, Failure> {
    let Some(text) = text else { return Ok(default.into()) };
    let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
    let limit = limit
        .ok_or_else(|| wrong(format!("limit must be a number from 1 to {most}, not {text:?}")))?;
    Ok(limit.into())
}

/// Where a page begins.
pub(crate) fn cursor(text: Option<&str>) -> Result<Cursor, Failure> {
    let Some(text) = text else { return Ok(0) };
    let sentence = || format!("cursor must be `next` of the page before, not {text:?}");
    text.parse().map_err(|_| wrong(sentence()))
}

/// A network, or an address alone.
pub(crate) fn network(name: &str, text: &str) -> Result<IpNet, Failure> {
    config::network_or_address(text).map_err(|fault| wrong(format!("{name}: {fault}")))
}

/// An address.
pub(crate) fn address(name: &str, text: &str) -> Result<IpAddr, Failure> {
    let address = text.parse::<IpAddr>();
    let sentence = || format!("{name} must be an address such as 203.0.113.9, not {text:?}");
    Ok(address.map_err(|_| wrong(sentence()))?.to_canonical())
}
