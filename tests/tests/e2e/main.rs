//! End-to-end tests: real load balancers and real servers, each in a network namespace of its own,
//! with proxyip between them. `PROXYIP_BIN` names the program under test; root is needed.

mod accept_calls;
mod bad_frames;
mod closing;
mod command_line;
mod common;
mod configuration;
mod families;
mod fixtures;
mod flow_log;
mod forwarding;
mod kernel;
mod lifecycle;
mod load;
mod loss;
mod malformed;
mod offloads;
mod other_stacks;
mod postgres;
mod raw;
mod refusing_stack;
mod ruby;
mod silence;
mod ssh;
mod syn_ack;
mod tlvs;
mod web;
