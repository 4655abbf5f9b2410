//! Where an entry's interfaces are: names, and patterns of names.

use std::fmt;
use std::path::{Path, PathBuf};

use glob::Pattern;

use super::problem::Fault;

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Netns {
    /// The namespace that the agent was started in.
    Host,
    /// The namespace that this file stands for, for example `/run/netns/blue`.
    Path(PathBuf),
}

impl Netns {
    /// The file that it is named by.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Host => None,
            Self::Path(path) => Some(path),
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the agent's network namespace"),
            Self::Path(path) => write!(f, "network namespace {}", path.display()),
        }
    }
}

/// Where frames are looked at before the kernel makes an skb of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Xdp {
    /// Nowhere.
    #[default]
    Off,
    /// In the driver, if it is known to send frames back.
    Auto,
    /// In the driver.
    Native,
    /// Behind the driver, which has made the skb.
    Generic,
}

/// The interfaces of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Names {
    /// The one with this name.
    One(String),
    /// Those whose names match.
    Like(Pattern),
}

/// The network namespaces of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// This one.
    One(Netns),
    /// Those whose files match.
    Like(FilePattern),
}

/// A pattern of the names of files in one directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePattern {
    /// The directory.
    pub directory: PathBuf,
    /// What their names look like.
    pub name: Pattern,
}

impl Xdp {
    /// As in the configuration.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

impl Names {
    /// Whether this name is one of them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::One(one) => one == name,
            Self::Like(pattern) => pattern.matches(name),
        }
    }
}

impl Namespaces {
    /// Whether this namespace is one of them.
    #[must_use]
    pub fn contains(&self, netns: &Netns) -> bool {
        match (self, netns) {
            (Self::One(one), _) => one == netns,
            (Self::Like(pattern), Netns::Path(path)) => pattern.contains(path),
            (Self::Like(_), Netns::Host) => false,
        }
    }
}

impl FilePattern {
    /// Whether this file matches.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        path.parent() == Some(&self.directory) && name.is_some_and(|name| self.name.matches(name))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Like(pattern) => f.write_str(pattern.as_str()),
        }
    }
}

/// As in the configuration.
impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(Netns::Host) => f.write_str("host"),
            Self::One(Netns::Path(path)) => write!(f, "{}", path.display()),
            Self::Like(FilePattern { directory, name }) => {
                write!(f, "{}", directory.join(name.as_str()).display())
            }
        }
    }
}

/// Whether the text means more than itself.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

pub(super) fn pattern(text: &str) -> Result<Pattern, Fault> {
    Pattern::new(text)
        .map_err(|error| Fault::NotAPattern { value: text.into(), why: error.msg.into() })
}

/// Reads a path whose last part is a pattern.
pub(super) fn file_pattern(text: &str) -> Result<FilePattern, Fault> {
    let not_here = || Fault::PatternInDirectory(text.into());
    let (directory, name) = text.rsplit_once('/').ok_or_else(not_here)?;
    if is_pattern(directory) || !is_pattern(name) {
        return Err(not_here());
    }
    let directory = if directory.is_empty() { "/" } else { directory };
    Ok(FilePattern { directory: directory.into(), name: pattern(name)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_pattern_matches_names_in_its_directory_alone() {
        let pattern = file_pattern("/run/netns/cni-*").unwrap();
        for (path, is_one) in [
            ("/run/netns/cni-1", true),
            ("/run/netns/cni-", true),
            ("/run/netns/blue", false),
            ("/run/netns/cni-1/net", false),
            ("/run/cni-1", false),
        ] {
            assert_eq!(pattern.contains(Path::new(path)), is_one, "{path}");
        }
        assert!(!Namespaces::Like(pattern).contains(&Netns::Host));
        assert!(file_pattern("/[a-c]").unwrap().contains(Path::new("/b")));
    }

    #[test]
    fn an_entry_reads_as_it_was_written() {
        for text in ["/run/netns/cni-*", "/?"] {
            assert_eq!(Namespaces::Like(file_pattern(text).unwrap()).to_string(), text);
        }
        assert_eq!(Names::Like(pattern("eth[0-9]").unwrap()).to_string(), "eth[0-9]");
    }
}
