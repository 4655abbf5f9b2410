//! The kernel, and what must be mounted and permitted.

use std::path::Path;

use anyhow::Result;
use caps::errors::CapsError;
use caps::{CapSet, Capability as Permission, CapsHashSet};
use proxyip_api::check::Subject;

use super::check::Check;
use crate::bpf::{cgroup, sockets};
use crate::config::{Agent, Config, Netns};
use crate::host::bpffs;
use crate::host::capability::Capability;
use crate::host::namespace::Namespace;
use crate::host::roots;
use crate::host::sysctl;

/// `agents` are the one that has the lock of the pins, and the one that answers.
pub(crate) fn checks(
    capability: &Result<Capability>,
    config: Option<&Config>,
    pin_path: &Path,
    agents: (Option<u32>, Option<u32>),
) -> Vec<Check> {
    let (holder, agent) = agents;
    let mut checks = kernel(capability);
    checks.extend([
        btf(Path::new("/sys/kernel/btf/vmlinux")),
        jit(jit_enable()),
        permissions(caps::read(None, CapSet::Effective)),
        Check::of(Subject::Bpffs, pins(pin_path)),
        Check::of(Subject::Cgroup, root_cgroup(config)),
        running(holder, agent, pin_path),
    ]);
    checks
}

/// Where the host's processes and named network namespaces are seen, if a configuration says where.
pub(crate) fn mounts(agent: &Agent) -> Option<Check> {
    let Agent { procfs_path, netns_path, .. } = agent;
    let seen = roots::check(agent).map(|()| {
        let (procfs, netns) = (procfs_path.display(), netns_path.display());
        format!("processes are seen in {procfs}, named network namespaces in {netns}")
    });
    let default = Agent::default();
    let is_default = (procfs_path, netns_path) == (&default.procfs_path, &default.netns_path);
    (seen.is_err() || !is_default).then(|| Check::of(Subject::Mounts, seen))
}

/// Limits of the kernel are nobody's mistake.
fn kernel(capability: &Result<Capability>) -> Vec<Check> {
    match capability {
        Ok(capability) => {
            let release = Check::ok(Subject::Kernel, format!("Linux {}", capability.release));
            let limits =
                capability.limits().into_iter().map(|limit| Check::ok(Subject::Kernel, limit));
            std::iter::once(release).chain(limits).collect()
        }
        Err(error) => vec![Check::problem(Subject::Kernel, format!("{error:#}"))],
    }
}

fn btf(path: &Path) -> Check {
    if path.exists() {
        Check::ok(Subject::Btf, "the kernel describes its types")
    } else {
        let sentence = "is missing: run a kernel with CONFIG_DEBUG_INFO_BTF";
        Check::problem(Subject::Btf, format!("{} {sentence}", path.display()))
    }
}

/// From the first namespace, if the own one does not show it.
fn jit_enable() -> Result<Option<u64>> {
    if let Some(value) = sysctl::jit()? {
        return Ok(Some(value));
    }
    let first = Namespace::open(&Netns::Path(roots::now().procfs.join("1/ns/net")));
    Ok(first.and_then(|namespace| namespace.run(sysctl::jit)).unwrap_or_default())
}

fn jit(value: Result<Option<u64>>) -> Check {
    match value {
        Ok(Some(0)) => Check::problem(
            Subject::Jit,
            "net.core.bpf_jit_enable is 0, but the programs need the JIT: sysctl -w net.core.bpf_jit_enable=1",
        ),
        Ok(Some(_)) => Check::ok(Subject::Jit, "on"),
        Ok(None) => Check::ok(
            Subject::Jit,
            "net.core.bpf_jit_enable cannot be seen from this network namespace; it must not be 0",
        ),
        Err(error) => Check::warning(Subject::Jit, format!("{error:#}")),
    }
}

fn permissions(effective: Result<CapsHashSet, CapsError>) -> Check {
    let effective = match effective {
        Ok(effective) => effective,
        Err(error) => return Check::problem(Subject::Permissions, error.to_string()),
    };
    // CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON; namespaces are entered with nothing less.
    let needed = [
        Permission::CAP_SYS_ADMIN,
        Permission::CAP_NET_ADMIN,
        // Else the kernel does not announce what changes in other namespaces.
        Permission::CAP_NET_BROADCAST,
    ];
    let missing: Vec<_> = needed.into_iter().filter(|one| !effective.contains(one)).collect();
    if missing.is_empty() {
        return Check::ok(Subject::Permissions, "those of root");
    }
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    Check::problem(
        Subject::Permissions,
        format!("{} missing: run this as root", missing.join(", ")),
    )
}

fn pins(pin_path: &Path) -> Result<String> {
    bpffs::check(pin_path)?;
    Ok(format!("{} is on a BPF file system", pin_path.display()))
}

fn root_cgroup(config: Option<&Config>) -> Result<String> {
    let root = cgroup::root()?;
    let getsockopt = config.is_some_and(|config| config.api.getsockopt);
    let hooks = if getsockopt { sockets::with_getsockopt() } else { sockets::always() };
    hooks.iter().try_for_each(|hook| hook.check(&root.directory))?;
    Ok(format!("the root of the hierarchy is reached by {}", root.mount.display()))
}

/// `holder` has the lock of the pins, and `agent` answers on the socket.
fn running(holder: Option<u32>, agent: Option<u32>, pin_path: &Path) -> Check {
    let place = pin_path.display();
    match (holder, agent) {
        (None, None) => Check::ok(Subject::Agent, "none runs"),
        (Some(holder), Some(agent)) if holder == agent => Check::ok(
            Subject::Agent,
            format!("process {agent} runs; `proxyip reload` makes it read a new file"),
        ),
        (Some(holder), Some(agent)) => Check::problem(
            Subject::Agent,
            format!(
                "process {agent} answers, but process {holder} has {place}: one agent per host, so stop one"
            ),
        ),
        (Some(holder), None) => Check::problem(
            Subject::Agent,
            format!(
                "process {holder} runs on {place} and does not answer: name its socket with --socket, or stop it"
            ),
        ),
        // Its pins are elsewhere, or it is in another PID namespace.
        (None, Some(agent)) => Check::ok(Subject::Agent, format!("process {agent} runs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::check::State;

    #[test]
    fn what_lacks_is_a_problem() {
        assert_eq!(btf(Path::new("/nonexistent")).state, State::Problem);
        assert_eq!(jit(Ok(Some(0))).state, State::Problem);
        assert_eq!(jit(Ok(Some(1))).state, State::Ok);
        assert_eq!(jit(Ok(None)).state, State::Ok);
        let check = permissions(Ok(CapsHashSet::from([Permission::CAP_NET_ADMIN])));
        assert_eq!(check.state, State::Problem);
        assert!(
            check.sentence.starts_with("CAP_SYS_ADMIN, CAP_NET_BROADCAST missing"),
            "{check:?}"
        );
        assert_eq!(permissions(Ok(caps::all())).state, State::Ok);
        let failed = kernel(&Err(anyhow::anyhow!("no permission")));
        assert_eq!(failed[0].state, State::Problem);
    }

    #[test]
    fn pins_belong_on_a_bpf_file_system() {
        let error = pins(Path::new("/proc/pins")).unwrap_err().to_string();
        assert!(error.starts_with("/proc/pins would not be"), "{error}");
    }

    #[test]
    fn an_agent_that_does_not_answer_is_a_problem() {
        let path = Path::new("/sys/fs/bpf/proxyip");
        for (holder, agent, state, part) in [
            (None, None, State::Ok, "none"),
            (Some(7), Some(7), State::Ok, "process 7 runs"),
            (None, Some(7), State::Ok, "process 7 runs"),
            (Some(7), None, State::Problem, "process 7 runs on /sys/fs/bpf/proxyip"),
            (Some(7), Some(8), State::Problem, "stop one"),
        ] {
            let check = running(holder, agent, path);
            assert_eq!(check.state, state, "{check:?}");
            assert!(check.sentence.contains(part), "{check:?}");
        }
    }
}
