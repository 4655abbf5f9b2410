//! Namespaces in numbers, and the configuration that serves them.

use proxyip_tests::{Namespace, Scratch};

/// What each namespace has a listener for.
const PORTS: [u16; 4] = [80, 81, 82, 83];

/// A namespace for the agent, and those that it serves. Each of these has a link to the first one.
pub(crate) struct Fleet<'a> {
    scratch: &'a Scratch,
    pub(crate) hub: Namespace,
    served: Vec<Namespace>,
}

impl<'a> Fleet<'a> {
    /// Without any that are served.
    pub(crate) fn new(scratch: &'a Scratch) -> Self {
        let hub = Namespace::new(format!("{}-hub", scratch.name()));
        Self { scratch, hub, served: Vec::new() }
    }

    fn prefix(&self) -> String {
        format!("{}-of", self.scratch.name())
    }

    /// Makes more of them, until there are so many.
    pub(crate) fn grow(&mut self, namespaces: usize) {
        for number in self.served.len()..namespaces {
            let namespace = Namespace::new(format!("{}{number}", self.prefix()));
            let (own, name) = (format!("v{number}"), namespace.name());
            self.hub.ip(&format!("link add {own} type veth peer name eth0 netns {name}"));
            self.hub.ip(&format!("link set {own} up"));
            namespace.ip("link set eth0 up");
            self.served.push(namespace);
        }
    }

    /// Writes the configuration, and returns its path.
    pub(crate) fn configuration(&self) -> String {
        let listener = |port: &u16| {
            format!(
                "[[listener]]\nname = \"port-{port}\"\nports = [{port}]\ntrusted = [\"10.0.0.0/8\"]\n"
            )
        };
        let listeners: String = PORTS.iter().map(listener).collect();
        let socket = self.scratch.path("api.sock").display().to_string();
        let pin_path = self.scratch.pin_path().display().to_string();
        let text = format!(
            "[[interface]]\nname = \"eth*\"\nnetns = \"/run/netns/{}*\"\n{listeners}\
             [api]\nsocket = {socket:?}\n[agent]\npin_path = {pin_path:?}\n",
            self.prefix(),
        );
        self.scratch.write("proxyip.toml", &text)
    }
}
