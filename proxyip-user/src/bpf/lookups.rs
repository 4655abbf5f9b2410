//! Many lookups in one system call: a kernel program that is attached to nothing does them (`BPF_PROG_TEST_RUN`).

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use proxyip_common::address::{Local, Peer};
use proxyip_common::flow::FlowKey;
use proxyip_common::lookup::{Answer, OFFSET, SLOTS};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::programs::LOOKUP;

/// Fewer than these are faster one by one.
pub(crate) const WORTH: usize = 4;

const SLOT: usize = size_of::<FlowKey>();

/// The loaded program.
#[derive(Clone, Debug)]
pub(crate) struct Lookups(Arc<Ebpf>);

impl Lookups {
    pub(crate) fn new(ebpf: Ebpf) -> Self {
        Self(Arc::new(ebpf))
    }

    /// The clients of connections in one namespace, at most [`SLOTS`].
    pub(crate) fn clients(
        &self,
        namespace: u64,
        ends: &[(SocketAddr, SocketAddr)],
    ) -> Result<impl Iterator<Item = Option<SocketAddr>> + use<>> {
        let mut packet = [0; OFFSET + SLOTS * SLOT];
        let length = OFFSET + ends.len() * SLOT;
        let slots = packet[OFFSET..].chunks_exact_mut(SLOT);
        for (slot, (peer, local)) in slots.zip(ends) {
            let key = FlowKey::new(namespace, Peer::from(*peer), Local::from(*local));
            slot.copy_from_slice(key.as_bytes());
        }
        let mut answers = [0; OFFSET + SLOTS * SLOT];
        let program: &SchedClassifier =
            self.0.program(LOOKUP).context("there is no program for lookups")?.try_into()?;
        let options = TestRunOptions {
            data_in: Some(&packet[..length]),
            data_out: Some(&mut answers[..length]),
            ..TestRunOptions::default()
        };
        program.test_run(options).context("the flow table cannot be read")?;
        let count = ends.len();
        Ok((0..count).map(move |slot| {
            let start = OFFSET + slot * SLOT;
            let answer = &answers[start..start + SLOT];
            let answer = Answer::read_from_bytes(answer).expect("a slot has room for an answer");
            (answer.found != 0).then(|| answer.client.0.to_socket_addr())
        }))
    }
}
