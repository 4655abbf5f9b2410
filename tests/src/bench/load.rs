//! The kernel objects, loaded for a bench.

use std::fs;
use std::path::Path;

use aya::maps::{MapData, ProgramArray};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use proxyip_common::settings::front;
use proxyip_user::bpf::object;

use super::{Arrangement, Program};

/// The maps that the programs have in common with those in front.
const SHARED: [&str; 2] = ["PLACES", "PROGRAMS"];

/// The programs in front.
pub(super) struct Fronts {
    pub(super) ebpf: Ebpf,
    /// The programs that they call. The kernel empties it when nobody has it open.
    _called: ProgramArray<MapData>,
}

/// The object with its programs on interfaces loaded, and small tables; and the one with the programs in front, if the
/// arrangement has it. `pins` is where they meet.
pub(super) fn objects(arrangement: Arrangement, pins: &Path) -> (Ebpf, Option<Fronts>) {
    let object = object::object(object::assign()).expect("the kernel object");
    let mut loader = EbpfLoader::new();
    for table in ["FLOWS", "HANDSHAKES", "TRANSLATIONS"] {
        loader.map_max_entries(table, 1024);
    }
    let (level, place) = (0_u8, front::INGRESS);
    loader.override_global("AYA_LOG_LEVEL", &level, true);
    if arrangement == Arrangement::Alone {
        return (programs(&mut loader, &object), None);
    }
    // Egress has another place in the agent. The place of both is the first namespace's here.
    loader.override_global("FRONT", &place, true);
    fs::create_dir_all(pins).expect("a directory for pins");
    let mut fronts = EbpfLoader::new();
    for map in SHARED {
        loader.map_pin_path(map, pins.join(map));
        fronts.map_pin_path(map, pins.join(map));
    }
    let mut ebpf = programs(&mut loader, &object);
    let fronts = fronts_of(&mut fronts, &mut ebpf);
    fs::remove_dir_all(pins).expect("pins that nobody needs any more");
    (ebpf, Some(fronts))
}

/// The object with its programs on interfaces loaded.
fn programs(loader: &mut EbpfLoader<'_>, object: &[u8]) -> Ebpf {
    let mut ebpf = loader.load(object).expect("the kernel takes the maps");
    for program in Program::ALL.into_iter().filter(|program| program.is_possible()) {
        match program {
            Program::Xdp | Program::XdpGeneric => load_xdp(&mut ebpf, program.name()),
            _ => load(&mut ebpf, program.name()),
        }
    }
    ebpf
}

/// The programs in front, which call these.
fn fronts_of(loader: &mut EbpfLoader<'_>, ebpf: &mut Ebpf) -> Fronts {
    let mut fronts = loader.load(object::FRONT).expect("the kernel takes the maps");
    let map = ebpf.take_map("PROGRAMS").expect("an array of programs");
    let mut called = ProgramArray::try_from(map).expect("an array of programs");
    for (program, place) in
        [(Program::best_ingress(), front::INGRESS), (Program::Egress, front::EGRESS)]
    {
        load(&mut fronts, name_of_front(program));
        let name = program.name();
        let program: &SchedClassifier = ebpf.program(name).expect(name).try_into().expect("TC");
        called.set(place, program.fd().expect("a loaded program"), 0).expect("a place");
    }
    Fronts { ebpf: fronts, _called: called }
}

/// What the program in front of this one is called.
pub(super) fn name_of_front(program: Program) -> &'static str {
    match program {
        Program::Ingress | Program::IngressBasic => "proxyip_ingress",
        Program::Egress => "proxyip_egress",
        Program::Xdp | Program::XdpGeneric => "proxyip_xdp",
    }
}

fn load(ebpf: &mut Ebpf, name: &str) {
    let program: &mut SchedClassifier =
        ebpf.program_mut(name).expect(name).try_into().expect("a TC program");
    program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn load_xdp(ebpf: &mut Ebpf, name: &str) {
    let program: &mut Xdp = ebpf.program_mut(name).expect(name).try_into().expect("XDP");
    program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
}
