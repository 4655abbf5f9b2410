//! Reads typed values out of a TOML table and collects what is wrong with them.
//!
//! By hand and not by deriving `Deserialize`, since that ends at the first error.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{At, Fault, Place, Problem};
use super::schema::{Choice, Flag, Key, Number, Seconds, Section, Text};

/// A value where it stands in the file.
pub(super) type Node<'a, 'i> = &'a Spanned<DeValue<'i>>;

/// Collects problems.
pub(super) struct Report<'t> {
    text: &'t str,
    /// Offsets of the line feeds.
    line_ends: Vec<usize>,
    problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let line_ends = text.match_indices('\n').map(|(offset, _)| offset).collect();
        Self { text, line_ends, problems: Vec::new() }
    }

    /// The line of a byte offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_ends.partition_point(|end| *end < offset) + 1
    }

    pub(super) fn add(&mut self, offset: usize, key: impl Into<String>, fault: Fault) {
        let line = self.line(offset);
        self.problems.push(Problem { line, key: key.into(), fault });
    }

    pub(super) fn place(&mut self, place: Place, fault: Fault) {
        self.problems.push(place.problem(fault));
    }

    /// Takes over what the TOML parser says, with the key of the line that it points at.
    pub(super) fn add_syntax(&mut self, error: &toml::de::Error) {
        let offset = error.span().map_or(self.text.len(), |span| span.start);
        let line = self.text.lines().nth(self.line(offset) - 1).unwrap_or_default();
        let key = line.split_once('=').map_or("syntax", |(key, _)| key.trim()).to_owned();
        self.add(offset, key, Fault::Syntax(error.message().into()));
    }

    /// What was wrong, in the order of the lines.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }
}

/// A table of the file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a, 'i> {
    /// As in `[name]`; empty for the file itself.
    pub(super) name: &'static str,
    pub(super) entries: &'a DeTable<'i>,
    /// Offset of the table's beginning.
    pub(super) offset: usize,
}

impl<'a, 'i> Table<'a, 'i> {
    /// A key with its table's name, as problems name it.
    pub(super) fn path(self, key: &str) -> String {
        if self.name.is_empty() { key.into() } else { format!("{}.{key}", self.name) }
    }

    /// Reports keys that the section does not have.
    pub(super) fn check_keys(self, report: &mut Report, section: &'static Section) {
        let known: Vec<_> = section.keys.iter().map(|key| key.name()).collect();
        self.check_names(report, &known, section.later);
    }

    /// Reports each key that is not in `known` and not in `later`, the keys of a later version.
    pub(super) fn check_names(self, report: &mut Report, known: &[&'static str], later: &[&str]) {
        for key in self.entries.keys() {
            let name: &str = key.get_ref();
            let fault = match () {
                () if known.contains(&name) => continue,
                () if later.contains(&name) => Fault::KeyNotSupported,
                () => Fault::UnknownKey { known: known.to_vec() },
            };
            report.add(key.span().start, self.path(name), fault);
        }
    }

    /// Offset of the value of `key`, or of the table if there is none.
    pub(super) fn offset_of(self, key: &str) -> usize {
        self.node(key).map_or(self.offset, |node| node.span().start)
    }

    /// Offset of the value of `key` in a table of this one, or of what is there.
    pub(super) fn offset_within(self, table: &str, key: &str) -> usize {
        let inner = self.node(table).and_then(|node| node.get_ref().as_table());
        let node = inner.and_then(|inner| inner.get(key));
        node.map_or_else(|| self.offset_of(table), |node| node.span().start)
    }

    /// The value of `key` where it stands.
    pub(super) fn node(self, key: &str) -> Option<Node<'a, 'i>> {
        self.entries.get(key)
    }

    pub(super) fn wrong_type(
        self,
        report: &mut Report,
        key: &str,
        node: Node,
        expected: &'static str,
    ) {
        let found = match node.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        report.add(node.span().start, self.path(key), Fault::WrongType { expected, found });
    }

    /// The string of `key` and its offset; `None` if absent or reported.
    pub(super) fn text(self, report: &mut Report, key: &str) -> Option<(usize, &'a str)> {
        let node = self.node(key)?;
        let DeValue::String(text) = node.get_ref() else {
            self.wrong_type(report, key, node, "a string");
            return None;
        };
        Some((node.span().start, text))
    }

    /// The string of `key`, read as the schema says; `None` if absent or reported.
    pub(super) fn parsed<T>(self, report: &mut Report, key: &Key<Text<T>>) -> Option<T> {
        let (offset, text) = self.text(report, key.name)?;
        let value = (key.kind.parse)(text);
        value.map_err(|fault| report.add(offset, self.path(key.name), fault)).ok()
    }

    /// The parsed value, with its place.
    pub(super) fn placed<T>(self, report: &mut Report, key: &Key<Text<T>>) -> Option<At<T>> {
        let value = self.parsed(report, key)?;
        Some(At { value, place: self.place(report, key.name) })
    }

    /// The place of `key`.
    pub(super) fn place(self, report: &Report, key: &'static str) -> Place {
        Place { line: report.line(self.offset_of(key)), table: self.name, key }
    }

    /// The value that the string of `key` chooses; `None` if absent or reported.
    pub(super) fn choice<T: Copy>(self, report: &mut Report, key: &Key<Choice<T>>) -> Option<T> {
        let (offset, text) = self.text(report, key.name)?;
        let value = choose(text, key.kind.0);
        value.map_err(|fault| report.add(offset, self.path(key.name), fault)).ok()
    }

    /// The boolean of `key`; `None` if absent or reported.
    pub(super) fn flag(self, report: &mut Report, key: &Key<Flag>) -> Option<bool> {
        let node = self.node(key.name)?;
        let DeValue::Boolean(flag) = node.get_ref() else {
            self.wrong_type(report, key.name, node, "a boolean");
            return None;
        };
        Some(*flag)
    }

    /// The integer of `key` if it lies within its range; `None` if absent or reported.
    pub(super) fn number(self, report: &mut Report, key: &Key<Number>) -> Option<u32> {
        self.integer(report, key.name, &key.kind)
    }

    /// The seconds of `key` if they lie within its range; `None` if absent or reported.
    pub(super) fn seconds(self, report: &mut Report, key: &Key<Seconds>) -> Option<Duration> {
        let range = Number { least: 1, most: key.kind.0 };
        let seconds = self.integer(report, key.name, &range)?;
        Some(Duration::from_secs(seconds.into()))
    }

    fn integer(self, report: &mut Report, key: &str, range: &Number) -> Option<u32> {
        let node = self.node(key)?;
        let Some(number) = integer(node) else {
            self.wrong_type(report, key, node, "an integer");
            return None;
        };
        let Number { least, most } = *range;
        let number = u32::try_from(number).ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            report.add(node.span().start, self.path(key), Fault::OutOfRange { least, most });
        }
        number
    }

    /// The list of `key`; `None` if absent or reported.
    pub(super) fn list(self, report: &mut Report, key: &str) -> Option<(usize, &'a DeArray<'i>)> {
        let node = self.node(key)?;
        let DeValue::Array(list) = node.get_ref() else {
            self.wrong_type(report, key, node, "a list");
            return None;
        };
        Some((node.span().start, list))
    }

    /// The table of `[key]`; `None` if absent or reported.
    pub(super) fn table(self, report: &mut Report, key: &'static str) -> Option<Table<'a, 'i>> {
        let node = self.node(key)?;
        let DeValue::Table(entries) = node.get_ref() else {
            self.wrong_type(report, key, node, "a table");
            return None;
        };
        Some(Table { name: key, entries, offset: node.span().start })
    }

    /// The tables of `[[key]]`.
    pub(super) fn tables(self, report: &mut Report, key: &'static str) -> Vec<Table<'a, 'i>> {
        let Some((_, list)) = self.list(report, key) else { return Vec::new() };
        let mut tables = Vec::new();
        for node in list {
            match node.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(Table { name: key, entries, offset: node.span().start });
                }
                _ => self.wrong_type(report, key, node, "a table"),
            }
        }
        tables
    }
}

/// The integer that a node holds; integers beyond 64 bits are cut down to the largest.
pub(super) fn integer(node: Node) -> Option<i64> {
    let DeValue::Integer(number) = node.get_ref() else { return None };
    Some(i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX))
}

pub(super) fn choose<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, Fault> {
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => Err(Fault::NotOneOf {
            value: text.into(),
            choices: choices.iter().map(|(name, _)| *name).collect(),
        }),
    }
}
