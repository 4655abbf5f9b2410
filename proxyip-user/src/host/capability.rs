//! What the running kernel can do, and what is done instead where it cannot.

use anyhow::{Result, bail, ensure};

use crate::config::{Config, HandOffChoice, distinct};

/// The kernel function that makes the accept hand-off possible.
pub(crate) const ASSIGN: &str = "bpf_sk_assign_tcp_reqsk";

/// What the running kernel can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capability {
    /// The kernel's release, as `uname -r` prints it.
    pub(crate) release: String,
    /// BTF id of the kernel function that makes the accept hand-off possible.
    pub(crate) assign: Option<u32>,
    /// TC programs can be attached with links.
    pub(crate) tcx: bool,
    /// Programs on sockets can tell network namespaces apart.
    pub(crate) netns_cookie: bool,
    /// Why it can run no configuration.
    pub(crate) unfit: Option<Unfit>,
}

/// What makes a kernel unfit for proxyip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Two packets may be in the kernel programs at a time on a processor.
    SoftirqsPreempt,
    /// A packet has no field in which the kernel programs mark what they queue.
    NoTcIndex,
}

impl Unfit {
    /// What is missing and what to do, behind the kernel's release.
    const fn sentence(self) -> &'static str {
        match self {
            Self::SoftirqsPreempt => {
                "was built with PREEMPT_RT. Packets interrupt one another within the kernel programs, so that a connection \
                 might get another one's client: run a kernel without PREEMPT_RT, one before 6.18, or one with \
                 CONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y that has its /boot/config"
            }
            Self::NoTcIndex => {
                "was built without CONFIG_NET_SCHED (there is no /proc/net/psched). Packets have no tc_index, in which \
                 proxyip marks those that it queues: run a kernel with it"
            }
        }
    }
}

impl Capability {
    /// What it cannot do, and the fallback that is taken; a line each.
    pub(crate) fn limits(&self) -> Vec<String> {
        let release = &self.release;
        let mut limits = Vec::new();
        if self.assign.is_none() {
            limits.push(format!(
                "Linux {release} has no {ASSIGN}() (6.9 with CONFIG_SYN_COOKIES and BTF has): hand_off \"auto\" \
                 translates"
            ));
        }
        if !self.tcx {
            limits.push(format!(
                "Linux {release} has no TCX links (6.6 has): clsact filters are used instead"
            ));
        }
        if !self.netns_cookie {
            limits.push(format!(
                "Linux {release} has no cookies of network namespaces for programs on sockets (5.15 has): \
                 one network namespace can be served"
            ));
        }
        limits
    }

    /// Refuses a configuration that needs more than there is.
    ///
    /// # Errors
    /// Names the listener and what to do.
    pub(crate) fn check(&self, config: &Config) -> Result<()> {
        if let Some(unfit) = self.unfit {
            bail!("Linux {} {}", self.release, unfit.sentence());
        }
        let accept = config.listeners.iter().find(|one| one.hand_off == HandOffChoice::Accept);
        if let (Some(listener), None) = (accept, self.assign) {
            bail!(
                "listener {:?} wants hand_off \"accept\", but Linux {} has no {}() (6.9 with \
                 CONFIG_SYN_COOKIES and BTF has): write \"auto\" or \"translate\"",
                listener.name,
                self.release,
                ASSIGN
            );
        }
        let namespaces = distinct(config.interfaces.iter().map(|interface| &interface.netns));
        ensure!(
            self.netns_cookie || namespaces.len() == 1,
            "the configuration names {} network namespaces, but on Linux {} only one can be served (from \
             5.15 on there may be more): remove the others' interfaces",
            namespaces.len(),
            self.release
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(release: &str, assign: Option<u32>, tcx: bool, netns_cookie: bool) -> Capability {
        Capability { release: release.into(), assign, tcx, netns_cookie, unfit: None }
    }

    fn config(hand_off: &str, interfaces: &str) -> Config {
        let listener =
            format!("[[listener]]\nports=[443]\ntrusted=['10.0.0.0/8']\nhand_off='{hand_off}'\n");
        Config::from_toml(&format!("{listener}{interfaces}")).unwrap()
    }

    #[test]
    fn each_thing_that_is_missing_has_its_line() {
        for (capability, parts) in [
            (linux("6.18.1", Some(1), true, true), &[][..]),
            (linux("6.6.0", None, true, true), &["Linux 6.6.0 has no bpf_sk_assign_tcp_reqsk()"]),
            (linux("6.1.0", None, false, true), &["\"auto\" translates", "clsact filters"]),
            (
                linux("5.10.0", None, false, false),
                &["\"auto\" translates", "clsact filters", "one network namespace"],
            ),
        ] {
            let limits = capability.limits();
            assert_eq!(limits.len(), parts.len(), "{limits:#?}");
            for (limit, part) in limits.iter().zip(parts) {
                assert!(limit.contains(part), "{limit}");
            }
        }
    }

    #[test]
    fn what_the_kernel_cannot_do_is_refused() {
        let two = "[[interface]]\n[[interface]]\nnetns='/run/netns/blue'\n";
        let (old, oldest) =
            (linux("6.1.0-18", None, false, true), linux("5.10.0-8", None, false, false));
        for (capability, config, expected) in [
            (&old, config("auto", two), None),
            (&old, config("translate", ""), None),
            (&old, config("accept", ""), Some("listener \"default\" wants hand_off \"accept\"")),
            (&old, config("accept", ""), Some("Linux 6.1.0-18")),
            (&oldest, config("auto", ""), None),
            (&oldest, config("auto", two), Some("on Linux 5.10.0-8 only one")),
        ] {
            let error = capability.check(&config).err().map(|error| error.to_string());
            match (&error, expected) {
                (None, None) => {}
                (Some(error), Some(part)) => assert!(error.contains(part), "{error}"),
                _ => panic!("{capability:?}: {error:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn unfit_kernels_are_refused_with_what_to_do() {
        let kernel = linux("6.18.5-rt", Some(1), true, true);
        kernel.check(&config("auto", "")).unwrap();
        for (unfit, parts) in [
            (Unfit::SoftirqsPreempt, ["PREEMPT_RT.", "CONFIG_PREEMPT_RT_NEEDS_BH_LOCK=y"]),
            (Unfit::NoTcIndex, ["CONFIG_NET_SCHED", "tc_index"]),
        ] {
            let kernel = Capability { unfit: Some(unfit), ..kernel.clone() };
            let error = kernel.check(&config("translate", "")).unwrap_err().to_string();
            for part in ["Linux 6.18.5-rt"].into_iter().chain(parts) {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn two_interfaces_of_one_namespace_are_one_namespace() {
        let config = config("auto", "[[interface]]\n[[interface]]\nname='eth1'\n");
        linux("5.10.0", None, false, false).check(&config).unwrap();
    }
}
