//! Members of named sets, as rules of iptables see them.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use aya::programs::{ProgramInfo, SocketFilter, TestRun, TestRunOptions};
use proxyip_tests::networks::CLIENTS;
use proxyip_tests::packet::{ACK, Packet};
use proxyip_tests::{Scratch, address};

use super::draw::SETS;
use super::policy::Policy;

/// What a rule with a set says of packets that this policy does not say.
pub(super) fn wrong(scratch: &Scratch, policy: &Policy) -> Vec<String> {
    SETS.into_iter().filter_map(|name| wrong_in(scratch, policy, name)).collect()
}

fn wrong_in(scratch: &Scratch, policy: &Policy, name: &str) -> Option<String> {
    let pin = scratch.pin_path().join("match").join(name);
    let Some(list) = policy.sets.get(name) else {
        return pin.exists().then(|| format!("{} is there", pin.display()));
    };
    let networks = list.all();
    let of_model: Vec<_> =
        clients().filter(|one| networks.iter().any(|network| network.contains(one))).collect();
    let of_rules = match Rule::of(&pin) {
        Ok(rule) => clients().filter(|client| rule.matches(*client)).collect::<Vec<_>>(),
        Err(error) => return Some(format!("set {name}: {error}")),
    };
    let differ = of_rules != of_model;
    differ.then(|| format!("members of {name}: {of_rules:?} instead of {of_model:?}"))
}

fn clients() -> impl Iterator<Item = IpAddr> {
    CLIENTS.into_iter().map(|text| text.parse::<IpAddr>().expect("an address").to_canonical())
}

/// The program that a rule of iptables takes from this pin.
struct Rule(SocketFilter);

impl Rule {
    fn of(pin: &Path) -> Result<Self, String> {
        let info = ProgramInfo::from_pin(pin).map_err(|error| error.to_string())?;
        let program = SocketFilter::from_program_info(info, "set".into());
        program.map(Self).map_err(|error| error.to_string())
    }

    /// Whether it matches a packet of this client, which is of no connection.
    fn matches(&self, client: IpAddr) -> bool {
        let server = if client.is_ipv4() { address::SERVER } else { address::SERVER6 };
        let to = SocketAddr::new(server.parse().expect("an address"), 1);
        let frame = Packet::new(SocketAddr::new(client, 1), to, ACK).frame();
        let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::default() };
        self.0.test_run(options).expect("a run of the program").return_value != 0
    }
}
