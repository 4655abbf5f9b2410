//! The configuration: what to guard, where, and how.
//!
//! Pure: a text becomes a [`Spec`], without a look at this host. The room `inputs` reads what a specification points
//! at, the lists of networks and the groups. It gives the [`Config`], which is complete and checked: the rest of the
//! agent need not look for contradictions. Command-line flags give one at once ([`Config::from_arguments`]).

mod api;
mod arguments;
mod file;
mod fixed;
mod listener;
mod listeners;
mod lists;
mod model;
pub(crate) mod networks;
mod places;
mod problem;
pub mod schema;
mod shown;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod value;
mod warnings;

pub use proxyip_common::settings::{Denied, HandOffChoice, Untrusted};

pub use self::api::{Access, Api, DEFAULT_SOCKET, GroupName};
pub use self::listener::{Headerless, Listener, Unknown, Versions};
pub use self::model::{
    Agent, Config, DEFAULT_NETNS_PATH, DEFAULT_PIN_PATH, DEFAULT_PROCFS_PATH, Destination,
    FlowFormat, Interface, KernelLog, Log, Origin, Set, Spec, Whereabouts, default_max_flows,
    processors,
};
pub use self::networks::{ListSpec, NetworkFile, Networks};
pub use self::places::{FilePattern, Names, Namespaces, Netns, Xdp};
pub use self::problem::{At, ConfigError, Fault, Place, Problem};
pub(crate) use self::value::distinct;
pub use self::value::{PortRange, interfaces, network, network_or_address, port_ranges};
