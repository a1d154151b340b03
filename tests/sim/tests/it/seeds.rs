//! Some whole seeds: that they hold, and that a seed is one history.

use holdfast_sim::hub::first_log;
use holdfast_sim::run;

#[test]
fn a_seed_is_one_history() {
    let log = first_log().unwrap();
    let once = |seed| {
        let dir = tempfile::tempdir().unwrap();
        run(seed, log.clone(), dir.path())
    };
    for seed in [2, 11] {
        let (first, second) = (once(seed), once(seed));
        assert_eq!(first, second);
        assert!(first.violations.is_empty(), "{first:?}");
        assert!(first.polls > 1000, "{first:?}");
    }
    assert_ne!(once(2).trace, once(3).trace);
}
