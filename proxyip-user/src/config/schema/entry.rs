//! What an entry of the schema has: its name, its kind of values, and what documents say of it.

use std::path::PathBuf;

use crate::config::api::GroupName;
use crate::config::places::Namespaces;
use crate::config::problem::Fault;

/// A table of the file, or a list of tables.
pub struct Section {
    /// As in `[name]`.
    pub name: &'static str,
    /// How often it comes.
    pub shape: Shape,
    /// A sentence.
    pub doc: &'static str,
    /// Its keys, in the order in which the documents show them.
    pub keys: &'static [&'static (dyn Described + Sync)],
    /// Keys that a later version is going to have.
    pub(in crate::config) later: &'static [&'static str],
}

/// How often a section comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[name]`, at most once.
    Table,
    /// `[[name]]`, any number of times. If the key is there, its list is not empty.
    Tables(Need, Most),
}

/// Whether a list of tables must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// At least one table.
    Required,
    /// Without the key there is one table, with every key at its default.
    OneByDefault,
    /// Without the key there is none.
    Optional,
}

/// How many tables a list has at most; `None` if nothing limits them by number.
pub type Most = Option<u32>;

/// A key. Its values are of one kind.
pub(in crate::config) struct Key<K> {
    /// Its name in its table.
    pub(in crate::config) name: &'static str,
    pub(in crate::config) kind: K,
    pub(super) default: Fallback,
    pub(super) effect: Effect,
    pub(super) doc: &'static str,
}

/// What holds without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The key must be there.
    Required,
    /// This key or the other one must be there.
    RequiredUnless(&'static str),
    /// This value, as TOML.
    Value(&'static str),
    /// No value says the same; a few words do.
    Absent(&'static str),
}

/// What puts a changed value in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A reload, for the next connection.
    Reload,
    /// `proxyip detach`, and a start of the agent.
    Detach,
}

impl Effect {
    /// A word for it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Detach => "detach",
        }
    }
}

/// What documents say of a key.
pub trait Described {
    /// Its name in its table.
    fn name(&self) -> &'static str;
    /// Its values.
    fn kind(&self) -> Kind;
    /// What holds without it.
    fn default(&self) -> Fallback;
    /// What puts a changed value in force.
    fn effect(&self) -> Effect;
    /// One sentence or more.
    fn doc(&self) -> &'static str;
}

/// The values of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// An integer, ends included.
    Number {
        /// The smallest.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// An integer, from 1.
    Seconds {
        /// The largest.
        most: u32,
    },
    /// One of these strings.
    Choice(Vec<&'static str>),
    /// A list of at least one of these strings.
    Choices(Vec<&'static str>),
    /// A string.
    Text(Form),
    /// A list of at least one port or range of ports.
    Ports,
    /// A list of networks, or one string of them.
    Networks,
}

impl<K: Values> Described for Key<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        self.kind.describe()
    }

    fn default(&self) -> Fallback {
        self.default
    }

    fn effect(&self) -> Effect {
        self.effect
    }

    fn doc(&self) -> &'static str {
        self.doc
    }
}

/// The kind of a key, as its type.
pub(in crate::config) trait Values {
    fn describe(&self) -> Kind;
}

/// `true` or `false`.
pub(in crate::config) struct Flag;
/// An integer, ends included.
pub(in crate::config) struct Number {
    pub(in crate::config) least: u32,
    pub(in crate::config) most: u32,
}
/// Seconds, from 1 to this many.
pub(in crate::config) struct Seconds(pub(in crate::config) u32);
/// Strings, and what each means.
pub(in crate::config) struct Choice<T: 'static>(pub(in crate::config) &'static [(&'static str, T)]);
/// A list of these strings.
pub(in crate::config) struct Choices<T: 'static>(
    pub(in crate::config) &'static [(&'static str, T)],
);
/// A string, and what reads it.
pub(in crate::config) struct Text<T> {
    pub(super) form: Form,
    pub(in crate::config) parse: fn(&str) -> Result<T, Fault>,
}
/// Ports and ranges of ports.
pub(in crate::config) struct Ports;
/// A list of networks, or one string of them.
pub(in crate::config) struct NetworkList;

pub(in crate::config) type Path = Text<PathBuf>;
pub(in crate::config) type Namespace = Text<Namespaces>;
pub(in crate::config) type Group = Text<GroupName>;

/// What a string looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// In a few words.
    pub words: &'static str,
    /// A regular expression (ECMA-262) that all good values match, and few others.
    pub pattern: &'static str,
}

impl Values for Flag {
    fn describe(&self) -> Kind {
        Kind::Flag
    }
}

impl Values for Number {
    fn describe(&self) -> Kind {
        Kind::Number { least: self.least, most: self.most }
    }
}

impl Values for Seconds {
    fn describe(&self) -> Kind {
        Kind::Seconds { most: self.0 }
    }
}

impl<T> Values for Choice<T> {
    fn describe(&self) -> Kind {
        Kind::Choice(self.0.iter().map(|(label, _)| *label).collect())
    }
}

impl<T> Values for Choices<T> {
    fn describe(&self) -> Kind {
        Kind::Choices(self.0.iter().map(|(label, _)| *label).collect())
    }
}

impl<T> Values for Text<T> {
    fn describe(&self) -> Kind {
        Kind::Text(self.form)
    }
}

impl Values for Ports {
    fn describe(&self) -> Kind {
        Kind::Ports
    }
}

impl Values for NetworkList {
    fn describe(&self) -> Kind {
        Kind::Networks
    }
}
