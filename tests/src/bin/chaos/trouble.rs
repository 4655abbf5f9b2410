//! What happens to the server, and how it is mended.

use std::fs;

use nix::sys::signal::Signal;

use proxyip_tests::random::Random;

use crate::scene::{Configuration, Pins, Scene};

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    LinkDown,
    LinkDeleted,
    LinkRenamed,
    OneDetached,
    AllDetached,
    Unpinned,
    MountedOver,
    Stopped,
    Killed,
    Frozen,
    Reloaded,
    Sysctl(&'static str, &'static str, &'static str),
    Mtu(u16),
    Blackhole,
    RouteMtu,
    Rule(&'static str),
}

/// What a trouble is about. Two of one kind would undo each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Link,
    Attachment,
    Agent,
    Host,
}

/// All of them.
pub(crate) const TROUBLES: [Trouble; 33] = [
    Trouble::LinkDown,
    Trouble::LinkDeleted,
    Trouble::LinkDeleted,
    Trouble::LinkRenamed,
    Trouble::OneDetached,
    Trouble::OneDetached,
    Trouble::OneDetached,
    Trouble::AllDetached,
    Trouble::Unpinned,
    Trouble::Unpinned,
    Trouble::MountedOver,
    Trouble::Stopped,
    Trouble::Stopped,
    Trouble::Killed,
    Trouble::Killed,
    Trouble::Frozen,
    Trouble::Reloaded,
    Trouble::Reloaded,
    Trouble::Sysctl("ipv4.tcp_syncookies", "0", "1"),
    Trouble::Sysctl("ipv4.tcp_abort_on_overflow", "1", "0"),
    Trouble::Sysctl("ipv4.tcp_timestamps", "0", "1"),
    Trouble::Sysctl("ipv4.tcp_window_scaling", "0", "1"),
    Trouble::Sysctl("ipv4.tcp_sack", "0", "1"),
    Trouble::Sysctl("ipv4.conf.all.rp_filter", "1", "0"),
    Trouble::Sysctl("ipv4.conf.all.forwarding", "1", "0"),
    Trouble::Sysctl("netfilter.nf_conntrack_tcp_loose", "0", "1"),
    Trouble::Mtu(1280),
    Trouble::Blackhole,
    Trouble::RouteMtu,
    Trouble::Rule("-t nat %s PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080"),
    Trouble::Rule("%s INPUT -p tcp --dport 80 -j DROP"),
    Trouble::Rule("%s INPUT -p tcp --dport 82 --syn -j REJECT --reject-with tcp-reset"),
    Trouble::Rule("%s INPUT -m conntrack --ctstate INVALID -j DROP"),
];

impl Trouble {
    pub(crate) fn name(self) -> String {
        match self {
            Self::LinkDown => "interface down and up".into(),
            Self::LinkDeleted => "interface deleted and made again".into(),
            Self::LinkRenamed => "interface renamed".into(),
            Self::OneDetached => "one link detached".into(),
            Self::AllDetached => "all links detached".into(),
            Self::Unpinned => "pins removed".into(),
            Self::MountedOver => "bpffs mounted over".into(),
            Self::Stopped => "agent stopped".into(),
            Self::Killed => "agent killed".into(),
            Self::Frozen => "agent frozen".into(),
            Self::Reloaded => "configuration reloaded".into(),
            Self::Sysctl(key, value, _) => format!("{key} = {value}"),
            Self::Mtu(bytes) => format!("MTU {bytes}"),
            Self::Blackhole => "route to the load balancer blackholed".into(),
            Self::RouteMtu => "route with another MTU".into(),
            Self::Rule(rule) => format!("iptables {}", rule.replace("%s", "-A")),
        }
    }

    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::LinkDown | Self::LinkDeleted | Self::LinkRenamed | Self::Mtu(_) => Kind::Link,
            Self::OneDetached | Self::AllDetached | Self::Unpinned | Self::MountedOver => {
                Kind::Attachment
            }
            Self::Stopped | Self::Killed | Self::Frozen | Self::Reloaded => Kind::Agent,
            _ => Kind::Host,
        }
    }

    /// Whether another agent has to start.
    pub(crate) const fn ends_agent(self) -> bool {
        matches!(self, Self::Stopped | Self::Killed)
    }

    /// Whether a surface has to name it: guarded ports are not guarded, or by a lesser hand-off than configured.
    pub(crate) fn must_be_named(self) -> bool {
        match self {
            Self::LinkDeleted
            | Self::OneDetached
            | Self::AllDetached
            | Self::Unpinned
            | Self::MountedOver
            | Self::Stopped
            | Self::Killed
            | Self::Frozen => true,
            Self::Sysctl(key, ..) => key == "ipv4.tcp_syncookies" || key.ends_with("_tcp_loose"),
            Self::Rule(rule) => rule.contains("REDIRECT"),
            _ => false,
        }
    }

    pub(crate) fn begin(self, scene: &mut Scene<'_>, random: &mut Random) {
        match self {
            Self::LinkDown => drop(scene.run("ip link set eth0 down")),
            Self::LinkDeleted => drop(scene.run("ip link del eth0")),
            Self::LinkRenamed => drop(scene.run("ip link set eth0 name moved0")),
            Self::OneDetached => {
                let links = scene.pins(Pins::Links);
                if !links.is_empty() {
                    detach(scene, &random.one_of(&links).display().to_string());
                }
            }
            Self::AllDetached => {
                for pin in scene.pins(Pins::Links) {
                    detach(scene, &pin.display().to_string());
                }
            }
            Self::Unpinned => {
                for pin in scene.pins(Pins::All) {
                    let _ = fs::remove_file(pin);
                }
            }
            Self::MountedOver => drop(scene.run("mount -t bpf bpf /sys/fs/bpf")),
            Self::Stopped => scene.end_agent(Signal::SIGTERM),
            Self::Killed => scene.end_agent(Signal::SIGKILL),
            Self::Frozen => scene.signal_agent(Signal::SIGSTOP),
            Self::Reloaded => assert!(scene.reload(Configuration::Other), "a reload fails"),
            Self::Sysctl(key, value, _) => set(scene, key, value),
            Self::Mtu(bytes) => drop(scene.run(&format!("ip link set eth0 mtu {bytes}"))),
            Self::Blackhole => {
                scene.run("ip route add blackhole 10.77.1.2/32");
                scene.run("ip -6 route add blackhole fd00:77:1::2/128");
            }
            Self::RouteMtu => drop(scene.run("ip route add 10.77.1.2/32 dev eth0 mtu 1200")),
            Self::Rule(rule) => iptables(scene, &rule.replace("%s", "-A")),
        }
    }

    /// Undoes what the agent does not mend by itself.
    pub(crate) fn mend(self, scene: &mut Scene<'_>) {
        match self {
            Self::LinkDown => drop(scene.run("ip link set eth0 up")),
            Self::LinkDeleted => scene.site.net.make_private_link(),
            Self::LinkRenamed => drop(scene.run("ip link set moved0 name eth0")),
            Self::OneDetached | Self::AllDetached | Self::Unpinned => {}
            Self::MountedOver => drop(scene.run("umount /sys/fs/bpf")),
            Self::Stopped | Self::Killed => scene.start_agent(),
            Self::Frozen => scene.signal_agent(Signal::SIGCONT),
            Self::Reloaded => assert!(scene.reload(Configuration::Usual), "a reload fails"),
            Self::Sysctl(key, _, value) => set(scene, key, value),
            Self::Mtu(_) => drop(scene.run("ip link set eth0 mtu 1500")),
            Self::Blackhole => {
                scene.run("ip route del blackhole 10.77.1.2/32");
                scene.run("ip -6 route del blackhole fd00:77:1::2/128");
            }
            Self::RouteMtu => drop(scene.run("ip route del 10.77.1.2/32 dev eth0")),
            Self::Rule(rule) => iptables(scene, &rule.replace("%s", "-D")),
        }
    }
}

fn detach(scene: &Scene<'_>, pin: &str) {
    scene.run(&format!("bpftool link detach pinned {pin}"));
}

fn set(scene: &Scene<'_>, key: &str, value: &str) {
    let done = scene.run(&format!("sysctl -q -w net.{key}={value}"));
    assert!(done, "net.{key} cannot be set");
}

fn iptables(scene: &Scene<'_>, rule: &str) {
    for program in ["iptables", "ip6tables"] {
        assert!(scene.run(&format!("{program} -w {rule}")), "{program} {rule} fails");
    }
}
