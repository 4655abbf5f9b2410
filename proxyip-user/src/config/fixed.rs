//! What only a start can change.

use std::fmt::Display;
use std::path::Path;

use super::model::{Config, DEFAULT_PIN_PATH};

impl Config {
    /// What `new` changes and a running agent cannot: a sentence for each key, with what to do.
    #[must_use]
    pub fn fixed(&self, new: &Self) -> Vec<String> {
        let (old, new) = (&self.agent, &new.agent);
        let pins = [&old.pin_path, &new.pin_path].map(|path| path.display());
        let tables = [
            ("max_flows", [old.max_flows, new.max_flows]),
            ("max_translated", [old.max_translated, new.max_translated]),
            ("max_listeners", [old.max_listeners, new.max_listeners]),
        ];
        let tables = tables.map(|(key, sizes)| changed(key, sizes, &old.pin_path));
        let pin_path = changed("pin_path", pins.map(|path| path.to_string()), &old.pin_path);
        pin_path.into_iter().chain(tables.into_iter().flatten()).collect()
    }
}

/// The sentence for a key of `[agent]`.
fn changed<T: PartialEq + Display>(
    key: &str,
    [old, new]: [T; 2],
    pin_path: &Path,
) -> Option<String> {
    let detach = if pin_path == Path::new(DEFAULT_PIN_PATH) {
        "proxyip detach".to_owned()
    } else {
        format!("proxyip detach --pin-path {}", pin_path.display())
    };
    (old != new).then(|| {
        format!(
            "agent.{key} has changed from {old} to {new}, and what is pinned cannot follow: stop the agent, run `{detach}`, \
             and start the agent"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::LEAST;

    #[test]
    fn each_key_that_cannot_change_is_named_and_no_other() {
        let config = |more: &str| Config::from_toml(&format!("{LEAST}{more}")).unwrap();
        let old = config("[agent]\npin_path='/sys/fs/bpf/a'\n");
        let new = "[agent]\nmax_flows=2048\nmax_translated=4096\nmax_listeners=7\npin_path='/sys/fs/bpf/b'\n";
        let fixed = old.fixed(&config(new));
        let detach =
            "stop the agent, run `proxyip detach --pin-path /sys/fs/bpf/a`, and start the agent";
        let flows = old.agent.max_flows;
        for (sentence, begin) in fixed.iter().zip([
            "agent.pin_path has changed from /sys/fs/bpf/a to /sys/fs/bpf/b, ",
            &format!("agent.max_flows has changed from {flows} to 2048, "),
            "agent.max_translated has changed from 262144 to 4096, ",
            "agent.max_listeners has changed from 256 to 7, ",
        ]) {
            assert!(sentence.starts_with(begin) && sentence.ends_with(detach), "{sentence}");
        }
        assert_eq!(fixed.len(), 4);
        let rest = "[agent]\npin_path='/sys/fs/bpf/a'\nhandshake_timeout=99\nmax_tlv_memory=1\n\
            [log]\nflows='vpc'\n[api]\nsocket='/run/other.sock'\n";
        assert_eq!(old.fixed(&config(rest)), Vec::<String>::new());
    }
}
