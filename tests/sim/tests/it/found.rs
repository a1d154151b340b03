//! What seeds found.

use crate::stage::{Stage, is_ready};
use serde_json::json;

#[test]
fn a_node_that_came_back_hears_news_after_its_old_connection_died() {
    let stage = Stage::open(1, 1);
    stage.cluster.nodes[0].kill_agent();
    stage.until("the node is back", 30, |c| c.nodes[0].is_connected());
    // Longer than the silence by which the hub finds out that the old connection is dead.
    stage.pass(60);
    stage.pod("late", 1, json!({}));
    stage.runs("late");
    stage.agree();
}

#[test]
fn a_node_is_ready_again_after_a_cut_that_its_connection_outlived() {
    for length in [36, 39, 41, 45, 60] {
        let stage = Stage::open(length, 1);
        stage.cut(1, true);
        stage.pass(length);
        stage.cut(1, false);
        stage.until("the node is linked", 60, |c| c.nodes[0].is_connected());
        // The hub may write the node off a little later still.
        stage.pass(45);
        stage.until("the node is Ready", 30, |c| is_ready(c, 1));
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_not_built_upon() {
    let stage = Stage::open(3, 1);
    stage.pod("first", 1, json!({}));
    stage.runs("first");
    let node = &stage.cluster.nodes[0];
    node.machine.disk().fail_syncs(1);
    stage.pod("second", 1, json!({}));
    stage.runs("second");
    node.power_off();
    node.power_on();
    stage.runs("first");
    stage.runs("second");
    stage.agree();
}
