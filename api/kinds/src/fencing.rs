//! Fencing modes: what becomes of a pod whose node the hub does not hear.
//!
//! A pod says it with the annotation [`ANNOTATION`]: `RunForever`, `FailOverAfter=<duration>` or `Kubernetes`; an
//! OfflinePolicy that selects it writes that annotation when the pod is created.
//! Without it a pod that is bound to its box (a DaemonSet's, or one that names `kubernetes.io/hostname` in its node
//! selector or required node affinity) is `RunForever`, and every other one is `Kubernetes`.

use holdfast_core::Json;
use holdfast_core::json::{at, items_at, str_at};
use std::time::Duration;

/// The annotation of a pod.
pub const ANNOTATION: &str = "edge.holdfast.io/offline-policy";
/// The shortest time after which a pod may be replaced: three heartbeats of ten seconds, and room for their answers.
pub const FAIL_OVER_MIN: Duration = Duration::from_secs(60);
/// The longest.
pub const FAIL_OVER_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How much later than it should a node may begin to stop a pod: it looks at least this often.
pub const LOOK: Duration = Duration::from_secs(10);
/// How long a runtime may take beyond a pod's grace.
const STOP_SLACK: Duration = Duration::from_secs(45);
/// A node's clock may run slower than the hub's by one part in this many.
const DRIFT: u32 = 100;

/// What becomes of a pod while the hub does not hear its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// It runs on, and is never replaced without the taint `node.kubernetes.io/out-of-service`.
    RunForever,
    /// The node stops it this long after it sent the last renewal that the hub acknowledged; the hub replaces it later
    /// than that, see [`replace_after`].
    FailOverAfter(Duration),
    /// As Kubernetes does: the hub evicts by tolerations, and the node lets it run until it hears of that.
    Kubernetes,
}

/// The mode of a pod. An annotation that does not parse counts as none: admission refuses it.
pub fn of(pod: &Json) -> Fencing {
    let annotation = at(pod, &["metadata", "annotations"]).and_then(|all| all.get(ANNOTATION)).and_then(Json::as_str);
    match annotation.map(parse) {
        Some(Ok(mode)) => mode,
        _ if is_bound(pod) => Fencing::RunForever,
        _ => Fencing::Kubernetes,
    }
}

/// Reads the annotation.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Fencing, String> {
    match text.split_once('=') {
        None if text == "RunForever" => Ok(Fencing::RunForever),
        None if text == "Kubernetes" => Ok(Fencing::Kubernetes),
        Some(("FailOverAfter", time)) => {
            let after = fail_over_time(time).map_err(|why| format!("the time of FailOverAfter {why}"))?;
            Ok(Fencing::FailOverAfter(after))
        }
        _ => Err("must be RunForever, FailOverAfter=<time> or Kubernetes".into()),
    }
}

/// Reads the time after which a pod fails over.
///
/// # Errors
/// What is wrong with it, to be read after its name.
pub fn fail_over_time(text: &str) -> Result<Duration, String> {
    let after = duration(text).ok_or("must be a number with the unit s, m or h")?;
    if after < FAIL_OVER_MIN || after > FAIL_OVER_MAX {
        let (min, max) = (FAIL_OVER_MIN.as_secs(), FAIL_OVER_MAX.as_secs() / 3600);
        return Err(format!("must be between {min}s and {max}h"));
    }
    Ok(after)
}

fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(unit)?))
}

/// How long after it received the last renewal the hub may replace a pod that is to fail over after `after`: the node
/// has begun to stop it by then for its grace, with a slow runtime and a slow clock.
pub fn replace_after(pod: &Json, after: Duration) -> Duration {
    let grace = holdfast_core::json::i64_at(pod, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(30));
    after + after / DRIFT + grace + LOOK + STOP_SLACK
}

/// Whether a pod can run on one box only.
pub fn is_bound(pod: &Json) -> bool {
    const HOSTNAME: &str = "kubernetes.io/hostname";
    let owners = items_at(pod, &["metadata", "ownerReferences"]);
    let of_daemon_set = owners.iter().any(|owner| str_at(owner, &["kind"]) == Some("DaemonSet"));
    let selected = at(pod, &["spec", "nodeSelector"]).is_some_and(|selector| selector.get(HOSTNAME).is_some());
    let required = ["spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = at(pod, &required).map(|required| items_at(required, &["nodeSelectorTerms"])).unwrap_or_default();
    let by_affinity = terms.iter().any(|term| {
        let expressions = items_at(term, &["matchExpressions"]).iter();
        let named = expressions.clone().any(|expression| str_at(expression, &["key"]) == Some(HOSTNAME));
        // How a DaemonSet pins its pods.
        let fields = items_at(term, &["matchFields"]).iter();
        named || fields.clone().any(|field| str_at(field, &["key"]) == Some("metadata.name"))
    });
    of_daemon_set || selected || by_affinity
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn annotated(text: &str) -> Json {
        json!({"metadata": {"annotations": {ANNOTATION: text}}})
    }

    #[test]
    fn a_pod_says_its_mode_or_its_place_does() {
        assert_eq!(of(&json!({})), Fencing::Kubernetes);
        assert_eq!(of(&annotated("RunForever")), Fencing::RunForever);
        assert_eq!(of(&annotated("FailOverAfter=5m")), Fencing::FailOverAfter(Duration::from_secs(300)));
        let by_selector = json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "a"}}});
        assert_eq!(of(&by_selector), Fencing::RunForever);
        let term = json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["a"]}]});
        let required = json!({"nodeSelectorTerms": [term]});
        let by_affinity = json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": required
        }}}});
        assert_eq!(of(&by_affinity), Fencing::RunForever);
        let mut said = by_selector;
        said["metadata"] = annotated("Kubernetes")["metadata"].clone();
        assert_eq!(of(&said), Fencing::Kubernetes);
    }

    #[test]
    fn what_does_not_parse_is_explained() {
        assert!(parse("Sometimes").unwrap_err().contains("RunForever"));
        assert!(parse("FailOverAfter=5").unwrap_err().contains("unit"));
        assert!(parse("FailOverAfter=5s").unwrap_err().contains("60s"));
        assert!(parse("FailOverAfter=99999h").unwrap_err().contains("720h"));
    }

    #[test]
    fn the_hub_waits_longer_than_the_node() {
        let pod = json!({"spec": {"terminationGracePeriodSeconds": 30}});
        let after = Duration::from_secs(300);
        assert_eq!(replace_after(&pod, after), Duration::from_secs(300 + 3 + 30 + 10 + 45));
    }
}
