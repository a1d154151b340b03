//! Mirror pods: what shows static pods at the hub. The hub makes them when a static pod's fact asks for it ([`address`]), as
//! writes of this node; they run nothing here, and who deletes one only has it made anew.
//!
//! [`Mirrors`] decides, sans-IO, from what the node runs and what the hub has of it; the manager does what it says.

use super::work::Common;
use crate::parts::NodeConfig;
use crate::static_pods::{self, AtHub, at_hub, mirror_of};
use holdfast_edge_store::State;
use holdfast_env::Mono;
use holdfast_pods::typed;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long after the hub was asked for a mirror it is asked again: it may have had no room, or no such namespace.
const RETRY: Duration = Duration::from_secs(60);

/// Whom a static pod's fact speaks of.
pub(super) enum Address {
    /// The mirror with this UID.
    Mirror(String),
    /// None yet: this one is to be made.
    Make(Value),
}

/// The address of a fact about a static pod; `None` when an ordinary pod has its name at the hub.
pub(super) fn address(state: &State, key: &str, pod: &Pod, config: &NodeConfig) -> Option<Address> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    match at_hub(state, key, uid) {
        AtHub::Mirror { uid, is_current: true } => Some(Address::Mirror(uid)),
        AtHub::Mirror { .. } | AtHub::Nothing => {
            let mut document = typed::document(pod);
            document["apiVersion"] = "v1".into();
            document["kind"] = "Pod".into();
            Some(Address::Make(mirror_of(&document, &config.node_name, &config.node_uid)))
        }
        AtHub::Other => None,
    }
}

/// What is to be done about mirror pods.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// The static pod with this UID has no mirror, or another one's: say again how it is.
    Report(String),
    /// A mirror of nothing: tell the hub that it is to go.
    Remove { key: String, uid: String },
    /// It has gone: the word about it is done with.
    Forget { key: String },
}

/// What of a mirror was seen: its UID, whether it is right, and that it is being deleted.
type Seen = Option<(String, bool)>;

/// What was asked of the hub so far.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    /// By UIDs of static pods: what was seen when, and whether the hub was asked since.
    asked: BTreeMap<String, (Seen, Mono)>,
    /// Mirrors that are to go, by key.
    removed: BTreeMap<String, String>,
}

impl Mirrors {
    /// `here` are the static pods that have not ended yet, with whether they are to; `at_hub` the mirrors that the hub has.
    pub(super) fn tend(
        &mut self,
        now: Mono,
        linked: bool,
        here: &[(Arc<Pod>, bool)],
        at_hub: &[Arc<Pod>],
    ) -> Vec<Task> {
        let mut tasks = Vec::new();
        let of: BTreeMap<String, &Pod> = at_hub.iter().map(|mirror| (Common::key(mirror), &**mirror)).collect();
        let uid_of = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        self.asked.retain(|uid, _| here.iter().any(|(pod, _)| uid_of(pod) == *uid));
        for (pod, _) in here.iter().filter(|(_, ending)| !ending) {
            let uid = uid_of(pod);
            let mirror = of.get(&Common::key(pod));
            let is_right = mirror.is_some_and(|mirror| {
                static_pods::mirrored(mirror) == Some(uid.as_str()) && mirror.metadata.deletion_timestamp.is_none()
            });
            let seen = mirror.map(|mirror| (uid_of(mirror), is_right));
            let due = match self.asked.get(&uid) {
                // It says so itself when it starts.
                None => false,
                Some((before, at)) => *before != seen || now.since(*at) >= RETRY,
            };
            let ask = due && linked && !is_right;
            if ask {
                tasks.push(Task::Report(uid.clone()));
            }
            if ask || is_right || !self.asked.contains_key(&uid) {
                self.asked.insert(uid, (seen, now));
            }
        }
        for (key, mirror) in &of {
            let uid = uid_of(mirror);
            let is_shown = here.iter().any(|(pod, _)| Common::key(pod) == *key);
            if !is_shown && self.removed.get(key) != Some(&uid) {
                self.removed.insert(key.clone(), uid.clone());
                tasks.push(Task::Remove { key: key.clone(), uid });
            }
        }
        let done = self.removed.extract_if(.., |key, _| !of.contains_key(key));
        for (key, _) in done {
            // A static pod of this name may be reporting under the key by now.
            if here.iter().all(|(pod, _)| Common::key(pod) != key) {
                tasks.push(Task::Forget { key });
            }
        }
        tasks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, name: &str) -> Arc<Pod> {
        let meta = json!({"name": name, "namespace": "default", "uid": uid});
        Arc::new(typed::pod(json!({"metadata": meta, "spec": {"containers": []}})).unwrap())
    }

    fn mirror(uid: &str, name: &str, of: &str, deleted: bool) -> Arc<Pod> {
        let mut mirror = (*pod(uid, name)).clone();
        mirror.metadata.annotations = Some(BTreeMap::from([(static_pods::MIRROR.to_string(), of.to_string())]));
        mirror.metadata.deletion_timestamp =
            deleted.then(|| crate::objects::api_time(holdfast_core::Timestamp::from_secs(1)).unwrap());
        Arc::new(mirror)
    }

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    const KEY: &str = "/v1/pods/default/web";

    #[test]
    fn a_mirror_that_is_missing_wrong_or_deleted_is_asked_for() {
        let mut mirrors = Mirrors::default();
        let here = [(pod("s", "web"), false)];
        let report = || vec![Task::Report("s".into())];
        assert_eq!(mirrors.tend(at(0), true, &here, &[]), [], "the pod has just said how it is");
        assert_eq!(mirrors.tend(at(59), true, &here, &[]), []);
        assert_eq!(mirrors.tend(at(60), true, &here, &[]), report());
        assert_eq!(mirrors.tend(at(61), true, &here, &[]), [], "not at once again");
        assert_eq!(mirrors.tend(at(200), false, &here, &[]), [], "nobody listens");
        let right = [mirror("m", "web", "s", false)];
        assert_eq!(mirrors.tend(at(201), true, &here, &right), []);
        assert_eq!(mirrors.tend(at(900), true, &here, &right), []);
        assert_eq!(
            mirrors.tend(at(901), true, &here, &[mirror("m", "web", "s", true)]),
            report(),
            "somebody deletes it"
        );
        assert_eq!(mirrors.tend(at(902), true, &here, &[mirror("m", "web", "s", true)]), []);
        assert_eq!(mirrors.tend(at(903), true, &here, &[mirror("m2", "web", "s", false)]), []);
        assert_eq!(mirrors.tend(at(904), true, &here, &[]), report(), "gone by force");
        assert_eq!(mirrors.tend(at(905), true, &here, &[mirror("m3", "web", "old", false)]), report());
    }

    #[test]
    fn a_mirror_of_nothing_goes_once_what_it_showed_has_ended() {
        let mut mirrors = Mirrors::default();
        let at_hub = [mirror("m", "web", "s", false)];
        assert_eq!(mirrors.tend(at(0), true, &[(pod("s", "web"), true)], &at_hub), [], "it is still stopping");
        let remove = Task::Remove { key: KEY.into(), uid: "m".into() };
        assert_eq!(mirrors.tend(at(1), true, &[], &at_hub), [remove]);
        assert_eq!(mirrors.tend(at(2), true, &[], &at_hub), [], "once");
        assert_eq!(mirrors.tend(at(3), true, &[], &[]), [Task::Forget { key: KEY.into() }]);
        assert_eq!(mirrors.tend(at(4), true, &[], &[]), []);
        // One that came meanwhile reports under the same key.
        mirrors.tend(at(5), true, &[], &at_hub);
        assert_eq!(mirrors.tend(at(6), true, &[(pod("s2", "web"), false)], &[]), []);
    }
}
