//! Programs that the host has loaded, also those of other software.

use aya::programs::loaded_programs;
use aya_obj::generated::bpf_prog_type::{self, BPF_PROG_TYPE_SOCK_OPS};

use super::programs::SOCK_OPS;

/// Programs of type `sock_ops` other than ours, with their identifiers. Empty if the kernel does not tell.
pub(crate) fn others_of_sock_ops() -> Vec<String> {
    others(BPF_PROG_TYPE_SOCK_OPS, SOCK_OPS)
}

fn others(kind: bpf_prog_type, ours: &str) -> Vec<String> {
    let all = loaded_programs().filter_map(Result::ok);
    let others = all.filter(|one| one.program_type() == kind && one.name_as_str() != Some(ours));
    others.map(|one| format!("{} (id {})", one.name_as_str().unwrap_or("?"), one.id())).collect()
}
