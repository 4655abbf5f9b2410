//! Where to attach.

use crate::config::{Interface, Netns};

/// The interfaces of each namespace, in the order of the configuration.
pub(crate) fn by_namespace(interfaces: &[Interface]) -> Vec<(&Netns, Vec<&str>)> {
    let mut namespaces: Vec<(&Netns, Vec<&str>)> = Vec::new();
    for interface in interfaces {
        match namespaces.iter_mut().find(|(netns, _)| **netns == interface.netns) {
            Some((_, names)) => names.push(&interface.name),
            None => namespaces.push((&interface.netns, vec![&interface.name])),
        }
    }
    namespaces
}
