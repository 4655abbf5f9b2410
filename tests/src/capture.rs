//! Packet captures, and the check that no packet in them has a wrong checksum.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;

use crate::command::attempt;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::wait::eventually;

/// Which packets of an interface are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Both.
    Both,
    /// Those that leave through it. With receive merging on, only these are as they were on the link.
    Out,
}

/// tcpdump on one interface.
#[derive(Debug)]
pub struct Capture {
    process: Mutex<Process>,
    file: PathBuf,
}

impl Capture {
    /// Starts it and waits until it captures.
    #[must_use]
    pub fn start(
        scratch: &Scratch,
        namespace: &Namespace,
        interface: &str,
        directions: Directions,
    ) -> Self {
        let whole_frame = mtu(namespace, interface) + 100;
        Self::start_with(scratch, namespace, interface, directions, whole_frame)
    }

    /// Captures the headers only, of both directions.
    #[must_use]
    pub fn headers(scratch: &Scratch, namespace: &Namespace, interface: &str) -> Self {
        // Ethernet, IPv6 and TCP with all the options that there is room for.
        let headers = 14 + 40 + 60;
        Self::start_with(scratch, namespace, interface, Directions::Both, headers)
    }

    fn start_with(
        scratch: &Scratch,
        namespace: &Namespace,
        interface: &str,
        directions: Directions,
        snapshot: u32,
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{interface}-{number}", namespace.name());
        let file = scratch.path(&format!("{name}.pcap"));
        let direction = if directions == Directions::Out { "out" } else { "inout" };
        // A capture must not lose packets because the test keeps all processors busy.
        let mut command = namespace.command("nice");
        command.args(["-n", "-15", "tcpdump", "-n", "-Q", direction, "-i", interface, "-w"]);
        command.arg(&file);
        // Immediate mode and no buffering: a packet seen is a packet in the file. The slots of the
        // ring (64 MiB) are as long as the snapshot. As root, since Debian's tcpdump would otherwise give
        // up the right to write into the directory.
        let snapshot = snapshot.to_string();
        command.args(["--immediate-mode", "-U", "-s", &snapshot, "-B", "65536", "-Z", "root"]);
        let mut process = Process::start(&name, scratch.directory(), &mut command).quietly();
        process
            .ready("listening", |process| process.stderr().contains("listening on").then_some(()));
        Self { process: Mutex::new(process), file }
    }

    /// Ends the capture, if it has not ended.
    ///
    /// # Panics
    /// When tcpdump fails or has lost packets.
    pub fn stop(&self) {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.is_alive() {
            // The last packets are on their way from the kernel to tcpdump.
            std::thread::sleep(std::time::Duration::from_millis(100));
            process.signal(Signal::SIGINT);
            process.wait();
        }
        let report = process.stderr();
        assert!(report.contains("\n0 packets dropped by kernel"), "tcpdump: {report}");
    }

    /// Fields of the packets that match a display filter, one row for each packet. The capture may
    /// still run; what has just happened may then be missing.
    ///
    /// # Panics
    /// When tshark fails.
    #[must_use]
    pub fn fields(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let file = self.file.display().to_string();
        let check = ["-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
        let mut arguments = vec!["-n", "-r", &file, "-Y", filter, "-T", "fields"];
        arguments.extend(check);
        arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
        // The end of a running capture may be half a packet: tshark fails then, for a moment.
        let text = eventually("tshark reads a capture", || {
            let output = attempt(Command::new("tshark").args(&arguments));
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        });
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// The file; whole when the capture has been stopped.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How many packets match a display filter.
    #[must_use]
    pub fn count(&self, filter: &str) -> usize {
        self.fields(filter, &["frame.number"]).len()
    }

    /// Frames with a wrong IP or TCP checksum, and how many TCP packets the capture has in all.
    ///
    /// # Panics
    /// When tshark did not check a packet.
    #[must_use]
    pub fn bad_checksums(&self) -> (Vec<String>, usize) {
        const GOOD: &str = "1";
        let fields = ["frame.number", "ip.checksum.status", "tcp.checksum.status"];
        let fields = [fields.as_slice(), &["tcp.checksum", "tcp.checksum_calculated"]].concat();
        // ICMP errors quote the beginning of a segment, whose checksum cannot be checked.
        let rows = self.fields("tcp and not icmp and not icmpv6", &fields);
        let mut bad = Vec::new();
        for row in &rows {
            let [frame, ip, tcp, sum, calculated] = row.as_slice() else { panic!("row {row:?}") };
            assert!(!calculated.is_empty(), "frame {frame}: TCP checksum unchecked ({tcp})");
            // Linux sends 0xffff where the sum is 0: the same number in one's complement, and right,
            // but tshark objects. <https://elixir.bootlin.com/linux/v6.18/A/ident/CSUM_MANGLED_0>
            let zero = sum == "0xffff" && calculated == "0x0000";
            // IPv6 has no header checksum.
            if !(tcp == GOOD || zero) || !(ip == GOOD || ip.is_empty()) {
                bad.push(frame.clone());
            }
        }
        (bad, rows.len())
    }

    /// Asserts that the capture has packets and that all checksums are right.
    ///
    /// # Panics
    /// When that is not so.
    pub fn assert_clean(&self) {
        let (bad, packets) = self.bad_checksums();
        let file = self.file.display();
        assert!(packets > 0, "{file}: no TCP packet was captured");
        assert!(bad.is_empty(), "{file}: wrong checksums in frames {}", bad.join(", "));
    }
}

/// The MTU of an interface, bytes.
fn mtu(namespace: &Namespace, interface: &str) -> u32 {
    let text = namespace.ip(&format!("-o link show {interface}"));
    let mut words = text.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1).and_then(|mtu| mtu.parse().ok()).unwrap_or_else(|| panic!("no MTU in {text}"))
}
