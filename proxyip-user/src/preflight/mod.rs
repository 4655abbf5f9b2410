//! What `proxyip run` would find here, without changing anything: nothing is pinned, attached or written.

pub mod applications;
pub mod check;
pub mod endpoints;
pub mod host;
pub mod inventory;
pub mod listening;
pub mod namespaces;

use proxyip_api::check::Subject;

pub use self::check::{Check, State};
use crate::bpf::probe::probe;
use crate::config::{Config, DEFAULT_PIN_PATH};
use crate::lifecycle::lock;

/// Looks at the host, and at what the configuration names. `agent` is the process that answers where one should.
#[must_use]
pub fn preflight(config: Option<&Config>, agent: Option<u32>) -> Vec<Check> {
    let pin_path = config.map_or(DEFAULT_PIN_PATH.as_ref(), |config| &*config.agent.pin_path);
    let capability = probe();
    let holder = lock::holder_of(pin_path);
    let mut checks = host::checks(&capability, config, (holder, agent));
    checks.extend(holder.and_then(namespaces::elsewhere));
    if let Some(config) = config {
        if let Ok(capability) = &capability
            && let Err(error) = capability.check(config)
        {
            checks.push(Check::problem(Subject::Kernel, format!("{error:#}")));
        }
        let has_kfunc = capability.is_ok_and(|capability| capability.assign.is_some());
        checks.extend(endpoints::checks(config, holder.or(agent).is_some()));
        checks.extend(namespaces::checks(config, has_kfunc));
        checks.extend(applications::checks(config, has_kfunc));
    }
    checks
}
