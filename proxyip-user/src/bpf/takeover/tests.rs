//! What is shared with another layout.

use super::leave_together;

#[test]
fn counters_that_are_added_up_begin_anew_together() {
    for (shared, left) in [
        (vec!["PORTS", "LISTENER_COUNTERS", "REFUSED_BY_AGENT"], 3),
        (vec!["PORTS", "REFUSED_BY_AGENT"], 1),
        (vec!["PORTS", "LISTENER_COUNTERS"], 1),
        (vec!["PORTS"], 1),
    ] {
        let mut kept = shared.clone();
        leave_together(&mut kept);
        assert_eq!(kept, shared[..left]);
    }
}
