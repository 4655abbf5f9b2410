//! Programs, maps and links that the kernel has, of proxyip and of everybody else: for a support bundle.

use std::fmt::{Debug, Display};

use aya::maps::loaded_maps;
use aya::programs::{loaded_links, loaded_programs};
use serde_json::{Value, json};

/// All programs; one that cannot be read is an error in its place.
pub(crate) fn programs() -> Vec<Value> {
    entries(loaded_programs(), |program| {
        json!({
            "id": program.id(),
            "name": program.name_as_str(),
            "type": kind(&program.program_type(), "BPF_PROG_TYPE_"),
            "tag": format!("{:016x}", program.tag()),
            "verified_instructions": program.verified_instruction_count(),
            "translated_bytes": program.size_translated(),
            "maps": program.map_ids().ok().flatten(),
            "uid": program.created_by_uid(),
        })
    })
}

/// All maps.
pub(crate) fn maps() -> Vec<Value> {
    entries(loaded_maps(), |map| {
        json!({
            "id": map.id(),
            "name": map.name_as_str(),
            "type": map.map_type().map(|kind| format!("{kind:?}")).ok(),
            "key_bytes": map.key_size(),
            "value_bytes": map.value_size(),
            "max_entries": map.max_entries(),
        })
    })
}

/// All links. Programs that are attached in the old way, such as filters of TC, have none.
pub(crate) fn links() -> Vec<Value> {
    entries(loaded_links(), |link| {
        json!({
            "id": link.id(),
            "program": link.program_id(),
            "type": link.link_type().map(|kind| format!("{kind:?}")).ok(),
        })
    })
}

fn entries<T, E: Display>(
    all: impl Iterator<Item = Result<T, E>>,
    describe: impl Fn(&T) -> Value,
) -> Vec<Value> {
    let entry = |one: Result<T, E>| match one {
        Ok(one) => describe(&one),
        Err(error) => json!({ "error": error.to_string() }),
    };
    all.map(entry).collect()
}

/// The name of a constant, without what all of its kind begin with.
fn kind(constant: &impl Debug, prefix: &str) -> String {
    format!("{constant:?}").trim_start_matches(prefix).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_an_error_in_its_place() {
        let all = [Ok(1), Err("it is gone"), Ok(3)];
        let entries = entries(all.into_iter(), |id| json!({ "id": id }));
        assert_eq!(json!(entries), json!([{"id": 1}, {"error": "it is gone"}, {"id": 3}]));
    }
}
