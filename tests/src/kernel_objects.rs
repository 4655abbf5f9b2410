//! Programs and maps that an agent has in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use aya::maps::{MapData, loaded_maps};
use aya::programs::{ProgramInfo, loaded_programs};

use crate::maps::memory;

/// Programs and maps of one agent; those of others are not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelObjects {
    /// Identifiers of programs.
    programs: BTreeSet<u32>,
    /// Identifiers of maps.
    maps: BTreeSet<u32>,
}

/// What objects hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// How many programs there are.
    pub programs: usize,
    /// How many maps there are.
    pub maps: usize,
    /// Bytes of kernel memory that the programs hold.
    pub program_bytes: u64,
    /// Bytes of kernel memory that the maps hold.
    pub map_bytes: u64,
    /// Instructions that the verifier has walked through.
    pub verified: u64,
}

impl KernelObjects {
    /// Those that the process has open, and those that are pinned. A program that uses one of these maps belongs to
    /// them, and so do the other maps that it uses.
    #[must_use]
    pub fn of(pid: u32, pin_path: &Path) -> Self {
        let mut own = Self::default();
        own.add_open(pid);
        own.add_pinned(pin_path);
        let used: Vec<_> = loaded_programs().flatten().map(|program| used_maps(&program)).collect();
        while used.iter().any(|(program, maps)| own.add_if_used(*program, maps)) {}
        own
    }

    /// From what `/proc` says of descriptors.
    fn add_open(&mut self, pid: u32) {
        let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
        // A descriptor may be closed meanwhile.
        for text in entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()) {
            let number = |name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name))?;
                value.trim().parse::<u32>().ok()
            };
            self.programs.extend(number("prog_id:"));
            self.maps.extend(number("map_id:"));
        }
    }

    fn add_pinned(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                self.add_pinned(&path);
            } else if let Some(id) = MapData::from_pin(&path).ok().and_then(|map| id_of(&map)) {
                self.maps.insert(id);
            }
        }
    }

    /// Returns whether something was added.
    fn add_if_used(&mut self, program: u32, maps: &[u32]) -> bool {
        let is_own =
            self.programs.contains(&program) || maps.iter().any(|map| self.maps.contains(map));
        if !is_own {
            return false;
        }
        let before = self.maps.len() + self.programs.len();
        self.programs.insert(program);
        self.maps.extend(maps);
        self.maps.len() + self.programs.len() > before
    }

    /// By name, how often the programs have run while the kernel kept statistics, and the nanoseconds that took.
    #[must_use]
    pub fn runs(&self) -> BTreeMap<String, (u64, u64)> {
        let mut runs = BTreeMap::<_, (u64, u64)>::new();
        for program in loaded_programs().filter_map(Result::ok) {
            if self.programs.contains(&program.id()) {
                let sum = runs.entry(program.name_as_str().unwrap_or("?").to_owned()).or_default();
                sum.0 += program.run_count();
                sum.1 += u64::try_from(program.run_time().as_nanos()).expect("less than centuries");
            }
        }
        runs
    }

    /// What they hold now.
    #[must_use]
    pub fn measure(&self) -> Held {
        let mut held = Held::default();
        for program in loaded_programs().filter_map(Result::ok) {
            if self.programs.contains(&program.id()) {
                held.programs += 1;
                held.program_bytes += u64::from(program.memory_locked().unwrap_or_default());
                held.verified += program.verified_instruction_count().map_or(0, u64::from);
            }
        }
        for map in loaded_maps().filter_map(Result::ok) {
            if self.maps.contains(&map.id()) {
                held.maps += 1;
                held.map_bytes += MapData::from_id(map.id()).map_or(0, |map| memory(&map));
            }
        }
        held
    }
}

fn used_maps(program: &ProgramInfo) -> (u32, Vec<u32>) {
    (program.id(), program.map_ids().ok().flatten().unwrap_or_default())
}

fn id_of(map: &MapData) -> Option<u32> {
    Some(map.info().ok()?.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_its_maps_and_strangers_stay_out() {
        let used = [(3, vec![30]), (1, vec![10, 20]), (2, vec![20, 30]), (9, vec![90])];
        let mut own = KernelObjects { programs: BTreeSet::new(), maps: [10].into() };
        while used.iter().any(|(program, maps)| own.add_if_used(*program, maps)) {}
        assert_eq!(own.programs, [1, 2, 3].into());
        assert_eq!(own.maps, [10, 20, 30].into());
    }
}
