//! What the agent holds while all namespaces are there.

use std::fmt;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use proxyip_tests::{Held, KernelObjects, Site, Usage};

/// Measurements that belong together, and the time between two of them.
const SAMPLES: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(200);

/// Columns: what it is, and how much more is no leak.
const COLUMNS: [(&str, f64); 6] = [
    // Questions have threads and descriptors.
    ("descriptors", 3.0),
    ("threads", 3.0),
    // An allocator keeps pages.
    ("KiB resident", 4096.0),
    ("programs", 0.0),
    ("maps", 0.0),
    ("pins", 0.0),
];

/// The means of some measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size([f64; COLUMNS.len()]);

impl Size {
    /// Measures a few times.
    pub(crate) fn of(site: &Site, pid: u32) -> Self {
        let mut sum = [0.0; COLUMNS.len()];
        for _ in 0..SAMPLES {
            let now = sample(site, pid);
            sum.iter_mut().zip(now).for_each(|(sum, now)| *sum += now);
            thread::sleep(BETWEEN);
        }
        Self(sum.map(|sum| sum / f64::from(SAMPLES)))
    }

    fn mean(sizes: &[Self]) -> Self {
        let count = number(sizes.len());
        let mut mean = [0.0; COLUMNS.len()];
        for Self(size) in sizes {
            mean.iter_mut().zip(size).for_each(|(mean, one)| *mean += one / count);
        }
        Self(mean)
    }

    /// What the last third has more than the first one, each with a sentence.
    pub(crate) fn growth(sizes: &[Self]) -> Vec<String> {
        let third = (sizes.len() / 3).max(1);
        let (first, last) =
            (Self::mean(&sizes[..third]), Self::mean(&sizes[sizes.len() - third..]));
        let pairs = first.0.into_iter().zip(last.0).zip(COLUMNS);
        let grown = pairs.filter(|((first, last), (_, slack))| last - first > slack + 0.01);
        grown
            .map(|((first, last), (name, _))| {
                format!("{name}: {first:.1} in the first third, {last:.1} in the last one")
            })
            .collect()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<_> = self
            .0
            .iter()
            .zip(COLUMNS)
            .map(|(size, (name, _))| format!("{size:.1} {name}"))
            .collect();
        formatter.write_str(&parts.join(", "))
    }
}

fn sample(site: &Site, pid: u32) -> [f64; COLUMNS.len()] {
    let usage = Usage::of(pid);
    let pin_path = site.scratch.pin_path();
    let Held { programs, maps, .. } = KernelObjects::of(pid, &pin_path).measure();
    let resident = usize::try_from(usage.resident_kib).expect("64 bits");
    [usage.descriptors, usage.threads, resident, programs, maps, files(&pin_path)].map(number)
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).expect("nothing has so many"))
}

/// The files below a directory.
fn files(directory: &Path) -> usize {
    // Pins go while they are listed.
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}
