//! How many instructions the verifier walks for each kernel program. Its limit is a million, and the agent's start
//! takes longer with each.

use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use nix::sys::utsname::uname;
use proxyip_common::settings::front;
use proxyip_user::bpf::object;

/// Major and minor version of a kernel.
type Version = (u32, u32);

/// The first kernel that reports the number (`verified_insns` of `struct bpf_prog_info`).
const FIRST: Version = (5, 16);

/// The kernels that [`CEILINGS`] were measured on: those of `cargo xtask vm`, and the one that the gate runs on. Each
/// kernel's verifier prunes in another way.
const MEASURED: [Version; 4] = [(6, 1), (6, 12), (6, 18), (7, 2)];

/// The most instructions that may be walked for a program on each of these kernels: what was measured, and 3 percent. The
/// bounds of `proxyip_sockops` on 6.1, 6.12 and 7.2 are estimates, and those of the ingress programs on 7.2. So are
/// those of the programs at XDP and of `proxyip_egress` on all but 6.18.
/// A kernel that lacks what a program needs has none.
const CEILINGS: [(&str, [u32; MEASURED.len()]); 11] = [
    ("proxyip_ingress", [0, 109_100, 134_300, 132_300]),
    ("proxyip_ingress_basic", [112_200, 100_000, 113_900, 105_000]),
    ("proxyip_egress", [12_400, 10_700, 10_700, 10_700]),
    ("proxyip_xdp", [0, 19_800, 19_790, 19_800]),
    ("proxyip_xdp_generic", [0, 19_800, 19_400, 19_800]),
    ("proxyip_sockops", [13_700, 4_200, 4_460, 5_330]),
    ("proxyip_lookup", [4_250, 5_460, 5_460, 5_460]),
    ("proxyip_getsockopt", [457, 246, 246, 246]),
    ("proxyip_getpeername4", [56, 56, 56, 56]),
    ("proxyip_getpeername6", [26, 26, 26, 26]),
    ("proxyip_set", [645, 615, 569, 569]),
];

/// The programs that others call, which say whose packet it is.
const BEHIND_FRONTS: [&str; 4] =
    ["proxyip_ingress", "proxyip_ingress_basic", "proxyip_egress", "proxyip_xdp"];

/// The ceiling on this kernel. On a kernel that nobody has measured it is the highest one and a quarter more.
fn ceiling(version: Version, ceilings: [u32; MEASURED.len()]) -> u32 {
    let measured = MEASURED.iter().zip(ceilings).find(|(measured, _)| **measured == version);
    let highest = ceilings.into_iter().max().expect("kernels were measured");
    measured.map_or(highest / 4 * 5, |(_, ceiling)| ceiling)
}

#[test]
fn the_verifier_walks_no_more_than_before() {
    let version = version();
    if version < FIRST {
        return;
    }
    let assign = object::assign();
    let object = object::object(assign).expect("the kernel object");
    let (mut ebpf, mut behind) = (load(&object, front::NONE), load(&object, front::INGRESS));
    assert_eq!(ebpf.programs().count(), CEILINGS.len(), "each program has a ceiling");
    let possible = |name: &str| {
        !["proxyip_ingress", "proxyip_xdp", "proxyip_xdp_generic"].contains(&name)
            || assign.is_some()
    };
    let above: Vec<String> = CEILINGS
        .into_iter()
        .filter(|(name, _)| possible(name))
        .filter_map(|(name, ceilings)| {
            let ceiling = ceiling(version, ceilings);
            let ebpf = if BEHIND_FRONTS.contains(&name) { &mut behind } else { &mut ebpf };
            let walked = walked(ebpf, name);
            println!("{name}: {walked} instructions");
            (walked > ceiling).then(|| format!("{name}: {walked}, and {ceiling} at most"))
        })
        .collect();
    assert!(above.is_empty(), "Linux {version:?}: {above:?}");
}

/// The object, its programs behind these ones in front.
fn load(object: &[u8], front: u32) -> Ebpf {
    let mut loader = EbpfLoader::new();
    loader.override_global("AYA_LOG_LEVEL", &0_u8, true);
    loader.override_global("FRONT", &front, true);
    for table in ["FLOWS", "HANDSHAKES", "TRANSLATIONS", "TRUSTED", "CLIENTS"] {
        loader.map_max_entries(table, 1024);
    }
    loader.load(object).expect("the kernel takes the maps")
}

/// Loads a program; how many instructions the verifier has walked for it.
fn walked(ebpf: &mut Ebpf, name: &str) -> u32 {
    let program = ebpf.program_mut(name).expect(name);
    match program {
        Program::SchedClassifier(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::SocketFilter(program) => program.load(),
        Program::Xdp(program) => program.load(),
        other => panic!("{name}: a program of type {:?}", other.prog_type()),
    }
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    let info = program.info().expect("a program that is loaded");
    info.verified_instruction_count().expect("Linux 5.16 or later")
}

/// The running kernel's.
fn version() -> Version {
    let name = uname().expect("the kernel's name");
    let release = name.release().to_str().expect("a release in ASCII");
    let mut numbers =
        release.split(|it: char| !it.is_ascii_digit()).map(|it| it.parse().expect("a number"));
    let mut next = || numbers.next().expect("a version");
    (next(), next())
}
