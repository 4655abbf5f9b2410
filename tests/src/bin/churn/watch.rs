//! What the agent says of namespaces, looked at all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proxyip_api::status::Status;
use proxyip_tests::{Api, Site};

use crate::world::World;

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(50);

/// Compares `status` with the truth until `stop`. Returns how often.
pub(crate) fn watch(site: &Site, world: &World, stop: &AtomicBool) -> u64 {
    let prefix = format!("/run/netns/{}-pod", site.scratch.name());
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        let (before, asked) = (world.places(), Instant::now());
        let status = Api::connect(&site.scratch.path("api.sock")).get("/v1/status");
        let status: Status = serde_json::from_value(status).expect("the status");
        world.compare(&before, asked, &named(&status, &prefix));
        looks += 1;
        thread::sleep(PERIOD);
    }
    looks
}

/// The numbers of the namespaces that it names.
fn named(status: &Status, prefix: &str) -> Vec<u8> {
    let files = status.interfaces.iter().map(|one| &one.netns);
    files.filter_map(|netns| netns.strip_prefix(prefix)?.parse().ok()).collect()
}
