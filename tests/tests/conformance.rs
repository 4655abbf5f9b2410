//! proxyip judges headers as the cases in `tests/src/conformance/vectors/` say, and `docs/conformance.md` tells it
//! as it is. `PROXYIP_BIN` names the program under test; root is needed.

use proxyip_tests::conformance::{Report, verdicts};

const PAGE: &str = include_str!("../../docs/conformance.md");
const REGENERATE: &str = "docs/conformance.md is not what is generated now; look at the difference after \
                          `cargo xtask conformance > docs/conformance.md`";

#[test]
fn headers_are_judged_as_expected_and_as_documented() {
    let report = Report::new();
    let faults = report.faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let page = report.page();
    // Other versions of HAProxy and nginx will do, if they say the same.
    let (documented, generated) = (verdicts(PAGE), verdicts(&page));
    let mut lines = documented.lines().zip(generated.lines());
    if let Some((old, new)) = lines.find(|(old, new)| old != new) {
        panic!("{REGENERATE}; first difference:\n- {old}\n+ {new}");
    }
    assert_eq!(documented.lines().count(), generated.lines().count(), "lines; {REGENERATE}");
}
