//! A namespace beside the three of every test, with a link of its own to the load balancer.

use std::net::SocketAddr;

use crate::dial::Dial;
use crate::namespace::Namespace;
use crate::servers::EchoServer;
use crate::site::Site;

/// A namespace with a server, as a pod on a node is; it vanishes on drop.
#[derive(Debug)]
pub struct Pod {
    number: u8,
    /// Ends before the namespace does, which its sockets keep alive.
    _echo: EchoServer,
    /// The namespace.
    pub namespace: Namespace,
}

impl Pod {
    /// The network of all pods and of the load balancer's addresses that they see.
    pub const NETWORK: &str = "10.88.0.0/16";

    /// Makes the pod with this number, and starts its server on port 80.
    #[must_use]
    pub fn start(site: &Site, number: u8) -> Self {
        let namespace = Namespace::new(Self::name(site, number));
        Self::make_link(site, number, &namespace);
        let echo = EchoServer::start(&namespace, &format!("10.88.{number}.1"), 80);
        Self { number, _echo: echo, namespace }
    }

    /// Makes the link between a namespace and the load balancer: at first, and after it was deleted.
    pub fn make_link(site: &Site, number: u8, namespace: &Namespace) {
        let link = Self::link(number);
        namespace.ip(&format!(
            "link add eth0 type veth peer name {link} netns {}",
            site.net.balancer.name()
        ));
        site.net.balancer.ip(&format!("addr add 10.88.{number}.2/24 dev {link}"));
        site.net.balancer.ip(&format!("link set {link} up"));
        Self::give_address(number, namespace);
    }

    /// Gives its `eth0` what a device loses that moves to another namespace.
    pub fn give_address(number: u8, namespace: &Namespace) {
        namespace.ip(&format!("addr add 10.88.{number}.1/24 dev eth0"));
        namespace.ip("link set eth0 up");
    }

    /// What its namespace is called, whether or not it is there.
    #[must_use]
    pub fn name(site: &Site, number: u8) -> String {
        format!("{}-pod{number}", site.scratch.name())
    }

    /// The load balancer's end of its link, which the kernel removes together with the namespace.
    #[must_use]
    pub fn link(number: u8) -> String {
        format!("pod{number}")
    }

    /// Whether its link is there, which it was until the kernel has removed the namespace.
    #[must_use]
    pub fn has_link(site: &Site, number: u8) -> bool {
        site.net.balancer.ip("-o link").contains(&format!(" {}@", Self::link(number)))
    }

    /// The file of its namespace.
    #[must_use]
    pub fn path(site: &Site, number: u8) -> String {
        format!("/run/netns/{}", Self::name(site, number))
    }

    /// From the load balancer to its server.
    #[must_use]
    pub fn dial(&self) -> Dial {
        Dial::to(&format!("10.88.{}.1", self.number), 80)
    }

    /// Where its server listens.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([10, 88, self.number, 1], 80))
    }
}
