//! The plugin's configuration, as it comes on standard input.

use crate::error::{CniError, DECODING_FAILURE, INCOMPATIBLE_VERSION, INVALID_CONFIG};
use crate::paths::is_plain;
use crate::result::CniResult;
use ipnet::{IpNet, Ipv4Net};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Versions of the specification, oldest first.
pub const SUPPORTED_VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];
/// The bridge, unless configured.
pub const DEFAULT_BRIDGE: &str = "hf0";
/// Where addresses are kept, unless configured.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/holdfast/cni";

/// A range of addresses; one per address family.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// The node's share of the pod network.
    pub subnet: IpNet,
    /// The bridge's address; the first of the subnet by default.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
}

/// An attachment, as GC names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, serde::Serialize)]
pub struct Attached {
    /// `CNI_CONTAINERID`.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

/// One plugin's part of a configuration list. Keys of the runtime that we do not use are ignored.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    /// Version of the specification.
    #[serde(default)]
    pub cni_version: String,
    /// Name of the network.
    #[serde(default)]
    pub name: String,
    /// The bridge.
    #[serde(default = "default_bridge")]
    pub bridge: String,
    /// MTU of the pods' links; 0 for the kernel's default.
    #[serde(default)]
    pub mtu: u32,
    /// Where addresses are kept.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// Addresses to give out.
    #[serde(default)]
    pub ranges: Vec<Range>,
    /// Addresses that are reached without translation: the whole cluster's pods.
    #[serde(default, rename = "clusterCIDRs")]
    pub cluster_cidrs: Vec<IpNet>,
    /// Give traffic that leaves the cluster the node's address.
    #[serde(default = "yes")]
    pub masquerade: bool,
    /// Let frames leave by the port that they came from. Where the kernel passes bridged frames through the
    /// address translation (`bridge-nf-call-iptables`), a Service that leads a pod to itself needs it.
    #[serde(default = "yes")]
    pub hairpin: bool,
    /// What ADD answered, for CHECK and DEL.
    #[serde(default)]
    pub prev_result: Option<CniResult>,
    /// What GC must leave alone.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Option<Vec<Attached>>,
}

fn default_bridge() -> String {
    DEFAULT_BRIDGE.into()
}

fn default_data_dir() -> PathBuf {
    DEFAULT_DATA_DIR.into()
}

fn yes() -> bool {
    true
}

/// An IPv4 range, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range4 {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The bridge's address in it.
    pub gateway: Ipv4Addr,
}

impl NetConf {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Code 6 when it is not JSON, 1 for an unknown version, 7 when it makes no sense.
    pub fn parse(bytes: &[u8]) -> Result<NetConf, CniError> {
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|err| CniError::with(DECODING_FAILURE, "cannot decode the network configuration", err))?;
        let conf: NetConf = serde_json::from_value(value)
            .map_err(|err| CniError::with(INVALID_CONFIG, "invalid network configuration", err))?;
        if !SUPPORTED_VERSIONS.contains(&conf.cni_version.as_str()) {
            let details = format!("version {:?}, supported: {}", conf.cni_version, SUPPORTED_VERSIONS.join(", "));
            return Err(CniError::with(INCOMPATIBLE_VERSION, "incompatible CNI versions", details));
        }
        let invalid = |details: String| CniError::with(INVALID_CONFIG, "invalid network configuration", details);
        if !is_plain(&conf.name) {
            return Err(invalid(format!("name {:?} is not a valid network name", conf.name)));
        }
        let bridge_ok = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if conf.bridge.is_empty() || conf.bridge.len() > 15 || !conf.bridge.bytes().all(bridge_ok) {
            return Err(invalid(format!("bridge {:?} is not a valid interface name", conf.bridge)));
        }
        if conf.mtu != 0 && !(576..=65_535).contains(&conf.mtu) {
            return Err(invalid(format!("mtu {} is not between 576 and 65535", conf.mtu)));
        }
        conf.ranges4()?;
        Ok(conf)
    }

    /// The ranges as IPv4.
    ///
    /// # Errors
    /// Code 7: none, another family, too small, or a gateway outside.
    pub fn ranges4(&self) -> Result<Vec<Range4>, CniError> {
        let invalid = |details: String| CniError::with(INVALID_CONFIG, "invalid network configuration", details);
        if self.ranges.is_empty() {
            return Err(invalid("ranges: required".into()));
        }
        let range4 = |range: &Range| {
            let IpNet::V4(subnet) = range.subnet else {
                return Err(invalid(format!("not implemented: range {} of IPv6", range.subnet)));
            };
            let subnet = subnet.trunc();
            if subnet.prefix_len() > 30 {
                return Err(invalid(format!("range {subnet} is too small")));
            }
            let first = Ipv4Addr::from(u32::from(subnet.network()) + 1);
            match range.gateway {
                None => Ok(Range4 { subnet, gateway: first }),
                Some(IpAddr::V4(gateway)) if subnet.contains(&gateway) => Ok(Range4 { subnet, gateway }),
                Some(gateway) => Err(invalid(format!("gateway {gateway} is not in {subnet}"))),
            }
        };
        self.ranges.iter().map(range4).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(json: &str) -> u32 {
        NetConf::parse(json.as_bytes()).unwrap_err().code
    }

    #[test]
    fn configurations_are_checked() {
        let conf = r#"{"cniVersion":"1.1.0","name":"n","type":"holdfast-cni","ranges":[{"subnet":"10.42.1.7/24"}],"runtimeConfig":{}}"#;
        let conf = NetConf::parse(conf.as_bytes()).unwrap();
        assert_eq!(conf.ranges4().unwrap()[0].gateway, Ipv4Addr::new(10, 42, 1, 1));
        assert_eq!((conf.bridge.as_str(), conf.masquerade), ("hf0", true));
        assert_eq!(code("{"), DECODING_FAILURE);
        assert_eq!(code(r#"{"cniVersion":"9.0.0","name":"n"}"#), INCOMPATIBLE_VERSION);
        for bad in [
            r#""name":"../n","ranges":[{"subnet":"10.0.0.0/24"}]"#,
            r#""name":"n""#,
            r#""name":"n","ranges":[{"subnet":"10.0.0.0/31"}]"#,
            r#""name":"n","ranges":[{"subnet":"nonsense"}]"#,
            r#""name":"n","ranges":[{"subnet":"10.0.0.0/24","gateway":"10.1.0.1"}]"#,
            r#""name":"n","ranges":[{"subnet":"10.0.0.0/24","gatewy":"10.0.0.1"}]"#,
            r#""name":"n","bridge":"a b","ranges":[{"subnet":"10.0.0.0/24"}]"#,
            r#""name":"n","mtu":1,"ranges":[{"subnet":"10.0.0.0/24"}]"#,
            r#""name":"n","ranges":[{"subnet":"fd00::/64"}]"#,
        ] {
            assert_eq!(code(&format!(r#"{{"cniVersion":"1.1.0",{bad}}}"#)), INVALID_CONFIG, "{bad}");
        }
    }
}
