use super::*;
use serde_json::json;

fn pod(spec: Json) -> Pod {
    let document = json!({"metadata": {"name": "p", "namespace": "demo", "uid": "u"}, "spec": spec});
    holdfast_pods::typed::pod(document).unwrap()
}

/// The reasons, as they are told; `held` are keys of the journal, `present` images.
fn check(spec: Json, present: &[&str], held: &[&str]) -> Vec<String> {
    let pod = pod(spec);
    let state = |image: &str| match image {
        image if present.contains(&image) => ImageState::Present,
        "silent" => ImageState::Unknown,
        _ => ImageState::Missing,
    };
    let states = images(&pod).map(|(_, image)| (image.to_string(), state(image))).collect();
    let holds = |key: &str| held.contains(&key);
    readiness(&Inputs { pod: &pod, images: &states, holds: &holds }).iter().map(ToString::to_string).collect()
}

#[test]
fn images_of_all_containers_that_start_again_must_be_here() {
    let spec = json!({
        "initContainers": [{"name": "i", "image": "init:1"}],
        "containers": [{"name": "a", "image": "web:1"}, {"name": "b", "image": "web:1"}, {"name": "c", "image": "silent"}],
        "ephemeralContainers": [{"name": "e", "image": "debug:1"}],
    });
    assert_eq!(
        check(spec.clone(), &["init:1"], &[]),
        [
            "image \"web:1\" of container \"a\" is not on this node",
            "the runtime that may have image \"silent\" does not answer"
        ]
    );
    assert_eq!(check(spec, &["init:1", "web:1", "silent"], &[]), [""; 0]);
}

#[test]
fn the_closure_is_what_the_pod_cannot_start_without() {
    let spec = json!({
        "containers": [{"name": "a", "image": "i", "env": [
            {"name": "A", "valueFrom": {"secretKeyRef": {"name": "must", "key": "k"}}},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "may", "key": "k", "optional": true}}},
        ], "envFrom": [{"configMapRef": {"name": "from"}}, {"secretRef": {"name": "also", "optional": true}}]}],
        "imagePullSecrets": [{"name": "pull"}],
        "priorityClassName": "high",
        "runtimeClassName": "wasmtime",
        "serviceAccountName": "robot",
        "volumes": [
            {"name": "v", "secret": {"secretName": "vol"}},
            {"name": "w", "secret": {"secretName": "ov", "optional": true}},
            {"name": "x", "projected": {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}},
        ],
    });
    assert_eq!(
        check(spec.clone(), &["i"], &["/v1/configmaps/demo/from"]),
        [
            "configmaps demo/kube-root-ca.crt is not on this node",
            "secrets demo/must is not on this node",
            "secrets demo/vol is not on this node",
            "runtimeclasses wasmtime is not on this node",
        ]
    );
    let held = [
        "/v1/configmaps/demo/from",
        "/v1/configmaps/demo/kube-root-ca.crt",
        "/v1/secrets/demo/must",
        "/v1/secrets/demo/vol",
        "node.k8s.io/v1/runtimeclasses//wasmtime",
    ];
    assert_eq!(check(spec, &["i"], &held), [""; 0]);
}

#[test]
fn volumes_and_tokens_must_be_local() {
    let spec = json!({
        "containers": [],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": "/data"}},
            {"name": "share", "nfs": {"server": "s", "path": "/"}},
            {"name": "claim", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3607}}]}},
            {"name": "vault", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}},
        ],
    });
    let held = ["edge.holdfast.io/v1/tokens/demo/u.3607.", "/v1/persistentvolumeclaims/demo/data"];
    assert_eq!(
        check(spec, &[], &held),
        [
            "volume \"share\" is not on this node",
            "volume \"claim\" is not on this node",
            "a token of volume \"vault\" is not on this node, and only the hub can sign one",
        ]
    );
}

#[test]
fn a_node_is_ready_when_its_pods_are_and_its_certificate_lasts() {
    let now = Timestamp::from_secs(1_800_000_000);
    let day = Duration::from_secs(24 * 3600);
    let missing = [Reason::VolumeNotLocal { volume: "v".into() }];
    let pods = || [("demo/a", [].as_slice()), ("demo/b", missing.as_slice())].into_iter();
    let words = |reasons: Vec<Reason>| reasons.iter().map(Reason::word).collect::<Vec<_>>();
    assert_eq!(words(node_readiness(pods(), None, now)), ["PodNotReady"]);
    assert_eq!(words(node_readiness(pods().take(1), Some(now.after(day)), now)), [""; 0], "the grace counts");
    // Ended so long ago that of 90 days of grace 20 are left.
    let ended = Timestamp::from_secs(now.secs() - 70 * 86_400);
    assert_eq!(words(node_readiness(pods().take(1), Some(ended), now)), ["CertificateEnds"]);
    let (reason, message) = told(&node_readiness(pods(), Some(ended), now));
    assert_eq!(reason, "CertificateEnds");
    assert!(message.ends_with("; pod demo/b is not ready"), "{message}");
}

#[test]
fn a_condition_changes_its_time_only_with_its_status() {
    let readiness = Readiness::default();
    let judged = |reasons: &[Reason]| BTreeMap::from([("u".to_string(), ("demo/a".to_string(), reasons.to_vec()))]);
    let shown = || {
        let mut status = PodStatus { phase: Some("Running".into()), ..PodStatus::default() };
        readiness.mark("u", &mut status);
        readiness.mark("u", &mut status);
        let conditions = status.conditions.unwrap_or_default();
        assert!(conditions.len() < 2, "it stands there once");
        conditions.first().map(|c| (c.status.clone(), c.last_transition_time.as_ref().unwrap().0.as_second()))
    };
    let at = Timestamp::from_secs;
    let (volume, token) = (Reason::VolumeNotLocal { volume: "v".into() }, Reason::TokenMissing { volume: "v".into() });
    assert_eq!(shown(), None);
    assert_eq!(readiness.take(judged(std::slice::from_ref(&volume)), at(10), |_| Some((false, at(5)))), ["u"]);
    assert_eq!(shown(), Some(("False".into(), 5)), "told so before the agent's restart");
    assert_eq!(readiness.take(judged(std::slice::from_ref(&token)), at(20), |_| None), ["u"]);
    assert_eq!(shown(), Some(("False".into(), 5)));
    assert_eq!(readiness.take(judged(&[token]), at(25), |_| None), [""; 0], "nothing is told twice");
    assert_eq!(readiness.take(judged(&[]), at(30), |_| None), ["u"]);
    assert_eq!(shown(), Some(("True".into(), 30)));
    let mut finished = PodStatus { phase: Some("Succeeded".into()), ..PodStatus::default() };
    readiness.mark("u", &mut finished);
    assert_eq!(finished.conditions, None);
    readiness.take(BTreeMap::new(), at(40), |_| None);
    assert_eq!(shown(), None);
}
