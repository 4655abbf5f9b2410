//! Embeds the kernel programs, which `cargo xtask build-ebpf` builds.

use std::path::Path;

fn main() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace member");
    let object = workspace.join("target/bpf/proxyip.o");
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.exists() {
        println!(
            "cargo::error=the kernel programs are not built: run `cargo xtask build-ebpf` first"
        );
        return;
    }
    println!("cargo::rustc-env=PROXYIP_OBJECT={}", object.display());
}
