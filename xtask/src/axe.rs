//! axe-core, which finds what shuts people out of a page. It comes from `PyPI`, inside of a package that drives it.

use std::path::PathBuf;

use anyhow::Result;

use crate::pypi::PackagedFile;

/// The browser of the tests runs it.
const AXE: PackagedFile = PackagedFile {
    package: "axe-playwright-python",
    version: "0.1.8",
    path: "axe_playwright_python/axe.min.js",
    digest: "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc",
};

/// The path of `axe.min.js`. Fetches the file first if it is not there.
pub(crate) fn installed() -> Result<PathBuf> {
    AXE.fetched()
}
