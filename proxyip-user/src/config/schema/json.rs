//! The JSON Schema of the configuration, for editors and other programs.
//!
//! It knows keys, kinds, choices and ranges. Rules that several keys make together are checked by the agent alone.

use serde_json::{Map, Value, json};

use super::entry::{Described, Fallback, Form, Kind, Need, Section, Shape};
use super::keys::SECTIONS;

/// Matches every network that is in its canonical form, and few other strings.
const NETWORK: &str = r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$";
/// Matches every port and range of ports.
const PORTS: &str = r"^\s*[0-9]{1,5}\s*(-\s*[0-9]{1,5}\s*)?$";

/// The schema, in draft 2020-12.
#[must_use]
pub fn json_schema() -> Value {
    let sections =
        SECTIONS.iter().map(|section| (section.name.to_owned(), section_schema(section)));
    let required = SECTIONS
        .iter()
        .filter(|section| matches!(section.shape, Shape::Tables(Need::Required, _)))
        .map(|section| section.name);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "proxyip.toml",
        "description": "The configuration of proxyip.",
        "type": "object",
        "properties": sections.collect::<Map<_, _>>(),
        "required": required.collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}

fn section_schema(section: &Section) -> Value {
    let table = table(section);
    let Shape::Tables(need, most) = section.shape else { return table };
    let mut list = json!({"type": "array", "items": table});
    if need != Need::Optional {
        list["minItems"] = 1.into();
    }
    if let Some(most) = most {
        list["maxItems"] = most.into();
    }
    list
}

fn table(section: &Section) -> Value {
    let properties = section.keys.iter().map(|key| (key.name().to_owned(), property(*key)));
    let mut schema = json!({
        "description": section.doc,
        "type": "object",
        "properties": properties.collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    let required = section.keys.iter().filter(|key| key.default() == Fallback::Required);
    let required: Vec<_> = required.map(|key| key.name()).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    let either = section.keys.iter().filter_map(|key| match key.default() {
        Fallback::RequiredUnless(other) => {
            Some(json!([{"required": [key.name()]}, {"required": [other]}]))
        }
        _ => None,
    });
    for either in either {
        schema["anyOf"] = either;
    }
    schema
}

fn property(key: &dyn Described) -> Value {
    let mut schema = kind(&key.kind());
    schema["description"] = key.doc().into();
    if let Fallback::Value(text) = key.default() {
        schema["default"] = literal(text);
    }
    schema
}

fn kind(kind: &Kind) -> Value {
    match kind {
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Number { least, most } => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Kind::Seconds { most } => json!({"type": "integer", "minimum": 1, "maximum": most}),
        Kind::Choice(choices) => json!({"type": "string", "enum": choices}),
        Kind::Choices(choices) => {
            json!({"type": "array", "items": {"type": "string", "enum": choices}, "minItems": 1})
        }
        Kind::Text(Form { pattern, .. }) => json!({"type": "string", "pattern": pattern}),
        Kind::Ports => json!({
            "type": "array",
            "items": {"anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": PORTS},
            ]},
            "minItems": 1,
        }),
        Kind::Networks => json!({"anyOf": [
            {"type": "array", "items": {"type": "string", "pattern": NETWORK}},
            {"type": "string", "pattern": r"\S"},
        ]}),
    }
}

/// A default as JSON.
fn literal(text: &str) -> Value {
    // TOML writes these values as JSON does, except numbers in other bases.
    let hexadecimal = text.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
    match hexadecimal {
        Some(number) => number.expect("the schema's own").into(),
        None => serde_json::from_str(text).expect("the schema's own"),
    }
}
