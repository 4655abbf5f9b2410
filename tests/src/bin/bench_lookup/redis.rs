//! Redis, which answers small questions over a Unix socket as fast as any server: the yardstick.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use proxyip_tests::{Process, Scratch, attempt};

use crate::load::{Load, Requests, Speed};

/// As long as `198.51.100.200:40000`.
const VALUE: &str = "198.51.100.200:40000";

/// A server that keeps nothing on disk.
pub(crate) struct Redis {
    process: Process,
    socket: PathBuf,
}

impl Redis {
    /// Starts it with this many keys, named as `redis-benchmark -r` does.
    ///
    /// # Panics
    /// When it is not installed.
    pub(crate) fn start(scratch: &Scratch, keys: u32) -> Self {
        let socket = scratch.path("redis.sock");
        let mut command = Command::new("redis-server");
        command
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket);
        let process = Process::start("redis", scratch.directory(), &mut command);
        let mut redis = Self { process, socket };
        let stream = redis.process.ready("a socket", |_| UnixStream::connect(&redis.socket).ok());
        let reader = stream.try_clone().expect("a socket");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let stored = BufReader::new(reader).lines().take(keys as usize);
                assert!(stored.map(|line| line.expect("an answer")).all(|line| line == "+OK"));
            });
            let mut writer = std::io::BufWriter::new(&stream);
            for key in 0..keys {
                write!(writer, "SET key:{key:012} {VALUE}\r\n").expect("redis reads");
            }
            writer.flush().expect("redis reads");
        });
        redis
    }

    /// What `redis-benchmark` measures.
    ///
    /// # Panics
    /// When it is not installed or fails.
    pub(crate) fn benchmark(&self, load: &Load, keys: u32) -> Speed {
        let mut command = Command::new("redis-benchmark");
        command.arg("-s").arg(&self.socket).args(["-t", "get", "--csv"]);
        for (option, number) in [
            ("-n", load.requests),
            ("-c", load.connections),
            ("-P", load.pipelined),
            ("-r", keys as usize),
        ] {
            command.args([option, &number.to_string()]);
        }
        let output = attempt(&mut command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let row = text
            .lines()
            .find(|line| line.starts_with("\"GET\""))
            .unwrap_or_else(|| panic!("{output:?}"));
        // "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms",…
        let cells: Vec<f64> =
            row.split(',').filter_map(|cell| cell.trim_matches('"').parse().ok()).collect();
        Speed { per_second: cells[0], latency: cells[3] / 1000.0 }
    }

    /// What this program's own generator measures with these requests.
    pub(crate) fn drive(&self, load: &Load, requests: &mut Requests) -> Speed {
        // An answer is its length and the value.
        Load { lines: 2, ..*load }.run(&self.socket, requests)
    }
}

/// Appends a request of what `redis-benchmark` requests.
pub(crate) fn request(requests: &mut Vec<u8>, key: u32) {
    write!(requests, "GET key:{key:012}\r\n").expect("memory takes what is written");
}
