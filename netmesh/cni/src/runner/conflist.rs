//! Configuration lists (`*.conflist`): found, or written by us.

use super::PodNetworkConfig;
use crate::PLUGIN_NAME;
use crate::config::{Attached, SUPPORTED_VERSIONS};
use crate::error::PodNetworkError;
use crate::result::CniResult;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// Our list's file name. Another file that sorts before it wins, as with every runtime.
const OWN_FILE: &str = "10-holdfast.conflist";

/// A configuration list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfList {
    pub(super) cni_version: String,
    pub(super) name: String,
    pub(super) plugins: Vec<Value>,
}

pub(super) fn plugin_type(plugin: &Value) -> &str {
    plugin.get("type").and_then(Value::as_str).unwrap_or("")
}

impl ConfList {
    /// Whether every plugin is ours.
    pub(super) fn is_ours(&self) -> bool {
        self.plugins.iter().all(|plugin| plugin_type(plugin) == PLUGIN_NAME)
    }

    /// Whether GC and STATUS may be asked.
    pub(super) fn at_least_1_1(&self) -> bool {
        self.cni_version == "1.1.0"
    }

    /// One plugin's configuration, as it is handed over.
    pub(super) fn plugin_conf(
        &self,
        plugin: &Value,
        previous: Option<&CniResult>,
        valid: Option<&[Attached]>,
    ) -> Value {
        let mut conf = plugin.clone();
        conf["cniVersion"] = json!(self.cni_version);
        conf["name"] = json!(self.name);
        if let Some(result) = previous {
            conf["prevResult"] = json!(result);
        }
        if let Some(valid) = valid {
            conf["cni.dev/valid-attachments"] = json!(valid);
        }
        conf
    }
}

/// Our list for this node.
fn own_list(config: &PodNetworkConfig) -> Value {
    json!({
        "cniVersion": SUPPORTED_VERSIONS[SUPPORTED_VERSIONS.len() - 1],
        "name": "holdfast",
        "plugins": [{
            "type": PLUGIN_NAME,
            "bridge": config.bridge,
            "mtu": config.mtu,
            "dataDir": config.state_dir.join("addresses"),
            "ranges": config.pod_cidrs.iter().map(|subnet| json!({"subnet": subnet})).collect::<Vec<_>>(),
            "clusterCIDRs": config.cluster_cidrs,
            "masquerade": true,
        }],
    })
}

/// The first list of the folder. Ours is written when it is the only one or there is none, and follows the
/// node's configuration.
pub(super) fn load_or_write(config: &PodNetworkConfig) -> Result<ConfList, PodNetworkError> {
    let mut files: Vec<PathBuf> = fs::read_dir(&config.conf_dir)
        .map_err(PodNetworkError::io("cannot read folder", &config.conf_dir))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conflist"))
        .collect();
    files.sort();
    let own = config.conf_dir.join(OWN_FILE);
    if files.iter().all(|file| *file == own) {
        let text = serde_json::to_string_pretty(&own_list(config)).unwrap_or_default();
        if fs::read_to_string(&own).ok().as_ref() != Some(&text) {
            crate::ipam::write_durably(&config.conf_dir, &own, text.as_bytes())
                .map_err(PodNetworkError::io("cannot write", &own))?;
        }
        files = vec![own];
    }
    let path = files.first().ok_or_else(|| PodNetworkError::Config("no configuration list".into()))?;
    let bytes = fs::read(path).map_err(PodNetworkError::io("cannot read", path))?;
    let list: ConfList = serde_json::from_slice(&bytes)
        .map_err(|err| PodNetworkError::Config(format!("configuration list {}: {err}", path.display())))?;
    let bad = |what: &str| PodNetworkError::Config(format!("configuration list {}: {what}", path.display()));
    if list.plugins.is_empty() {
        return Err(bad("it names no plugins"));
    }
    if list.plugins.iter().any(|plugin| plugin_type(plugin).is_empty()) {
        return Err(bad("a plugin has no type"));
    }
    Ok(list)
}
