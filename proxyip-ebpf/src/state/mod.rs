//! What is remembered and what is configured: the tables, each in a file of its own. All are pinned by name; see
//! `docs/architecture/state.md` for who writes which.

pub mod counters;
pub mod denied;
pub mod ended;
pub mod events;
pub mod fallbacks;
pub mod floods;
pub mod flows;
pub mod handshakes;
pub mod in_use;
pub mod listeners;
pub mod memory;
pub mod namespace;
pub mod nat;
pub mod neighbours;
pub mod networks;
pub mod parts;
pub mod policies;
pub mod route;
pub mod secrets;
pub mod sockets;
pub mod sources;
pub mod storage;
pub mod translations;
