//! Handshakes: those that the kernel does itself, in their table, and the one that a segment is of.

use proxyip_common::{
    cookie::Agreed,
    flow::{self, FlowKey, HandOff},
};

use crate::{
    frame::tcp::Seq,
    kernel::{btf_maps::LruHashMap, macros::btf_map},
};

/// Handshakes that the kernel does itself. Under a flood of SYNs the oldest make room: their connections are
/// reset when their header comes.
#[btf_map]
pub static HANDSHAKES: LruHashMap<FlowKey, flow::Handshake, 65_536> = LruHashMap::new();

/// [`HandOff::Accept`] as its value.
pub const ACCEPT: u8 = HandOff::Accept as u8;
/// [`HandOff::Translate`] as its value.
pub const TRANSLATE: u8 = HandOff::Translate as u8;
/// [`HandOff::Observe`] as its value.
pub const OBSERVE: u8 = HandOff::Observe as u8;

/// The handshake that a segment is of.
#[derive(Clone, Copy)]
pub struct Handshake {
    /// The peer's initial sequence number.
    pub isn: Seq,
    /// The [`HandOff`] that the connection gets, as its value; 0 before that is decided.
    pub hand_off: u8,
    /// Why it is not accept, as the index of an [`Obstacle`](proxyip_common::counter::Obstacle).
    pub obstacle: u8,
    /// The two ends do not scale windows.
    pub unscaled: bool,
    /// The connection was handed over before, and TCP did not take it.
    pub handed_over_before: bool,
    /// What the cookie holds, for accept.
    pub agreed: Agreed,
}

impl Handshake {
    /// Of a segment whose hand-off is not decided.
    pub const NONE: Self = Self::new(Seq(0), 0);

    /// A handshake, known by these two values only.
    #[inline(always)]
    pub const fn new(isn: Seq, hand_off: u8) -> Self {
        Self {
            isn,
            hand_off,
            obstacle: 0,
            unscaled: false,
            handed_over_before: false,
            agreed: Agreed { mss_class: 0, sack: false, window_scale: None },
        }
    }

    /// The sequence number of the stream's first byte.
    #[inline(always)]
    pub fn stream(&self) -> Seq {
        self.isn.stream()
    }
}
