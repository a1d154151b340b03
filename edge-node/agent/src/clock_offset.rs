//! The clock offset of tests: a file with seconds, read every second while the flag is given.

use holdfast_env::World;
use holdfast_env::host::HostEnv;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Reads the offset now.
pub(crate) fn read(env: &HostEnv, path: &PathBuf) {
    let offset = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    env.set_wall_offset(offset);
}

/// Follows the file.
pub(crate) async fn follow(env: Arc<HostEnv>, path: PathBuf) {
    let world: World = env.clone();
    loop {
        read(&env, &path);
        world.sleep(Duration::from_secs(1)).await;
    }
}
