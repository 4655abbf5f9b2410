//! Fixtures of the end-to-end tests and of the demonstration: three network namespaces (a client, a load balancer, a
//! server), real programs in them, the agent, packet captures.
//!
//! Everything here panics instead of returning a `Result`: the stack trace then names the line of the test. Every
//! fixture removes what it made when it is dropped, on a panic too. The next run removes what a killed run left
//! behind.

#![expect(clippy::must_use_candidate, reason = "many fixtures are called for their effect")]

mod acknowledgments;
mod agent;
mod api;
pub mod balancers;
pub mod bench;
mod browser;
mod capture;
mod checksums;
mod client;
mod command;
pub mod conformance;
mod cookies;
mod dial;
pub mod documents;
mod flag_taker;
mod guard;
mod hand_off;
pub mod header;
mod kernel_objects;
mod lines;
mod maps;
mod memory;
mod namespace;
mod napi;
mod net;
pub mod networks;
mod option;
pub mod packet;
mod pcap;
mod pod;
mod process;
pub mod random;
mod raw;
mod scratch;
pub mod servers;
mod site;
mod stopping;
mod stranger;
mod terminal;
pub mod turn;
mod usage;
pub mod visitors;
mod wait;
mod wire;

pub use acknowledgments::Acknowledgments;
pub use agent::{Agent, Answer, agent_binary, use_agent_binary};
pub use api::{Api, Reply, is_ready};
pub use browser::{Browser, Scheme};
pub use capture::{Capture, Directions};
pub use client::{Fetched, curl};
pub use command::{attempt, run};
pub use cookies::Cookies;
pub use dial::{Dial, forget, is_reset, read_line, read_line_or_error, read_rest, reset};
pub use flag_taker::FlagTaker;
pub use guard::Guard;
pub use hand_off::HandOff;
pub use kernel_objects::{Held, KernelObjects};
pub use lines::Lines;
pub use maps::{FlowTable, capacity_of_map};
pub use memory::{Memory, anonymous_kib, resident_kib};
pub use namespace::Namespace;
pub use napi::Batches;
pub use net::{Net, Offloads, Plan, address};
pub use option::{set_option, total_retransmissions};
pub use pcap::CapturedSegment;
pub use pod::Pod;
pub use process::Process;
pub use raw::{
    BURST, Flooder, Forged, Frame, RawPeer, Segment, claimed_syn_is_answered_to_the_owner,
};
pub use scratch::{Scratch, remove_everything};
pub use site::Site;
pub use stopping::remove_everything_on_signals;
pub use stranger::Stranger;
pub use terminal::{Size, Terminal};
pub use usage::{Usage, time_worked};
pub use wait::{eventually, until};
pub use wire::{Faults, Tap};
