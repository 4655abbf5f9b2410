//! The flow log, read while it grows.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;

use proxyip_tests::{Site, eventually};
use serde_json::Value;

/// The place in the log up to which it has been read.
pub(crate) struct FlowLog {
    reader: BufReader<File>,
    /// Begun, and not yet ended.
    line: String,
    /// Clients of the time around the last end of an agent. Their lines may come late, or never.
    excused: HashSet<SocketAddr>,
}

impl FlowLog {
    /// That of this site's agents, which are started one after the other.
    pub(crate) fn open(site: &Site) -> Self {
        let file = File::open(site.scratch.path("proxyip.out")).expect("the agent's output");
        Self { reader: BufReader::new(file), line: String::new(), excused: HashSet::new() }
    }

    /// An agent has ended, and another one has begun. The log may name these clients or not.
    pub(crate) fn excuse(&mut self, clients: HashSet<SocketAddr>) {
        self.excused = clients;
    }

    /// Reads until these clients have been named, each once, and nobody else.
    ///
    /// # Panics
    /// When one is missing, or when there is a stranger.
    pub(crate) fn assert_names(&mut self, mut clients: HashSet<SocketAddr>) {
        let count = clients.len();
        eventually(&format!("{count} clients in the flow log"), || {
            while let Some(line) = self.next() {
                if line["event"] != "accept" {
                    continue;
                }
                let client = line["client"].as_str().and_then(|text| text.parse().ok());
                let client = client.unwrap_or_else(|| panic!("no client in {line}"));
                let known = clients.remove(&client) || self.excused.remove(&client);
                assert!(known, "nobody has this address, or it came twice: {line}");
            }
            clients.is_empty().then_some(())
        });
    }

    fn next(&mut self) -> Option<Value> {
        self.reader.read_line(&mut self.line).expect("the log can be read");
        let line = self.line.strip_suffix('\n')?;
        let value = serde_json::from_str(line);
        let value = value.unwrap_or_else(|error| panic!("flow log: {error}: {line}"));
        self.line.clear();
        Some(value)
    }
}
