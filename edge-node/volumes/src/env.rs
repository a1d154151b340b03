//! The environment of a container, and `$(VAR)` in its command. Pure.

use crate::fields::{self, Runtime};
use crate::{MountedVolume, VolumeObjects, env_file};
use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};
use std::collections::BTreeMap;

/// What an environment is made from beside the pod and the hub's objects.
#[derive(Clone, Copy, Debug)]
pub struct EnvSources<'a> {
    /// What service links add.
    pub services: &'a [(String, String)],
    /// The pod's volumes, for `fileKeyRef`.
    pub volumes: &'a BTreeMap<String, MountedVolume>,
    /// The pod on its node.
    pub runtime: Runtime<'a>,
}

/// The environment of `container`: services, then `envFrom`, then `env`, a later one winning. Blocking where the environment
/// comes from files. The error is the text of `CreateContainerConfigError`.
pub fn resolve_env(
    pod: &Pod,
    container: &Container,
    objects: &dyn VolumeObjects,
    sources: EnvSources<'_>,
) -> Result<Vec<(String, String)>, String> {
    let services: BTreeMap<&str, &str> = sources.services.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut env: Vec<(String, String)> = Vec::new();
    let set = |env: &mut Vec<(String, String)>, name: &str, value: String| match env
        .iter_mut()
        .find(|(known, _)| known == name)
    {
        Some(entry) => entry.1 = value,
        None => env.push((name.to_string(), value)),
    };
    for (name, value) in from_objects(pod, container, objects)? {
        set(&mut env, &name, value);
    }
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) if !value.is_empty() => expand(value, |name| {
                let own = env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
                own.or_else(|| services.get(name).copied()).map(str::to_string)
            }),
            (_, Some(source)) => match from_source(pod, container, objects, source, sources)? {
                Some(value) => value,
                None => continue,
            },
            _ => String::new(),
        };
        set(&mut env, &var.name, value);
    }
    let missing = services.iter().filter(|(name, _)| !env.iter().any(|(known, _)| known == *name));
    let missing: Vec<(String, String)> = missing.map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect();
    Ok(missing.into_iter().chain(env).collect())
}

/// The variables of `envFrom`. Keys that are no names of variables are left out.
fn from_objects(
    pod: &Pod,
    container: &Container,
    objects: &dyn VolumeObjects,
) -> Result<Vec<(String, String)>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut env = Vec::new();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut put = |key: &str, value: String| {
            let name = format!("{prefix}{key}");
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'=') {
                env.push((name, value));
            }
        };
        if let Some(wanted) = &source.config_map_ref {
            match objects.config_map(namespace, &wanted.name) {
                Some(map) => map.data.into_iter().flatten().for_each(|(key, value)| put(&key, value)),
                None if wanted.optional == Some(true) => {}
                None => return Err(format!("configmap {:?} not found", wanted.name)),
            }
        }
        if let Some(wanted) = &source.secret_ref {
            match objects.secret(namespace, &wanted.name) {
                Some(secret) => {
                    for (key, value) in secret.data.into_iter().flatten() {
                        put(&key, String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if wanted.optional == Some(true) => {}
                None => return Err(format!("secret {:?} not found", wanted.name)),
            }
        }
    }
    Ok(env)
}

/// The value of `valueFrom`; `None` when what is optional is not there.
fn from_source(
    pod: &Pod,
    container: &Container,
    objects: &dyn VolumeObjects,
    source: &EnvVarSource,
    sources: EnvSources<'_>,
) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return fields::field(pod, &field.field_path, sources.runtime).map(Some);
    }
    if let Some(selector) = &source.resource_field_ref {
        return fields::resource(pod, Some(container), selector, &objects.allocatable()).map(Some);
    }
    if let Some(wanted) = &source.config_map_key_ref {
        let optional = wanted.optional == Some(true);
        let Some(map) = objects.config_map(namespace, &wanted.name) else {
            return if optional { Ok(None) } else { Err(format!("configmap {:?} not found", wanted.name)) };
        };
        let value = map.data.and_then(|mut data| data.remove(&wanted.key));
        return match value {
            None if !optional => {
                Err(format!("couldn't find key {} in ConfigMap {namespace}/{}", wanted.key, wanted.name))
            }
            value => Ok(value),
        };
    }
    if let Some(wanted) = &source.secret_key_ref {
        let optional = wanted.optional == Some(true);
        let Some(secret) = objects.secret(namespace, &wanted.name) else {
            return if optional { Ok(None) } else { Err(format!("secret {:?} not found", wanted.name)) };
        };
        let value = secret.data.and_then(|mut data| data.remove(&wanted.key));
        return match value {
            None if !optional => Err(format!("couldn't find key {} in Secret {namespace}/{}", wanted.key, wanted.name)),
            value => Ok(value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())),
        };
    }
    if let Some(wanted) = &source.file_key_ref {
        return env_file::value(wanted, sources.volumes);
    }
    Ok(Some(String::new()))
}

/// `command` and `args` with `$(VAR)` replaced.
pub fn expand_command(container: &Container, env: &[(String, String)]) -> (Vec<String>, Vec<String>) {
    let all = |words: &Option<Vec<String>>| words.iter().flatten().map(|word| expand_env(word, env)).collect();
    (all(&container.command), all(&container.args))
}

/// `$(VAR)` replaced from an environment.
pub(crate) fn expand_env(text: &str, env: &[(String, String)]) -> String {
    expand(text, |name| env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone()))
}

/// Replaces `$(VAR)` where VAR is known; `$$` is a dollar; all else stays as it is.
fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(known) => out.push_str(&known),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_upstream() {
        let env = [("A".to_string(), "1".to_string()), ("B_C".to_string(), "$(A)".to_string())];
        for (text, expanded) in [
            ("$(A)", "1"),
            ("x$(A)y$(B_C)", "x1y$(A)"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$1"),
            ("$(NO)", "$(NO)"),
            ("$(A", "$(A"),
            ("$A $", "$A $"),
            ("", ""),
            ("ü$(A)ü", "ü1ü"),
        ] {
            assert_eq!(expand_env(text, &env), expanded, "{text}");
        }
    }
}
