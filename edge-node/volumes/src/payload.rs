//! What configMap, secret, downwardAPI and projected volumes are to hold. No files are written here.

use crate::VolumeObjects;
use crate::atomic::{self, Entry, Payload};
use crate::fields::{self, Runtime};
use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection};
use std::collections::BTreeMap;
use std::path::Path;

/// Mode of a file when nothing is said.
const MODE: u32 = 0o644;

/// What a payload is made from.
pub(crate) struct Sources<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) objects: &'a dyn VolumeObjects,
    /// The volume's folder as it is, for tokens that cannot be had now.
    pub(crate) dir: &'a Path,
    pub(crate) fs_group: Option<u32>,
}

fn mode(mode: Option<i32>, default: u32) -> u32 {
    mode.and_then(|mode| u32::try_from(mode).ok()).map_or(default, |mode| mode & 0o777)
}

/// The files of a volume; `None` when it is of another type.
pub(crate) fn of(volume: &Volume, from: &Sources<'_>) -> Option<Result<Payload, String>> {
    let mut files = Files { from, payload: Payload::new() };
    let done = if let Some(source) = &volume.config_map {
        let mode = mode(source.default_mode, MODE);
        files.config_map(&source.name, source.items.as_deref(), source.optional == Some(true), mode)
    } else if let Some(source) = &volume.secret {
        let mode = mode(source.default_mode, MODE);
        let name = source.secret_name.as_deref().unwrap_or_default();
        files.secret(name, source.items.as_deref(), source.optional == Some(true), mode)
    } else if let Some(source) = &volume.downward_api {
        let mode = mode(source.default_mode, MODE);
        source.items.iter().flatten().try_for_each(|item| files.downward(item, mode))
    } else if let Some(source) = &volume.projected {
        let mode = mode(source.default_mode, MODE);
        let problems: Vec<String> =
            source.sources.iter().flatten().filter_map(|projection| files.projection(projection, mode).err()).collect();
        match problems.len() {
            0 => Ok(()),
            1 => Err(problems.concat()),
            _ => Err(format!("[{}]", problems.join(", "))),
        }
    } else {
        return None;
    };
    Some(done.map(|()| files.payload))
}

/// Whether a volume's files come from objects.
pub(crate) fn is_written_from_objects(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Whether all that a volume is made of is there and is immutable.
pub(crate) fn is_immutable(volume: &Volume, from: &Sources<'_>) -> bool {
    let namespace = from.pod.metadata.namespace.as_deref().unwrap_or_default();
    let map = |name: &str| from.objects.config_map(namespace, name).is_some_and(|map| map.immutable == Some(true));
    let secret = |name: &str| from.objects.secret(namespace, name).is_some_and(|secret| secret.immutable == Some(true));
    if let Some(source) = &volume.config_map {
        return map(&source.name);
    }
    if let Some(source) = &volume.secret {
        return secret(source.secret_name.as_deref().unwrap_or_default());
    }
    let Some(sources) = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref()) else {
        return false;
    };
    sources.iter().all(|source| match (&source.config_map, &source.secret) {
        (Some(source), _) => map(&source.name),
        (_, Some(source)) => secret(&source.name),
        (None, None) => false,
    })
}

struct Files<'a> {
    from: &'a Sources<'a>,
    payload: Payload,
}

impl Files<'_> {
    fn namespace(&self) -> &str {
        self.from.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    fn put(&mut self, path: &str, data: Vec<u8>, mode: u32, uid: Option<u32>) -> Result<(), String> {
        if !atomic::is_safe(path) {
            return Err(format!("invalid path {path:?}"));
        }
        // Files are shown to the pod's group as upstream does: readable, never writable.
        let mode = if self.from.fs_group.is_some() { mode | 0o440 } else { mode };
        self.payload.insert(path.to_string(), Entry { data, mode, uid });
        Ok(())
    }

    /// Puts all keys, or the items asked for.
    fn keys(
        &mut self,
        data: BTreeMap<String, Vec<u8>>,
        items: Option<&[KeyToPath]>,
        optional: bool,
        default_mode: u32,
        what: &str,
    ) -> Result<(), String> {
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            return data.into_iter().try_for_each(|(key, data)| self.put(&key, data, default_mode, None));
        };
        for item in items {
            match data.get(&item.key) {
                Some(data) => self.put(&item.path, data.clone(), mode(item.mode, default_mode), None)?,
                None if optional => {}
                None => return Err(format!("references non-existent {what} key: {}", item.key)),
            }
        }
        Ok(())
    }

    fn config_map(&mut self, name: &str, items: Option<&[KeyToPath]>, optional: bool, mode: u32) -> Result<(), String> {
        match self.from.objects.config_map(self.namespace(), name) {
            Some(map) => self.keys(map_data(map), items, optional, mode, "config"),
            None if optional => Ok(()),
            None => Err(format!("configmap {name:?} not found")),
        }
    }

    fn secret(&mut self, name: &str, items: Option<&[KeyToPath]>, optional: bool, mode: u32) -> Result<(), String> {
        match self.from.objects.secret(self.namespace(), name) {
            Some(secret) => self.keys(secret_data(secret), items, optional, mode, "secret"),
            None if optional => Ok(()),
            None => Err(format!("secret {name:?} not found")),
        }
    }

    fn downward(&mut self, file: &DownwardAPIVolumeFile, default_mode: u32) -> Result<(), String> {
        let pod = self.from.pod;
        let text = match (&file.field_ref, &file.resource_field_ref) {
            (Some(field), _) => fields::field(pod, &field.field_path, Runtime::default())?,
            (None, Some(selector)) => fields::resource(pod, None, selector, &self.from.objects.allocatable())?,
            (None, None) => return Err(format!("{}: neither fieldRef nor resourceFieldRef", file.path)),
        };
        self.put(&file.path, text.into_bytes(), mode(file.mode, default_mode), None)
    }

    fn projection(&mut self, source: &VolumeProjection, mode: u32) -> Result<(), String> {
        if let Some(source) = &source.config_map {
            self.config_map(&source.name, source.items.as_deref(), source.optional == Some(true), mode)
        } else if let Some(source) = &source.secret {
            self.secret(&source.name, source.items.as_deref(), source.optional == Some(true), mode)
        } else if let Some(source) = &source.downward_api {
            source.items.iter().flatten().try_for_each(|item| self.downward(item, mode))
        } else if let Some(source) = &source.service_account_token {
            let audience = source.audience.as_deref().unwrap_or_default();
            self.token(&source.path, audience, source.expiration_seconds.unwrap_or(3600), mode)
        } else if source.cluster_trust_bundle.is_some() {
            Err("not implemented: projected clusterTrustBundle".into())
        } else if source.pod_certificate.is_some() {
            Err("not implemented: projected podCertificate".into())
        } else {
            Err("a projected source of an unknown type".into())
        }
    }

    /// A token; the one that is there stays when none can be had, as when the node is cut off.
    fn token(&mut self, path: &str, audience: &str, seconds: i64, default_mode: u32) -> Result<(), String> {
        let uid = self.from.pod.metadata.uid.as_deref().unwrap_or_default();
        let fresh = self.from.objects.token(self.namespace(), uid, audience, seconds).map(String::into_bytes);
        let Some(data) = fresh.or_else(|| atomic::read_current(self.from.dir, path)) else {
            let account = self.from.pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
            let account = account.unwrap_or("default");
            return Err(format!("failed to fetch token: none is known here for serviceaccount {account:?} yet"));
        };
        let owner = common_user(self.from.pod);
        let mode = if owner.is_some() || self.from.fs_group.is_some() { 0o600 } else { default_mode };
        self.put(path, data, mode, owner)
    }
}

/// The user that all containers run as, if they say so alike.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

fn map_data(map: ConfigMap) -> BTreeMap<String, Vec<u8>> {
    let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
    text.chain(map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0))).collect()
}

fn secret_data(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    let plain = secret.data.into_iter().flatten().map(|(key, value)| (key, value.0));
    plain.chain(secret.string_data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()))).collect()
}
