//! The packet table. Each case is a frame as it comes, the program that sees it, and the expected result: the
//! verdict, every byte of what comes out, every counter, every entry of the tables. `BPF_PROG_TEST_RUN` runs the
//! programs one frame at a time, in a network namespace with real sockets. Tests on a wire show what that cannot
//! show. Root is needed.

mod case;
mod egress;
mod flags;
mod fragments;
mod handshake;
mod header;
mod layout;
mod policy;
mod policy_model;
mod refused_reload;
mod tags;
mod translate;
mod trial;
mod truncation;
mod untrusted;
mod ways;
mod wire;
mod xdp;
