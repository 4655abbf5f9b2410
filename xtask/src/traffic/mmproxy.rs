//! mmproxy-rs, a proxy on the server's host that connects to the server with the client's address.

use std::path::PathBuf;

use anyhow::Result;

use crate::tools;

const PACKAGE: &str = "mmproxy";
const VERSION: &str = "0.2.2";

/// Its path. Builds it first if it is not there.
pub(super) fn installed() -> Result<PathBuf> {
    tools::named_by_version(PACKAGE, VERSION)
}
