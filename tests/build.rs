//! Embeds the programs that measure the kernel programs, which `cargo xtask build-ebpf` builds.

use std::env;
use std::path::PathBuf;

fn main() {
    // Asked for at run time: a script that was built for another checkout may serve this one.
    println!("cargo::rerun-if-env-changed=CARGO_MANIFEST_DIR");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let object = manifest.parent().expect("a workspace member").join("target/bpf/yardstick.o");
    println!("cargo::rerun-if-changed={}", object.display());
    if object.exists() {
        println!("cargo::rustc-env=PROXYIP_YARDSTICK={}", object.display());
    } else {
        println!(
            "cargo::error=the kernel programs are not built: run `cargo xtask build-ebpf` first"
        );
    }
}
