//! A node keeps its identity alive, whatever its clock says.

use crate::hub::Hub;
use crate::machine::parts;
use holdfast_edge_store::EdgeStore;
use holdfast_env::host::HostEnv;
use holdfast_env::{Env, World};
use holdfast_node::{Identities, NodeClock, NodeHandle, SharedStore, node_main};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const LIMIT: Duration = Duration::from_secs(30);
const YEAR: i64 = 365 * 24 * 3600;

/// For what nobody tells of: a clock, a file.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A start of the agent on a machine.
async fn boot(machine: &Arc<HostEnv>, dir: &Path, hub: &Hub) -> (NodeHandle, Arc<Identities>, Arc<NodeClock>) {
    let world: World = machine.clone();
    let identities = Identities::load(world.clone()).unwrap().unwrap();
    let parts = parts(world, dir, &hub.address, identities.clone());
    let (env, clock) = (parts.env.clone(), parts.clock.clone());
    let (store, _) = EdgeStore::open(env.disk()).unwrap();
    (node_main(parts, SharedStore::new(env, store)).await, identities, clock)
}

#[tokio::test]
async fn a_node_renews_in_time_and_after_the_end_with_its_clock_in_1970_or_2106() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _serving) = Hub::start(Duration::from_secs(4));
    let machine = HostEnv::new(dir.path());
    machine.set_wall_offset(-60 * YEAR);
    let first = hub.identity();
    Identities::create(machine.clone(), first.clone()).unwrap();
    let (node, identities, clock) = boot(&machine, dir.path(), &hub).await;
    hub.until("a first session", |(sessions, _)| sessions >= 1).await;
    until("the hub's time", || clock.is_trusted()).await;
    assert!(clock.wall().0.abs_diff(hub.machine.wall().0) < Duration::from_secs(5), "{:?}", clock.wall());
    hub.until("sessions with two successors", |(_, certificates)| certificates >= 3).await;
    assert_eq!(hub.given().0, 0, "all in time");
    assert_ne!(identities.in_use().0.key, first.key);
    drop(node);

    // Away until long after the end of the certificate.
    until("the successor to be the identity", || !dir.path().join("identity.next").exists()).await;
    hub.machine.set_wall_offset(60);
    machine.set_wall_offset(80 * YEAR);
    let (before, _) = hub.seen();
    let (node, ..) = boot(&machine, dir.path(), &hub).await;
    hub.until("a session after the end", |(sessions, _)| sessions > before).await;
    assert_eq!(hub.given().0, 1);
    drop(node);
}

#[tokio::test]
async fn a_successor_that_the_hub_refuses_gives_way_to_the_old_identity() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _serving) = Hub::start(Duration::from_secs(3600));
    let machine = HostEnv::new(dir.path());
    let identities = Identities::create(machine.clone(), hub.identity()).unwrap();
    // Of another CA: as if this hub had been restored from before it was issued.
    let (stranger, _elsewhere) = Hub::start(Duration::from_secs(3600));
    let wrong = holdfast_link::NodeIdentity { roots: hub.identity().roots, ..stranger.identity() };
    identities.renewed(wrong).await.unwrap();
    drop(identities);
    let (_node, identities, _) = boot(&machine, dir.path(), &hub).await;
    hub.until("a session", |(sessions, _)| sessions >= 1).await;
    assert_eq!(identities.in_use().0.chain[1], hub.identity().chain[1], "the old one is shown again");
}

#[tokio::test]
async fn a_floor_beyond_the_hubs_certificate_is_reset_by_the_ca() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _serving) = Hub::start(Duration::from_secs(3600));
    let machine = HostEnv::new(dir.path());
    Identities::create(machine.clone(), hub.identity()).unwrap();
    // What a hub with a clock in the far future once told.
    let clock = NodeClock::open(machine.clone(), 1);
    let told = hub.machine.wall().0 + Duration::from_secs(20 * YEAR.unsigned_abs());
    clock.hub_time(i64::try_from(told.as_micros()).unwrap());
    let keeper: World = clock.clone();
    let keeping = keeper.spawn("keeper", Box::pin(clock.clone().keep()));
    until("the floor to be on disk", || dir.path().join("time-floor").exists()).await;
    drop(keeping);
    let (_node, _, clock) = boot(&machine, dir.path(), &hub).await;
    hub.until("a session", |(sessions, _)| sessions >= 1).await;
    assert!(hub.given().1 >= 1);
    assert!(clock.floor().abs_diff(hub.machine.wall().0) < Duration::from_secs(30), "{:?}", clock.floor());
}
