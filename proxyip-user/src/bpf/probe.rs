//! Asks the running kernel what it can do.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::{ProgramError, ProgramType, SchedClassifier, TcAttachType};
use aya::sys::{BpfHelper, SyscallError, is_helper_supported};

use super::object;
use crate::host::capability::{Capability, Unfit};
use crate::host::real_time;

/// Asks the kernel.
pub(crate) fn probe() -> Result<Capability> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")
        .context("the kernel's release cannot be read")?;
    let helper = BpfHelper::BPF_FUNC_get_netns_cookie;
    let netns_cookie = is_helper_supported(ProgramType::SockOps, helper)
        .context("the kernel refuses to load programs (root or CAP_BPF is needed)")?;
    Ok(Capability {
        release: release.trim().into(),
        assign: object::assign(),
        tcx: has_tcx()?,
        netns_cookie,
        unfit: unfit(release.trim())?,
    })
}

/// Why no configuration can run on it.
fn unfit(release: &str) -> Result<Option<Unfit>> {
    // The file and `tc_index` have the same condition (`net/sched/sch_api.c`, `include/linux/skbuff.h`).
    if !Path::new("/proc/net/psched").exists() {
        return Ok(Some(Unfit::NoTcIndex));
    }
    Ok(real_time::softirqs_preempt(release)?.then_some(Unfit::SoftirqsPreempt))
}

/// Whether the kernel knows TCX. Then it can be asked about any interface.
fn has_tcx() -> Result<bool> {
    match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
        Ok(_) => Ok(true),
        Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
            if io_error.raw_os_error() == Some(libc::EINVAL) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).context("the kernel does not say whether it has TCX links"),
    }
}
