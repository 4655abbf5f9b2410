//! The programs that measure the others, and one measurement.

use aya::maps::{Array, HashMap, MapData, ProgramArray};
use aya::programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::wire::nanoseconds;

static OBJECT: &[u8] = include_bytes_aligned!(env!("PROXYIP_YARDSTICK"));

/// Bytes of headers that are put back.
const HEADERS: usize = 128;
/// Four words, and the headers.
const BEFORE: usize = 16 + HEADERS;

/// The yardstick's programs, loaded.
pub(crate) struct Yardstick {
    ebpf: Ebpf,
    before: Array<MapData, [u8; BEFORE]>,
    measured: ProgramArray<MapData>,
    interface: u32,
}

/// What came of a frame that a program saw several times.
pub(crate) struct Run {
    /// Of the last time.
    pub(crate) verdict: i32,
    /// After the last time.
    pub(crate) frame: Vec<u8>,
    /// Nanoseconds that one time took, with what it takes to make the frame what it was.
    pub(crate) duration: f64,
}

impl Yardstick {
    /// Loads them for packets of this interface.
    pub(crate) fn new(interface: u32) -> Self {
        let mut ebpf = EbpfLoader::new().load(OBJECT).expect("the kernel takes the maps");
        for name in ["again", "nothing", "reference"] {
            let program: &mut SchedClassifier =
                ebpf.program_mut(name).expect(name).try_into().expect("a TC program");
            program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        let before = Array::try_from(ebpf.take_map("BEFORE").expect("a map")).expect("an array");
        let map = ebpf.take_map("MEASURED").expect("a map");
        let measured = ProgramArray::try_from(map).expect("an array of programs");
        let mut yardstick = Self { ebpf, before, measured, interface };
        yardstick.fill_table();
        yardstick
    }

    /// A table that is empty would be found to be so too quickly.
    fn fill_table(&mut self) {
        let map = self.ebpf.take_map("TABLE").expect("a map");
        let mut table: HashMap<MapData, [u32; 3], u64> = HashMap::try_from(map).expect("a table");
        for number in 0..512 {
            table.insert([number, number, number], 1, 0).expect("a place");
        }
    }

    /// The program of the yardstick with this name.
    pub(crate) fn program(&self, name: &str) -> ProgramFd {
        fd(self.tc(name))
    }

    fn tc(&self, name: &str) -> &SchedClassifier {
        self.ebpf.program(name).expect(name).try_into().expect("a TC program")
    }

    /// What the kernel's statistics say of a program that does nothing, for each of its runs.
    pub(crate) fn cost_of_statistics(&self) -> f64 {
        const TIMES: u32 = 1000;
        let program = self.tc("nothing");
        let info = || program.info().expect("information on the program");
        let (before, frame) = (info(), [0; 64]);
        let options =
            TestRunOptions { data_in: Some(&frame), repeat: TIMES, ..TestRunOptions::default() };
        program.test_run(options).expect("a run");
        let after = info();
        let runs = after.run_count() - before.run_count();
        assert_eq!(runs, u64::from(TIMES), "statistics are off");
        (nanoseconds(&after) - nanoseconds(&before)) / f64::from(TIMES)
    }

    /// Lets a program see a frame this many times.
    pub(crate) fn run(&mut self, program: &ProgramFd, packet: (&[u8], u32), repeat: u32) -> Run {
        let (frame, index) = packet;
        self.before.set(0, before(frame, index), 0).expect("a frame");
        self.measured.set(0, program, 0).expect("a program");
        let context = context(self.interface);
        let mut out = vec![0; 8192];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::default()
        };
        let result = self.tc("again").test_run(options).expect("a run");
        out.truncate(result.data_size_out.try_into().expect("a short frame"));
        let verdict = result.return_value.cast_signed();
        assert_ne!(verdict, FAILED, "the frame could not be made what it was");
        let duration = result.duration.as_secs_f64() * 1e9;
        Run { verdict, frame: out, duration }
    }
}

/// What `again` returns if it fails.
const FAILED: i32 = -77;

/// A descriptor of one's own of a program.
pub(crate) fn fd(program: &SchedClassifier) -> ProgramFd {
    let fd = program.fd().expect("a loaded program");
    fd.try_clone().expect("a descriptor")
}

/// `struct __sk_buff`, up to the interface, which is all that is set.
fn context(interface: u32) -> [u8; 44] {
    const INTERFACE_AT: usize = 40;
    let mut context = [0; INTERFACE_AT + 4];
    context[INTERFACE_AT..].copy_from_slice(&interface.to_ne_bytes());
    context
}

/// The value of `BEFORE`: the length of the frame, how much of it is put back, `tc_index`, whether its checksum is
/// verified, and the bytes. Interfaces of servers verify checksums.
fn before(frame: &[u8], index: u32) -> [u8; BEFORE] {
    let restored = frame.len().min(HEADERS);
    let words = [frame.len(), restored].map(|length| u32::try_from(length).expect("a short frame"));
    let mut value = [0; BEFORE];
    let (fields, headers) = value.split_at_mut(16);
    for (field, word) in fields.chunks_exact_mut(4).zip([words[0], words[1], index, 1]) {
        field.copy_from_slice(&word.to_ne_bytes());
    }
    headers[..restored].copy_from_slice(&frame[..restored]);
    value
}
