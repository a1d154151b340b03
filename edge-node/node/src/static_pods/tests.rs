use super::*;
use serde_json::json;

const SEEN_AT: &str = "2026-01-01T00:00:00Z";

const WEB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, uid: x, annotations: {kubernetes.io/config.mirror: x}}
spec:
  hostNetwork: true
  containers: [{name: c, image: 'r/web:1'}]
status: {phase: Failed}
";

fn read(text: &str) -> Result<Json, String> {
    manifest::read(text.as_bytes(), "Edge-1", "/etc/pods/web.yaml", Timestamp::parse(SEEN_AT).unwrap())
}

#[test]
fn a_manifest_becomes_a_pod_by_the_kubelets_rules() {
    let pod = read(WEB).unwrap();
    let uid = json::str_at(&pod, &["metadata", "uid"]).unwrap();
    assert!(uid.len() == 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit()), "{uid}");
    assert_eq!(
        pod["metadata"],
        json!({
            "name": "web-edge-1", "namespace": "default", "uid": uid, "labels": {"app": "web"},
            "creationTimestamp": SEEN_AT,
            "annotations": {HASH: uid, SEEN: SEEN_AT, SOURCE: "file"},
        })
    );
    assert_eq!(pod["spec"]["nodeName"], "Edge-1");
    assert_eq!(pod["spec"]["tolerations"], json!([{"operator": "Exists", "effect": "NoExecute"}]));
    assert_eq!(pod.get("status"), None);
    let mirror = mirror_of(&pod, "Edge-1", "n");
    assert_eq!(mirror["metadata"]["annotations"][MIRROR], uid);
    assert_eq!((mirror["metadata"].get("uid"), mirror["metadata"].get("creationTimestamp")), (None, None));
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "Edge-1", "uid": "n", "controller": true}]);
    assert_eq!(mirror["metadata"]["ownerReferences"], owner);
    assert_eq!(mirror["spec"], pod["spec"]);
}

#[test]
fn the_uid_is_of_the_content_and_the_place() {
    let uid = |pod: Result<Json, String>| json::str_at(&pod.unwrap(), &["metadata", "uid"]).unwrap().to_string();
    let first = uid(read(WEB));
    // Comments, the form and the time do not count.
    let as_json = r#"{"kind": "Pod", "apiVersion": "v1", "spec": {"containers": [{"image": "r/web:1", "name": "c"}],
        "hostNetwork": true}, "metadata": {"labels": {"app": "web"}, "name": "web"}}"#;
    assert_eq!(uid(read(as_json)), first);
    assert_eq!(uid(read(&format!("# a comment\n{WEB}"))), first);
    let later = Timestamp::parse("2027-01-01T00:00:00Z").unwrap();
    let at = |node: &str, path: &str| uid(manifest::read(WEB.as_bytes(), node, path, later));
    assert_eq!(at("Edge-1", "/etc/pods/web.yaml"), first);
    assert_ne!(at("Edge-1", "/etc/pods/other.yaml"), first);
    assert_ne!(at("edge-2", "/etc/pods/web.yaml"), first);
    assert_ne!(uid(read(&WEB.replace("r/web:1", "r/web:2"))), first);
}

#[test]
fn what_cannot_run_without_a_hub_is_refused() {
    let with = |lines: &str| WEB.replace("  hostNetwork: true\n", lines);
    for (lines, resource) in [
        ("  serviceAccountName: a\n", "serviceaccounts"),
        ("  volumes: [{name: v, secret: {secretName: s}}]\n", "secrets"),
        ("  imagePullSecrets: [{name: s}]\n", "secrets"),
        ("  volumes: [{name: v, configMap: {name: m}}]\n", "configmaps"),
        ("  volumes: [{name: v, persistentVolumeClaim: {claimName: c}}]\n", "persistentvolumeclaims"),
        ("  volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t}}]}}]\n", "serviceaccounts"),
        ("  initContainers: [{name: i, image: i, envFrom: [{configMapRef: {name: m}}]}]\n", "configmaps"),
    ] {
        assert_eq!(read(&with(lines)), Err(format!("static pods may not reference {resource}")), "{lines}");
    }
    for (text, why) in [
        ("a: [", ""),
        ("apiVersion: v1\nkind: List\n", "it holds no Pod of v1, but kind \"List\" of \"v1\""),
        (&WEB.replace("name: web,", ""), "metadata.name is missing"),
        (&WEB.replace("name: web,", "name: Web,"), "metadata.name \"Web-edge-1\" is invalid"),
        (&WEB.replace("name: c,", "name: C,"), "a name in spec.containers, \"C\", is invalid"),
        (&WEB.replace("image: 'r/web:1'", "image: ''"), "container \"c\" has no image"),
        (&WEB.replace("[{name: c", "[{name: c, image: i}, {name: c"), "two containers are called \"c\""),
        (&WEB.replace("containers:", "containers: []\n  other:"), "spec.containers is empty"),
        (&WEB.replace("hostNetwork: true", "hostNetwork: 7"), "it is no pod: "),
        (&with("  ephemeralContainers: [{name: e, image: i}]\n"), "do not support ephemeral containers"),
    ] {
        let said = read(text).unwrap_err();
        assert!(said.to_lowercase().contains(&why.to_lowercase()) && !said.contains('\n'), "{text}: {said}");
    }
    let critical = read(&with("  priorityClassName: system-node-critical\n")).unwrap();
    assert_eq!(critical["spec"]["priority"], 2_000_001_000);
}

fn look(present: &[&str], changed: &[(&str, &str)]) -> Look {
    Look {
        present: present.iter().map(ToString::to_string).collect(),
        changed: changed.iter().map(|(file, text)| (file.to_string(), Ok(text.as_bytes().to_vec()))).collect(),
    }
}

/// Applies what a look changes to the notes; the files that were put, and what is wrong.
fn apply(known: &mut BTreeMap<String, Bytes>, look: &Look) -> (Vec<String>, Vec<String>) {
    let changes =
        changes(known, look, |file, text| manifest::read(text, "edge", file, Timestamp::parse(SEEN_AT).unwrap()));
    let mut put = Vec::new();
    for record in changes.records {
        match record {
            Record::PutNote { key, value } => {
                let file = key.strip_prefix(NOTES).unwrap().to_string();
                known.insert(file.clone(), value.into());
                put.push(file);
            }
            Record::DropNote { key } => drop(known.remove(key.strip_prefix(NOTES).unwrap())),
            other => panic!("{other:?}"),
        }
    }
    (put, changes.problems.into_iter().map(|(file, why)| format!("{file}: {why}")).collect())
}

#[test]
fn a_broken_file_changes_nothing_of_what_runs() {
    let mut known = BTreeMap::new();
    let none: Vec<String> = Vec::new();
    assert_eq!(apply(&mut known, &look(&["a", "b"], &[("a", WEB), ("b", "x")])).0, ["a"]);
    let before = known.clone();
    let (put, problems) = apply(&mut known, &look(&["a", "b"], &[("a", "broken: [")]));
    assert_eq!((put, problems.len()), (none.clone(), 1));
    assert_eq!(known, before);
    // Whole again as it was, it is the same pod.
    assert_eq!(apply(&mut known, &look(&["a", "b"], &[("a", WEB)])), (none.clone(), none.clone()));
    // Two files cannot hold one pod.
    let (put, problems) = apply(&mut known, &look(&["a", "b"], &[("b", WEB)]));
    assert_eq!((put, problems), (none.clone(), vec!["b: the pod \"web-edge\" is in file \"a\" already".to_string()]));
    assert_eq!(apply(&mut known, &look(&["b"], &[("b", WEB)])), (vec!["b".to_string()], none.clone()));
    assert_eq!(known.len(), 1);
    assert_eq!(apply(&mut known, &look(&[], &[])), (none.clone(), none));
    assert!(known.is_empty());
}
