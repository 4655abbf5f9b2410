//! What `proxyip check` looks at on a host.

use proxyip_common::labels;
use serde::{Serialize, Serializer};

labels! {
    /// The subjects of checks.
    Subject:
    Kernel "kernel" "whether the kernel can load the programs, and what it lacks"
        "Use Linux 5.10 or later; Linux 6.9 or later for the accept hand-off. Run the command as root."
    Btf "btf" "whether the kernel describes its types"
        "Run a kernel built with CONFIG_DEBUG_INFO_BTF."
    Jit "jit" "whether the JIT of BPF programs is on"
        "Run `sysctl -w net.core.bpf_jit_enable=1`."
    Permissions "permissions" "whether the command may do what the agent does"
        "Run the agent as root, or give its container CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_BROADCAST."
    Bpffs "bpffs" "whether the pins are on a BPF file system"
        "Run `mount -t bpf bpf /sys/fs/bpf` and let `pin_path` be below it. In a container, mount the directory of the host."
    Cgroup "cgroup" "whether the root of the cgroup hierarchy is reached, and takes the programs on sockets"
        "In a container, mount the cgroup file system of the host. If other software has an exclusive program there, let it attach with BPF_F_ALLOW_MULTI."
    Mounts "mounts" "whether `procfs_path` and `netns_path` lead to what they name"
        "In a container, mount the host's /proc and /run/netns there. The mount of /run/netns needs propagation (`mountPropagation: HostToContainer`)."
    Agent "agent" "whether an agent runs and answers"
        "Run one agent on a host. Name its socket with `--socket` if it is not the default one."
    FlowLog "flow_log" "whether the flow log can be written"
        "Correct `[log]` in the configuration, or the permissions of the file."
    Http "http" "whether the TCP address of the API is free"
        "Stop what listens there, or choose another address in `[api] http`."
    Netns "netns" "whether a network namespace of the configuration can be entered, and whether the command runs in the agent's"
        "Correct `netns`, or make the namespace: `ip netns list` shows those with names. Name each namespace once. If the agent runs in another namespace, run the command there, as the sentence says."
    Interface "interface" "whether an interface exists, can be served, and is free"
        "Correct `name` in `[[interface]]`: `ip link` shows the interfaces of a namespace."
    Sysctl "sysctl" "whether the sysctls of a network namespace can be read, and are as proxyip wants them"
        "Run the command as root, with /proc/sys mounted."
    TcpSyncookies "tcp_syncookies" "whether SYN cookies are on, which the accept hand-off needs"
        "Run `sysctl -w net.ipv4.tcp_syncookies=1` in the namespace."
    NfConntrackTcpLoose "nf_conntrack_tcp_loose" "whether connection tracking takes connections without a SYN, which the accept hand-off needs"
        "Run `sysctl -w net.netfilter.nf_conntrack_tcp_loose=1` in the namespace."
    TcpTimestamps "tcp_timestamps" "whether TCP timestamps are on"
        "Run `sysctl -w net.ipv4.tcp_timestamps=1` in the namespace."
    TcpWindowScaling "tcp_window_scaling" "whether windows may be larger than 64 KB"
        "Run `sysctl -w net.ipv4.tcp_window_scaling=1` in the namespace."
    TcpSack "tcp_sack" "whether selective acknowledgments are on"
        "Run `sysctl -w net.ipv4.tcp_sack=1` in the namespace."
    TcpSynackRetries "tcp_synack_retries" "whether translated connections have time to send their header"
        "Run `sysctl -w net.ipv4.tcp_synack_retries=5` in the namespace."
    Listener "listener" "whether applications listen on the guarded ports, and how"
        "Start the application, or name its network namespace and its own interface in `[[interface]]`."
}

impl Serialize for Subject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_advice_is_whole_sentences() {
        for subject in Subject::ALL {
            let (label, advice) = (subject.label(), subject.advice());
            assert!(advice.starts_with(char::is_uppercase) && advice.ends_with('.'), "{label}");
            assert_eq!(advice.matches('`').count() % 2, 0, "{label}: {advice}");
        }
    }
}
