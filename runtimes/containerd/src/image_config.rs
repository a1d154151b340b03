//! What an image says about how to run it (OCI image configuration).

use serde::Deserialize;
use std::collections::BTreeMap;

/// The `config` part of an image configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Program, replaced by `command`.
    pub entrypoint: Vec<String>,
    /// Arguments, replaced by `args`.
    pub cmd: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// Signal that asks it to stop.
    pub stop_signal: String,
    /// Paths of volumes; the values say nothing.
    pub volumes: BTreeMap<String, serde_json::Value>,
}

/// Null and absent are the same in these files.
pub(crate) fn parse(config: &serde_json::Value) -> Result<(ImageConfig, Vec<String>), String> {
    let mut section = config.get("config").cloned().unwrap_or_default();
    if let Some(map) = section.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    } else {
        section = serde_json::json!({});
    }
    let image = serde_json::from_value(section).map_err(|err| format!("image configuration: {err}"))?;
    let ids = config.pointer("/rootfs/diff_ids").cloned().unwrap_or_default();
    let diff_ids = match ids {
        serde_json::Value::Null => Vec::new(),
        ids => serde_json::from_value(ids).map_err(|err| format!("rootfs.diff_ids: {err}"))?,
    };
    Ok((image, diff_ids))
}

/// Identity of the lowest `n` layers together (OCI image specification, ChainID), for each `n` from 1.
pub(crate) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    use sha2::{Digest, Sha256};
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => format!("sha256:{:x}", Sha256::digest(format!("{parent} {diff_id}"))),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nulls_are_absent_and_chains_follow_the_specification() {
        let (config, ids) = parse(&json!({
            "config": {"Cmd": null, "Entrypoint": ["/a"], "Env": null, "StopSignal": "SIGINT", "Volumes": {"/data": {}}},
            "rootfs": {"type": "layers", "diff_ids": ["sha256:aa", "sha256:bb"]},
        }))
        .unwrap();
        assert_eq!((config.entrypoint, config.stop_signal.as_str()), (vec!["/a".to_string()], "SIGINT"));
        assert!(config.volumes.contains_key("/data"));
        let chain = chain_ids(&ids);
        assert_eq!(chain[0], "sha256:aa");
        // printf 'sha256:aa sha256:bb' | sha256sum
        assert_eq!(chain[1], "sha256:b68ad689d6d1ec110ea1c13617437ad6f3766d4b3b309f6a603a222e07a0164f");
        assert!(parse(&json!({"config": {"Cmd": 3}})).is_err());
        assert_eq!(parse(&json!({})).unwrap().0, ImageConfig::default());
    }
}
