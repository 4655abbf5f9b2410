//! `GET /v1/flows`: an array that is written while the flow table is read, as it may have millions of
//! entries.

use std::io::{self, BufWriter, Write};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use http_body_util::channel::{Channel, Sender};
use tokio::runtime::Handle;

use super::Shared;

const CHUNK: usize = 64 * 1024;
/// Chunks that may wait for the reader.
const CHUNKS: usize = 4;

pub(super) async fn flows(State(shared): State<Shared>) -> Response {
    let (chunks, body) = Channel::<Bytes, io::Error>::new(CHUNKS);
    let mut output = Output { chunks, runtime: Handle::current() };
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(&shared, &mut output) {
            tracing::debug!("a list of flows ended early: {error}");
            // Cuts the connection, so that nobody takes the list for complete.
            output.chunks.abort(error);
        }
    });
    ([(CONTENT_TYPE, "application/json")], Body::new(body)).into_response()
}

fn write(shared: &Shared, output: &mut Output) -> io::Result<()> {
    let mut output = BufWriter::with_capacity(CHUNK, output);
    let mut separator = "[";
    for entry in shared.source.flows() {
        let (key, record) = entry.map_err(io::Error::other)?;
        output.write_all(separator.as_bytes())?;
        serde_json::to_writer(&mut output, &shared.flows.describe(&key, &record))?;
        separator = ",";
    }
    output.write_all(if separator == "[" { b"[]" } else { b"]" })?;
    output.flush()
}

/// Blocks until the reader keeps up; fails once it is gone.
struct Output {
    chunks: Sender<Bytes, io::Error>,
    runtime: Handle,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let chunk = Bytes::copy_from_slice(bytes);
        self.runtime
            .block_on(self.chunks.send_data(chunk))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
