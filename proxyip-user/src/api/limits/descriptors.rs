//! File descriptors: connections must leave some for the agent's own work, which fails without.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Connections to one socket for HTTP.
pub(crate) const HTTP_CONNECTIONS: usize = 256;
/// Connections to the lookup socket; one takes about 25 KB at most.
pub(crate) const LINE_CONNECTIONS: usize = 1024;
/// What the sockets have together at most: two for HTTP and the lookup socket.
const WANTED: u64 = 2 * HTTP_CONNECTIONS as u64 + LINE_CONNECTIONS as u64;
/// For the agent's own files and maps, and for connections that are just making room for others.
const OWN: u64 = 384;
/// Connections that a socket has in any case.
const LEAST: u64 = 8;

/// Services are started with a limit of 1,024, for programs that use `select(2)`; more may be asked for.
pub(crate) fn lift_limit() {
    let lifted = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = lifted {
        tracing::debug!("the limit of file descriptors stays as it is: {error}");
    }
}

/// How many connections a socket may have that wants `wanted`.
pub(crate) fn share(wanted: usize) -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(limit, _)| limit);
    share_of(limit, wanted as u64).try_into().unwrap_or(wanted)
}

fn share_of(limit: u64, wanted: u64) -> u64 {
    let free = limit.saturating_sub(OWN).min(WANTED);
    (wanted * free / WANTED).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_share_what_the_agent_does_not_need() {
        for (limit, http, lines) in
            [(524_288, 256, 1024), (1920, 256, 1024), (1024, 106, 426), (64, 8, 8)]
        {
            assert_eq!([256, 1024].map(|wanted| share_of(limit, wanted)), [http, lines], "{limit}");
        }
    }
}
