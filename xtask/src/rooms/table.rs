//! `rooms.toml`.

use serde::Deserialize;

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(rename = "crate")]
    pub(super) crates: Vec<Crate>,
}

/// A crate's rooms, from top to bottom.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crate {
    /// The crate's name, which is its folder's as well.
    pub(super) name: String,
    /// Whether modules, too, must not import one another in a circle.
    #[serde(default)]
    pub(super) modules_have_no_circle: bool,
    #[serde(rename = "room")]
    pub(super) rooms: Vec<Room>,
}

/// Modules at the top of a crate that belong together, with everything in them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    pub(super) name: String,
    /// What it is for, in a sentence.
    pub(super) does: String,
    /// The modules at the top of the crate; the one with the room's name if none is given.
    #[serde(default)]
    modules: Vec<String>,
    /// The rooms that it may import.
    #[serde(default)]
    pub(super) imports: Vec<String>,
    /// Why its own modules may import one another in a circle, if they may.
    pub(super) circles: Option<String>,
}

impl Crate {
    /// The room that a module at the top of the crate is in.
    pub(super) fn room_of(&self, module: &str) -> Option<&Room> {
        self.rooms.iter().find(|room| room.has(module))
    }

    /// What is wrong with the table itself.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (place, room) in self.rooms.iter().enumerate() {
            let below = &self.rooms[place + 1..];
            for import in &room.imports {
                if !below.iter().any(|lower| lower.name == *import) {
                    faults.push(format!(
                        "{}: `{}` may import `{import}`, which does not stand below it",
                        self.name, room.name
                    ));
                }
            }
            if below.iter().any(|lower| lower.name == room.name) {
                faults.push(format!("{}: the room `{}` is there twice", self.name, room.name));
            }
            if room.does.is_empty() {
                faults.push(format!("{}: the room `{}` does nothing", self.name, room.name));
            }
        }
        faults
    }
}

impl Room {
    pub(super) fn has(&self, module: &str) -> bool {
        if self.modules.is_empty() {
            return self.name == module;
        }
        self.modules.iter().any(|name| name == module)
    }
}
