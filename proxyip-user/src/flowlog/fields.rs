//! The fields of a JSON line: names, types and meanings from the line's own type, events from lines of each kind.

mod samples;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use proxyip_api::line::Line;
use proxyip_api::tlvs::{SslJson, TlvsJson};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{PartialSchema, ToSchema};

use self::samples::{Sample, full_line, full_ssl, full_tlvs, samples};

/// A field, as the documents show it.
#[derive(Debug)]
pub(crate) struct Field {
    /// With the names of the objects that it is in: `tlvs.alpn`.
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    /// The events with this field in their lines.
    pub(crate) events: String,
    pub(crate) doc: String,
}

/// All fields, in the order of a line.
///
/// # Errors
/// If a field is not documented, or is in no line.
pub(crate) fn fields() -> Result<Vec<Field>> {
    let schemas = Schemas::new()?;
    let samples = samples()?;
    let tlvs = TlvsJson { ssl: Some(SslJson::default()), ..full_tlvs() };
    let mut fields = Vec::new();
    for (name, property) in schemas.properties("Line", &full_line())? {
        let events = events(&name, &samples)?;
        let inner = match name.as_str() {
            "tlvs" => schemas.properties("TlvsJson", &tlvs)?,
            _ => Vec::new(),
        };
        fields.push(property.into_field(name.clone(), &events));
        for (inner, property) in inner {
            let ssl = match inner.as_str() {
                "ssl" => schemas.properties("SslJson", &full_ssl())?,
                _ => Vec::new(),
            };
            fields.push(property.into_field(format!("{name}.{inner}"), &events));
            for (innermost, property) in ssl {
                let name = format!("{name}.{inner}.{innermost}");
                fields.push(property.into_field(name, &events));
            }
        }
    }
    Ok(fields)
}

/// What a schema says of a field.
#[derive(Debug)]
struct Property {
    kind: &'static str,
    /// A sentence from each variant of the line that has the field and says something else of it.
    docs: Vec<String>,
}

impl Property {
    fn into_field(self, name: String, events: &str) -> Field {
        Field { name, kind: self.kind, events: events.into(), doc: self.docs.join(" ") }
    }
}

/// The schemas of a line and of what is in it, by name.
struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    fn new() -> Result<Self> {
        let mut schemas = vec![("Line".to_owned(), Line::schema())];
        Line::schemas(&mut schemas);
        let value = |(name, schema)| Ok((name, serde_json::to_value(schema)?));
        Ok(Self(schemas.into_iter().map(value).collect::<Result<_>>()?))
    }

    /// The properties of a type, in the order of a value that has them all.
    fn properties(&self, name: &str, full: &impl Serialize) -> Result<Vec<(String, Property)>> {
        let mut found = BTreeMap::new();
        self.collect(self.schema(name)?, &mut found)?;
        let full = serde_json::to_string(full)?;
        let place = |(name, property): (String, Property)| {
            let place = full.find(&format!("\"{name}\":"));
            Ok((place.with_context(|| format!("{name} is in no line"))?, (name, property)))
        };
        let mut places = found.into_iter().map(place).collect::<Result<Vec<_>>>()?;
        places.sort_by_key(|(place, _)| *place);
        Ok(places.into_iter().map(|(_, property)| property).collect())
    }

    fn schema(&self, name: &str) -> Result<&Value> {
        self.0.get(name).with_context(|| format!("{name} has no schema"))
    }

    /// Adds the properties of a schema, and of the schemas that it consists of.
    fn collect(&self, schema: &Value, found: &mut BTreeMap<String, Property>) -> Result<()> {
        if let Some(name) = reference(schema) {
            return self.collect(self.schema(name)?, found);
        }
        for key in ["oneOf", "allOf"] {
            for part in schema[key].as_array().into_iter().flatten() {
                self.collect(part, found)?;
            }
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let doc = description(property);
            let doc = doc.with_context(|| format!("{name} is not documented"))?.replace('\n', " ");
            let kind = kind(property);
            let known = found.entry(name.clone()).or_insert(Property { kind, docs: Vec::new() });
            ensure!(known.kind == kind, "{name} is {} and {kind}", known.kind);
            if !known.docs.contains(&doc) {
                known.docs.push(doc);
            }
        }
        Ok(())
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.rsplit('/').next()
}

/// Of an optional object the description stands beside the reference.
fn description(property: &Value) -> Option<&str> {
    let variants = property["oneOf"].as_array().into_iter().flatten();
    [property].into_iter().chain(variants).find_map(|schema| schema["description"].as_str())
}

fn kind(property: &Value) -> &'static str {
    let is = |name: &str| match &property["type"] {
        Value::Array(names) => names.iter().any(|known| known == name),
        known => known == name,
    };
    if is("string") {
        "text"
    } else if is("integer") {
        "number"
    } else if is("array") {
        "list"
    } else {
        "object"
    }
}

/// Names the events with this field in their lines.
fn events(name: &str, samples: &[(Sample, Map<String, Value>)]) -> Result<String> {
    let having: BTreeSet<_> =
        samples.iter().filter(|(_, line)| line.contains_key(name)).map(|(it, _)| *it).collect();
    ensure!(!having.is_empty(), "no line has {name}");
    if having.len() == samples.len() {
        return Ok("all".into());
    }
    let word = |sample: Sample, word: &'static str| having.contains(&sample).then_some(word);
    let refusals = [Sample::Denied, Sample::Segment, Sample::Late].map(|it| having.contains(&it));
    let refused = match refusals {
        [false, false, false] => None,
        [true, true, true] => Some("`refuse`"),
        [true, true, false] => Some("`refuse` (not by the agent)"),
        [true, false, false] => Some("`refuse` of a denied client"),
        _ => bail!("no words for the refusals that have {name}"),
    };
    let words = [
        word(Sample::Accept, "`accept`"),
        word(Sample::Close, "`close`"),
        refused,
        word(Sample::LeftToKernel, "`left_to_kernel`"),
    ];
    Ok(words.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Names of the fields of each kind of line, by how the documents have them.
    pub(crate) fn documented() -> BTreeMap<&'static str, BTreeSet<String>> {
        let label = |sample| match sample {
            Sample::Accept => "accept",
            Sample::Close => "close",
            Sample::Denied => "denied",
            Sample::Segment => "segment",
            Sample::Late => "late",
            Sample::LeftToKernel => "left_to_kernel",
        };
        let names = |line: Map<String, Value>| line.into_iter().map(|(name, _)| name).collect();
        samples().unwrap().into_iter().map(|(sample, line)| (label(sample), names(line))).collect()
    }

    /// Names of all that is in an object, with those of the objects around it.
    fn names(prefix: &str, object: &Value, found: &mut BTreeSet<String>) {
        for (name, value) in object.as_object().into_iter().flatten() {
            let name = format!("{prefix}{name}");
            names(&format!("{name}."), value, found);
            found.insert(name);
        }
    }

    #[test]
    fn the_list_has_what_lines_have_and_nothing_else() {
        let mut written = BTreeSet::new();
        for (_, line) in samples().unwrap() {
            names("", &Value::Object(line), &mut written);
        }
        let listed: Vec<_> = fields().unwrap().into_iter().map(|field| field.name).collect();
        assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), written);
        assert_eq!(listed.len(), written.len(), "none twice: {listed:?}");
        assert_eq!(listed[..3], ["event", "time", "verdict"], "in the order of a line");
    }

    #[test]
    fn a_field_says_which_events_have_it() {
        let events: BTreeMap<_, _> =
            fields().unwrap().into_iter().map(|field| (field.name, field.events)).collect();
        for (name, expected) in [
            ("event", "all"),
            ("verdict", "`accept`, `close`, `refuse`"),
            ("reason", "`refuse`, `left_to_kernel`"),
            ("origin", "`accept`, `close`, `refuse` of a denied client"),
            ("tlvs.alpn", "`accept`, `close`"),
            ("start", "`close`, `refuse`"),
            ("bytes_received", "`close`, `refuse` (not by the agent)"),
            ("duration_ms", "`close`"),
        ] {
            assert_eq!(events[name], expected, "{name}");
        }
    }
}
