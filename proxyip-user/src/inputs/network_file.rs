//! Files of networks, one or several per line.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ipnet::IpNet;

use crate::config::{self, Fault};

/// Of one file, in MiB.
const MAX_SIZE: u32 = 64;
/// Of one file.
const MAX_NETWORKS: usize = 1_000_000;
/// How many wrong items of a file are named.
const NAMED: usize = 5;
/// In bytes; a network is shorter in every notation.
const MAX_ITEM: usize = 64;

/// Why files of networks were not taken: each a [`Fault`] that names the file; displays as one line per fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct NetworkFileError(pub Vec<Fault>);

/// Reads a file of networks, each once and in the order of the file.
///
/// They are separated by commas and white space; a `#` begins a comment that lasts until the line's end.
///
/// # Errors
/// If the file cannot be read or is too large, or everything in it that is not a network.
pub fn read_networks(path: &Path) -> Result<Vec<IpNet>, NetworkFileError> {
    let located = |(line, fault)| Fault::InFile { path: path.into(), line, fault: Box::new(fault) };
    bytes(path)
        .map_err(|fault| vec![(None, fault)])
        .and_then(|bytes| parse(&String::from_utf8_lossy(&bytes), MAX_NETWORKS))
        .map_err(|faults| NetworkFileError(faults.into_iter().map(located).collect()))
}

fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let limit = u64::from(MAX_SIZE) << 20;
    let mut bytes = Vec::new();
    regular_file(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| Fault::Unreadable(error.to_string()))?;
    if bytes.len() as u64 > limit { Err(Fault::TooLarge(MAX_SIZE)) } else { Ok(bytes) }
}

/// Opens a regular file. Refuses files that can block the reader, for example a FIFO.
fn regular_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// What is wrong comes with its line, unless it is the file as a whole.
pub(super) fn parse(text: &str, most: usize) -> Result<Vec<IpNet>, Vec<(Option<usize>, Fault)>> {
    let mut seen = HashSet::new();
    let mut networks = Vec::new();
    let mut faults = Vec::new();
    let mut more = 0;
    for (line, item) in items(text) {
        match network(item) {
            Ok(network) => {
                if seen.insert(network) {
                    networks.push(network);
                }
            }
            Err(fault) if faults.len() < NAMED => faults.push((Some(line), fault)),
            Err(_) => more += 1,
        }
        // What follows does not matter any more, and would take memory.
        if networks.len() > most {
            break;
        }
    }
    if more > 0 {
        faults.push((None, Fault::More(more)));
    }
    if networks.len() > most {
        faults.push((None, Fault::TooManyNetworks(most)));
    }
    if faults.is_empty() { Ok(networks) } else { Err(faults) }
}

/// What is between separators and outside comments, with its line counted from 1.
fn items(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Editors on Windows put a byte order mark there.
    let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    (1..).zip(lines).flat_map(|(number, line)| {
        let items = line.split_once('#').map_or(line, |(items, _)| items);
        items
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|item| !item.is_empty())
            .map(move |item| (number, item))
    })
}

fn network(item: &str) -> Result<IpNet, Fault> {
    if item.len() > MAX_ITEM {
        let beginning: String = item.chars().take(MAX_ITEM).collect();
        return Err(Fault::NotANetwork(beginning + "…"));
    }
    config::network(item)
}
