//! The emulator.

use std::{
    env::consts::ARCH,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    cache,
    debian::{TRIXIE, Tree, Variant},
    kernel,
};

/// Everything that the emulator can do, except what makes emulation slow: longer page walks, checks of each access,
/// and string instructions that go byte by byte. Without these flags, the kernel and the C library move memory in
/// other ways.
const PROCESSOR: &str = "max,-la57,-smap,-smep,-erms,-fsrm,-fsrs,-fzrm";

/// Tests on one processor are a fifth faster than on two. Two wait for each other's locks much of the time, because
/// the processor that holds a lock may not be running. Parallel guests use the host's processors better.
const PROCESSORS: &str = "1";
const MEMORY: &str = "2G";

/// `init_on_alloc` and `mitigations` cost time and protect nobody here. A panic is a restart, which
/// ends the emulator.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 loglevel=4 panic=-1 mitigations=off init_on_alloc=0 \
    net.ifnames=0 random.trust_cpu=on rdinit=/init";

/// What instructions are counted by: the guest's clock is at their number, a nanosecond each. `sleep=off` lets it jump
/// while the guest has nothing to do. Hash tables get the same seeds each time, so that nothing else varies.
const COUNTING: [&str; 6] =
    ["-icount", "shift=0,align=off,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"];
/// The kernel is to take that clock, and not to doubt it. What lies where is the same each time.
const COUNTING_ARGUMENTS: &str = " clocksource=tsc tsc=reliable nokaslr";

/// What a guest's clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The time of the host.
    Time,
    /// How many instructions its processor has executed.
    Instructions,
}

impl Clock {
    /// In names of files, so that a guest's logs are not those of another kind of guest.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Time => "",
            Self::Instructions => "-instructions",
        }
    }
}

/// An installed emulator.
#[derive(Debug)]
pub(super) struct Qemu {
    tree: PathBuf,
}

/// What one guest is made of.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    pub(super) kernel: &'a kernel::Files,
    pub(super) system: &'a Path,
    pub(super) payload: &'a Path,
    /// Where the guest's second serial port ends up.
    pub(super) report: &'a Path,
    pub(super) clock: Clock,
}

impl Qemu {
    /// Gives the emulator, unpacking it if that was not done before. The one of Debian 13 is a
    /// third faster than that of Debian 12.
    pub(super) fn prepare() -> Result<Self> {
        if ARCH != "x86_64" {
            bail!("guests are x86-64 machines and run this machine's programs, which are {ARCH}");
        }
        let tree =
            Tree { release: TRIXIE, variant: Variant::Unpacked, packages: vec!["qemu-system-x86"] };
        let directory = cache::made_once("qemu", &tree.recipe(), |directory| {
            tree.make(&directory.join("tree"))
        })
        .context("cannot prepare the emulator")?;
        Ok(Self { tree: directory.join("tree") })
    }

    /// The command that boots `guest`, its console on standard output.
    pub(super) fn command(&self, guest: &Guest) -> Result<Command> {
        let libraries = self.tree.join("usr/lib/x86_64-linux-gnu");
        let data = self.tree.join("usr/share");
        // A guest must not outlive xtask, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            // The emulator is of another Debian: it runs with that one's loader and libraries.
            .arg(libraries.join("ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(library_path(&libraries)?)
            .arg(self.tree.join("usr/bin/qemu-system-x86_64"))
            .env("QEMU_MODULE_DIR", libraries.join("qemu"))
            .arg("-L")
            .arg(data.join("qemu"))
            .arg("-L")
            .arg(data.join("seabios"))
            .args(["-no-user-config", "-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-accel", "tcg", "-cpu", PROCESSOR, "-smp", PROCESSORS, "-m", MEMORY])
            .args(["-serial", "stdio", "-serial"])
            .arg(format!("file:{}", guest.report.display()))
            .arg("-kernel")
            .arg(&guest.kernel.vmlinuz)
            .arg("-initrd")
            .arg(&guest.kernel.initramfs);
        match guest.clock {
            Clock::Time => command.args(["-append", KERNEL_ARGUMENTS]),
            Clock::Instructions => {
                let arguments = format!("{KERNEL_ARGUMENTS}{COUNTING_ARGUMENTS}");
                command.args(COUNTING).arg("-append").arg(arguments)
            }
        };
        // In the order of the names that init.sh uses: vda, vdb, vdc.
        for disk in [guest.system, &guest.kernel.modules, guest.payload] {
            let disk = disk.display();
            command.args(["-drive", &format!("file={disk},if=virtio,format=raw,readonly=on")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(command)
    }
}

/// The directory and those below it, where some packages put their libraries.
fn library_path(libraries: &Path) -> Result<String> {
    let mut path = vec![libraries.display().to_string()];
    for entry in fs::read_dir(libraries).context("the emulator has no libraries")? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            path.push(entry.path().display().to_string());
        }
    }
    Ok(path.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn disks_have_the_order_that_the_guest_expects() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("usr/lib/x86_64-linux-gnu/pulseaudio")).unwrap();
        let kernel = kernel::Files {
            vmlinuz: "/k/vmlinuz".into(),
            initramfs: "/k/initramfs".into(),
            modules: "/k/modules.ext4".into(),
        };
        let guest = Guest {
            kernel: &kernel,
            system: Path::new("/s/root.ext4"),
            payload: Path::new("/p.ext4"),
            report: Path::new("/r"),
            clock: Clock::Time,
        };
        let qemu = Qemu { tree: tree.path().to_owned() };
        let line = shell_line(&qemu.command(&guest).unwrap());
        assert!(!line.contains("-icount"), "{line}");
        let place = |file: &str| line.find(&format!("file={file},if=virtio")).unwrap();
        assert!(place("/s/root.ext4") < place("/k/modules.ext4"));
        assert!(place("/k/modules.ext4") < place("/p.ext4"));
        assert!(line.contains("x86_64-linux-gnu/pulseaudio"), "{line}");
        assert!(line.contains(" -no-reboot "), "{line}");
    }
}
