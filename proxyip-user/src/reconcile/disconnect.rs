//! Ends established connections whose clients are denied by now.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use anyhow::{Context, Result};
use proxyip_api::acl::Disconnected;
use proxyip_common::flow::{FlowKey, FlowRecord};

use crate::host::served::Member;
use crate::reap::destroy::Destroyer;

/// Ends connections, each in its namespace, one after the other.
pub(super) struct Disconnecter {
    served: Arc<[Member]>,
    /// Those that were needed; `None` for a namespace that the agent does not serve.
    destroyers: HashMap<u64, Option<Destroyer>>,
}

impl Disconnecter {
    pub(super) fn new(served: Arc<[Member]>) -> Self {
        Self { served, destroyers: HashMap::new() }
    }

    /// Ends a connection of this listener. `None` if it has already ended, or its namespace is not served.
    pub(super) fn end(
        &mut self,
        listener: String,
        (key, record): (&FlowKey, &FlowRecord),
    ) -> Result<Option<Disconnected>> {
        let Some(destroyer) = self.destroyer(key.namespace)? else { return Ok(None) };
        let error = match destroyer.destroy(key) {
            Ok(()) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                Some("the kernel was built without CONFIG_INET_DIAG_DESTROY".into())
            }
            Err(error) => Some(error.to_string()),
        };
        Ok(Some(Disconnected {
            listener,
            client: record.client.0.to_socket_addr(),
            peer: key.peer.0.to_socket_addr(),
            local: key.local.0.to_socket_addr(),
            error,
        }))
    }

    fn destroyer(&mut self, cookie: u64) -> Result<Option<&mut Destroyer>> {
        if !self.destroyers.contains_key(&cookie) {
            let served = self.served.iter().find(|one| one.entrance.cookie() == cookie);
            let open = |one: &Member| {
                one.entrance.run_if_there(|| Destroyer::open().context("no netlink socket"))
            };
            self.destroyers.insert(cookie, served.map(open).transpose()?.flatten());
        }
        Ok(self.destroyers.get_mut(&cookie).and_then(Option::as_mut))
    }
}
