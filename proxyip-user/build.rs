//! Embeds the kernel programs, which `cargo xtask build-ebpf` builds.

use std::env;
use std::path::PathBuf;

fn main() {
    // Asked for at run time: a script that was built for another checkout may serve this one.
    println!("cargo::rerun-if-env-changed=CARGO_MANIFEST_DIR");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let workspace = manifest.parent().expect("a workspace member");
    for (variable, name) in [("PROXYIP_OBJECT", "proxyip.o"), ("PROXYIP_FRONT", "front.o")] {
        let object = workspace.join("target/bpf").join(name);
        println!("cargo::rerun-if-changed={}", object.display());
        if !object.exists() {
            println!(
                "cargo::error=the kernel programs are not built: run `cargo xtask build-ebpf` first"
            );
            return;
        }
        println!("cargo::rustc-env={variable}={}", object.display());
    }
}
