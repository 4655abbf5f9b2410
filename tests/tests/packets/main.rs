//! The packet table: each case is a frame as it comes, the program that sees it, and what is to become of it: the
//! verdict, every byte of what comes out, every counter, every entry of the tables. The programs run one frame at a
//! time by `BPF_PROG_TEST_RUN`, in a network namespace with real sockets; what that cannot show is shown on a wire.
//! Root is needed.

mod bench;
mod case;
mod egress;
mod flags;
mod fragments;
mod handshake;
mod header;
mod layout;
mod packet;
mod policy;
mod policy_model;
mod sockets;
mod state;
mod tables;
mod tags;
mod translate;
mod trial;
mod truncation;
mod untrusted;
mod ways;
mod wire;
