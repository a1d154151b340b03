//! The CNI plugin: environment and standard input in, a result or an error on standard output.

mod verbs;

use crate::config::{NetConf, SUPPORTED_VERSIONS};
use crate::error::{CniError, INVALID_ENVIRONMENT, IO_FAILURE};
use crate::ipam::{Owner, valid_owner};
use crate::result::CniResult;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;

pub(crate) use verbs::ensure_host;

/// Largest configuration read, in bytes.
const MAX_CONFIG: u64 = 4 << 20;

/// Who an attachment is for.
#[derive(Clone, Debug)]
pub(crate) struct Attach {
    pub(crate) owner: Owner,
    pub(crate) netns: PathBuf,
}

/// Runs the plugin once; returns the process' exit code: 0, or 1 with an error as JSON on `stdout`.
/// Blocks. It works in the network namespace of the calling thread.
pub fn plugin_main(env: &BTreeMap<String, String>, stdin: &mut dyn Read, stdout: &mut dyn Write) -> i32 {
    let mut bytes = Vec::new();
    let read = stdin.take(MAX_CONFIG).read_to_end(&mut bytes);
    let outcome = match read {
        Ok(_) => dispatch(env, &bytes),
        Err(err) => Err(CniError::with(IO_FAILURE, "cannot read standard input", err)),
    };
    let (text, code) = match outcome {
        Ok(None) => (String::new(), 0),
        Ok(Some(value)) => (value.to_string(), 0),
        Err(err) => {
            let wanted = serde_json::from_slice::<Value>(&bytes).ok();
            let wanted = wanted.as_ref().and_then(|conf| conf.get("cniVersion")).and_then(Value::as_str);
            let known = wanted.filter(|version| SUPPORTED_VERSIONS.contains(version));
            let version = known.unwrap_or(SUPPORTED_VERSIONS[SUPPORTED_VERSIONS.len() - 1]);
            let mut value = json!({"cniVersion": version, "code": err.code, "msg": err.msg});
            if !err.details.is_empty() {
                value["details"] = json!(err.details);
            }
            (value.to_string(), 1)
        }
    };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => code,
        Err(_) => 1,
    }
}

fn dispatch(env: &BTreeMap<String, String>, bytes: &[u8]) -> Result<Option<Value>, CniError> {
    match variable(env, "CNI_COMMAND")? {
        "VERSION" => Ok(Some(json!({
            "cniVersion": SUPPORTED_VERSIONS[SUPPORTED_VERSIONS.len() - 1],
            "supportedVersions": SUPPORTED_VERSIONS,
        }))),
        "ADD" => {
            let conf = NetConf::parse(bytes)?;
            let result = verbs::add(&conf, &attach(env)?)?;
            Ok(Some(result_value(&conf, result)?))
        }
        "DEL" => {
            let conf = NetConf::parse(bytes)?;
            verbs::del(&conf, &owner(env)?)?;
            Ok(None)
        }
        "CHECK" => {
            let conf = NetConf::parse(bytes)?;
            verbs::check(&conf, &attach(env)?)?;
            Ok(None)
        }
        "GC" => verbs::gc(&NetConf::parse(bytes)?).map(|()| None),
        "STATUS" => verbs::status(&NetConf::parse(bytes)?).map(|()| None),
        other => Err(CniError::with(INVALID_ENVIRONMENT, "unknown CNI_COMMAND", other)),
    }
}

fn variable<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str, CniError> {
    match env.get(name) {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(CniError::with(INVALID_ENVIRONMENT, "required environment variables are missing", name)),
    }
}

fn owner(env: &BTreeMap<String, String>) -> Result<Owner, CniError> {
    let owner = Owner::new(variable(env, "CNI_CONTAINERID")?, variable(env, "CNI_IFNAME")?);
    if !valid_owner(&owner) {
        let details = format!("CNI_CONTAINERID {:?}, CNI_IFNAME {:?}", owner.container_id, owner.ifname);
        return Err(CniError::with(INVALID_ENVIRONMENT, "invalid environment variables", details));
    }
    Ok(owner)
}

fn attach(env: &BTreeMap<String, String>) -> Result<Attach, CniError> {
    let netns = PathBuf::from(variable(env, "CNI_NETNS")?);
    if !crate::netns::is_namespace(&netns) {
        let details = format!("CNI_NETNS {} is no network namespace", netns.display());
        return Err(CniError::with(INVALID_ENVIRONMENT, "invalid environment variables", details));
    }
    Ok(Attach { owner: owner(env)?, netns })
}

/// The result in the form of the configuration's version.
fn result_value(conf: &NetConf, mut result: CniResult) -> Result<Value, CniError> {
    result.cni_version = conf.cni_version.clone();
    if conf.cni_version.starts_with("0.") {
        for ip in &mut result.ips {
            ip.version = Some(if ip.address.addr().is_ipv4() { "4" } else { "6" }.to_string());
        }
    }
    if result.dns.is_null() {
        result.dns = json!({});
    }
    serde_json::to_value(result).map_err(|err| CniError::with(IO_FAILURE, "cannot encode the result", err))
}
