//! Packet captures, and the check that no packet in them has a wrong checksum.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::Signal;

use crate::checksums::Checksums;
use crate::namespace::Namespace;
use crate::pcap::{CapturedSegment, Pcap};
use crate::process::Process;
use crate::scratch::Scratch;

/// Which packets of an interface are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// Both.
    Both,
    /// Packets that leave through it. With receive merging on, only these are as they were on the link.
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

    /// The TCP segments so far. The capture may still run; what has just happened may then be missing.
    #[must_use]
    pub fn segments(&self) -> Vec<CapturedSegment> {
        Pcap::read(&self.file).segments().collect()
    }

    /// The file; whole when the capture has been stopped.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// How many TCP segments are like this.
    #[must_use]
    pub fn count(&self, is_counted: impl Fn(&CapturedSegment) -> bool) -> usize {
        Pcap::read(&self.file).segments().filter(is_counted).count()
    }

    /// Numbers of the frames with a wrong IP or TCP checksum, and how many TCP packets the capture has in all.
    ///
    /// # Panics
    /// When a packet is not all there.
    #[must_use]
    pub fn bad_checksums(&self) -> (Vec<String>, usize) {
        let pcap = Pcap::read(&self.file);
        let (mut bad, mut packets) = (Vec::new(), 0);
        for (number, frame) in (1..).zip(pcap.frames()) {
            match Checksums::of(frame.bytes) {
                Checksums::NotTcp => continue,
                Checksums::Unknown => {
                    panic!("{}: frame {number} is not whole", self.file.display())
                }
                Checksums::Right => {}
                Checksums::Wrong => bad.push(u32::to_string(&number)),
            }
            packets += 1;
        }
        (bad, packets)
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
