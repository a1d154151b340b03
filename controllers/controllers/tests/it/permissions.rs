//! The list for RBAC names every client that is asked for.

use crate::certificates::Authority;
use holdfast_controller::Client;
use holdfast_controller::testing::{FakeWorld, MemoryApi};
use holdfast_controllers::{ControllersConfig, PERMISSIONS, start_all};
use holdfast_env::World;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

#[test]
fn every_client_has_its_permissions() {
    let world: World = FakeWorld::new(1);
    let api = MemoryApi::new(&world);
    let asked: Mutex<BTreeSet<String>> = Mutex::default();
    let clients = |name: &str| {
        asked.lock().unwrap().insert(name.to_string());
        api.clone() as Arc<dyn Client>
    };
    let config = ControllersConfig { authority: Some(Arc::new(Authority)), ..ControllersConfig::default() };
    let tasks = start_all(world, &clients, config);
    assert!(!tasks.is_empty());
    let listed: BTreeSet<String> = PERMISSIONS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(asked.into_inner().unwrap(), listed);
}
