//! Each target for so many inputs, and that no frame is without one.

use holdfast_fuzz::targets;
use holdfast_link_engine::wire::KINDS;
use std::collections::BTreeSet;

/// `cargo xtask fuzz` runs more.
const INPUTS: u64 = 400;

#[test]
fn every_frame_has_a_target_and_a_corpus() {
    let kinds: BTreeSet<u16> = targets().iter().filter_map(|target| target.kind()).collect();
    assert_eq!(kinds, KINDS.iter().copied().collect());
    for target in targets() {
        assert!(!target.corpus().is_empty(), "there are no golden bytes of {}", target.name);
    }
}

#[test]
fn golden_frames_and_their_mutations_are_taken_or_refused() {
    for target in targets() {
        for payload in target.corpus() {
            target.run(&payload).unwrap();
        }
        for number in 1..=INPUTS {
            if let Err(err) = target.run(&target.input(number)) {
                panic!("{} {number}: {err:#}", target.name);
            }
        }
    }
}
