//! The programs of named sets that rules of iptables have. A rule keeps its program when the pin is gone, and nobody tells the
//! agent when the rule goes.

use std::collections::{BTreeSet, HashMap};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{MapData, MapInfo};
use aya::programs::{ProgramError, ProgramInfo, SocketFilter, loaded_programs};
use aya_obj::Object;

use super::object;
use super::pins::map_directory;
use super::programs::{SET, program_of};
use super::raw_map::RawMap;

/// The object's read-only data, as the kernel calls the map.
const READ_ONLY: &str = ".rodata";
/// The global with the place of a program's set.
const GLOBAL: &str = "SET";

/// The places of sets that programs look at.
pub(crate) enum Watched {
    Places(BTreeSet<u16>),
    /// There are programs of another version, and where these look is not known.
    Unknown,
}

impl Watched {
    /// The places that the kernel's programs look at now. `ebpf` has this version's program loaded.
    ///
    /// # Errors
    /// If programs or their data cannot be read.
    pub(crate) fn read(pin_path: &Path, ebpf: &mut Ebpf) -> Result<Self> {
        let program: &mut SocketFilter = program_of(ebpf, SET)?;
        let own = program.info()?;
        let sets = MapInfo::from_pin(map_directory(pin_path).join("SETS"))?.id();
        let at = offset_of(GLOBAL)?;
        let mut places = BTreeSet::new();
        for program in loaded_programs() {
            let program = match program {
                Ok(program) => program,
                // One that has ended meanwhile looks nowhere.
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error).context("programs cannot be listed"),
            };
            if program.name() != SET.as_bytes() || program.id() == own.id() {
                continue;
            }
            let maps = match program.map_ids() {
                Ok(maps) => maps.unwrap_or_default(),
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error).context("a program's maps cannot be listed"),
            };
            if !maps.contains(&sets) {
                continue;
            }
            // The same instructions look for their data at the same offsets.
            if program.tag() != own.tag() {
                return Ok(Self::Unknown);
            }
            places.insert(place_of(&program, &maps, at)?);
        }
        Ok(Self::Places(places))
    }

    /// Whether nobody looks at a place.
    pub(crate) fn is_free(&self, place: u16) -> bool {
        matches!(self, Self::Places(places) if !places.contains(&place))
    }
}

fn is_gone(error: &ProgramError) -> bool {
    matches!(error, ProgramError::SyscallError(error) if error.io_error.kind() == ErrorKind::NotFound)
}

/// The place that a program looks at.
fn place_of(program: &ProgramInfo, maps: &[u32], at: usize) -> Result<u16> {
    let is_it =
        |id: &&u32| MapInfo::from_id(**id).is_ok_and(|info| info.name_as_str() == Some(READ_ONLY));
    let id = maps.iter().find(is_it);
    let id = id.with_context(|| format!("program {} has no read-only data", program.id()))?;
    let data = RawMap::of(MapData::from_id(*id)?)?.get(&0_u32.to_ne_bytes())?;
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    let place = u32::from_ne_bytes(*bytes.context("too little read-only data")?);
    Ok(u16::try_from(place)?)
}

/// Where a global, which is zero, is in the object's read-only data. The library keeps the symbols to itself, and sets
/// globals.
fn offset_of(global: &str) -> Result<usize> {
    const MARK: [u8; 4] = [0xff; 4];
    let object = object::object(None)?;
    let mut object = Object::parse(&object).context("the kernel object cannot be read")?;
    let data = |object: &Object| {
        let map = object.maps.get(READ_ONLY).context("the kernel object has no read-only data")?;
        anyhow::Ok(map.data().to_vec())
    };
    let before = data(&object)?;
    object.patch_map_data(HashMap::from([(global, (&MARK[..], true))]))?;
    let after = data(&object)?;
    let at = before.iter().zip(&after).position(|(before, after)| before != after);
    let at = at.with_context(|| format!("the kernel object has no global {global}"))?;
    ensure!(after.get(at..at + MARK.len()) == Some(&MARK), "global {global} is no word");
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globals_have_places_of_their_own() {
        let [set, namespace] = [GLOBAL, "NAMESPACE"].map(|global| offset_of(global).unwrap());
        assert!(set.abs_diff(namespace) >= 4, "{set} {namespace}");
        assert!(offset_of("nobody").is_err());
    }

    #[test]
    fn places_of_programs_that_are_not_understood_are_kept() {
        assert!(!Watched::Unknown.is_free(7));
        let watched = Watched::Places(BTreeSet::from([7]));
        assert_eq!([7, 8].map(|place| watched.is_free(place)), [false, true]);
    }
}
