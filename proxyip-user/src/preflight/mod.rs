//! What `proxyip run` would find here, without changing anything: nothing is pinned, attached or written.

pub mod applications;
pub mod check;
pub mod difference;
pub mod endpoints;
pub mod host;
pub mod inventory;
pub mod listening;
pub mod namespaces;

use std::path::{Path, PathBuf};

use proxyip_api::check::Subject;
use proxyip_api::status::Status;

pub use self::check::{Check, State};
use self::endpoints::Held;
use crate::bpf::pins;
use crate::bpf::probe::probe;
use crate::config::{Config, DEFAULT_PIN_PATH};
use crate::host::roots;
use crate::lifecycle::lock;

/// Looks at the host, and at what the configuration names. `pin_path` is that of the file, even if there is no
/// configuration because of its mistakes. `status` is that of the agent that answers where one should, and `again` the
/// command that looks once more.
#[must_use]
pub fn preflight(
    config: Option<&Config>,
    pin_path: Option<&Path>,
    status: Option<&Status>,
    again: &str,
) -> Vec<Check> {
    let agent = status.map(|status| status.pid);
    let pin_path = &pin_path.map_or_else(|| pins_without_file(agent), Path::to_owned);
    if let Some(config) = config {
        roots::follow(&config.agent);
    }
    let capability = probe();
    let holder = lock::holder_of(pin_path);
    let mut checks = host::checks(&capability, config, pin_path, (holder, agent));
    checks.extend(holder.and_then(|holder| namespaces::elsewhere(holder, again)));
    if let Some(config) = config {
        checks.extend(host::mounts(&config.agent));
        if let Ok(capability) = &capability
            && let Err(error) = capability.check(config)
        {
            checks.push(Check::problem(Subject::Kernel, format!("{error:#}")));
        }
        let has_kfunc = capability.is_ok_and(|capability| capability.assign.is_some());
        let held = match (status, holder) {
            (Some(status), _) => Held::At(status.settings.api.http),
            (None, Some(_)) => Held::Unknown,
            (None, None) => Held::At(None),
        };
        checks.extend(endpoints::checks(config, held));
        checks.extend(namespaces::checks(config, has_kfunc));
        checks.extend(applications::checks(config, has_kfunc));
    }
    checks
}

/// Where the agent that answers has its pins; the default if none does, or if it is in another PID namespace.
fn pins_without_file(agent: Option<u32>) -> PathBuf {
    let default = Path::new(DEFAULT_PIN_PATH);
    let paths = std::iter::once(default.to_owned()).chain(pins::others(default));
    held_by(agent, paths, lock::holder_of).unwrap_or_else(|| default.to_owned())
}

fn held_by(
    agent: Option<u32>,
    mut paths: impl Iterator<Item = PathBuf>,
    holder_of: impl Fn(&Path) -> Option<u32>,
) -> Option<PathBuf> {
    let agent = agent?;
    paths.find(|path| holder_of(path) == Some(agent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_the_pins_of_the_agent_that_answers_are_looked_at() {
        let [default, blue] = [DEFAULT_PIN_PATH, "/sys/fs/bpf/blue"].map(PathBuf::from);
        let holder_of = |path: &Path| {
            [(&default, 7), (&blue, 8)]
                .iter()
                .find(|(there, _)| *there == path)
                .map(|(_, pid)| *pid)
        };
        let looked_at =
            |agent| held_by(agent, [&default, &blue].map(Clone::clone).into_iter(), holder_of);
        assert_eq!(looked_at(Some(7)), Some(default.clone()));
        assert_eq!(looked_at(Some(8)), Some(blue.clone()));
        // Another agent on the host may serve others.
        assert_eq!((looked_at(None), looked_at(Some(9))), (None, None));
    }
}
