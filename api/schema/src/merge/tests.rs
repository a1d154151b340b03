use holdfast_core::Json;
use proptest::prelude::*;
use serde_json::json;

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn merged(schema: &str, mut current: Json, patch: &Json) -> Result<Json, (u16, String)> {
    let before = current.clone();
    match crate::builtin().strategic_merge(schema, &mut current, patch) {
        Ok(()) => Ok(current),
        Err(status) => {
            assert_eq!(current, before, "a failed patch changed the document");
            Err((status.code(), status.message().to_string()))
        }
    }
}

fn containers(list: Json) -> Json {
    json!({"spec": {"containers": list}})
}

#[test]
fn merges_as_documented() {
    for (what, current, patch, expected) in [
        (
            "maps merge, null deletes",
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}}),
        ),
        (
            "lists merge by key; new elements of the patch stand where the patch has them",
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
            containers(json!([{"name": "b", "image": "2"}, {"name": "c", "image": "3"}])),
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}])),
        ),
        (
            "an element is deleted by its key",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"$patch": "delete", "name": "a"}])),
            containers(json!([{"name": "b"}])),
        ),
        (
            "a list is replaced on demand",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"name": "c", "x": null}, {"$patch": "replace"}])),
            containers(json!([{"name": "c"}])),
        ),
        (
            "a map is replaced on demand",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": "2"}}}),
        ),
        (
            "a map is emptied on demand",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            "merge is what happens anyway",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "merge", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
        ),
        (
            "lists without a merge key are replaced",
            containers(json!([{"name": "a", "command": ["x", "y"]}])),
            containers(json!([{"name": "a", "command": ["z"]}])),
            containers(json!([{"name": "a", "command": ["z"]}])),
        ),
        (
            "tolerations are replaced",
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        ),
        (
            "lists of scalars with the merge strategy are sets",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        ),
        (
            "scalars are deleted from a list",
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b", "none"]}}),
            json!({"metadata": {"finalizers": ["a", "c"]}}),
        ),
        (
            "the order of the patch wins, the server's own elements keep their place",
            containers(json!([{"name": "a"}, {"name": "server"}, {"name": "b"}])),
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}, {"name": "a"}],
                "containers": [{"name": "new"}]}}),
            containers(json!([{"name": "server"}, {"name": "b"}, {"name": "new"}, {"name": "a"}])),
        ),
        (
            "an order alone sorts",
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$setElementOrder/finalizers": ["c", "a"]}}),
            json!({"metadata": {"finalizers": ["b", "c", "a"]}}),
        ),
        (
            "an order of what is not there does nothing",
            json!({"spec": {}}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}]}}),
            json!({"spec": {}}),
        ),
        (
            "only the listed keys stay",
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}}),
            json!({"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}}),
        ),
        (
            "what is new loses its directives and nulls",
            json!({}),
            json!({"spec": {"$retainKeys": ["volumes"], "x": null,
                "volumes": [{"name": "v", "$retainKeys": ["name"]}, {"$patch": "delete", "name": "w"}]}}),
            json!({"spec": {"volumes": [{"name": "v"}]}}),
        ),
        (
            "a directive for a map that is not there is all that its map says",
            json!({"metadata": {}}),
            json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}, "annotations": {"$patch": "delete"}}}),
            json!({"metadata": {}}),
        ),
        (
            "an element that asks for a new list is none of its elements",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"name": "c"}, {"$patch": "replace", "name": "d"}])),
            containers(json!([{"name": "c"}])),
        ),
        (
            "another type replaces",
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": "x"}}),
            json!({"metadata": {"labels": "x"}}),
        ),
        (
            "nested lists merge by their own keys; what is new comes first, as upstream has it",
            containers(
                json!([{"name": "a", "ports": [{"containerPort": 80, "name": "http"}], "env": [{"name": "X", "value": "1"}]}]),
            ),
            containers(
                json!([{"name": "a", "ports": [{"containerPort": 80, "hostPort": 8080}], "env": [{"name": "Y", "value": "2"}]}]),
            ),
            containers(json!([{"name": "a", "ports": [{"containerPort": 80, "name": "http", "hostPort": 8080}],
                "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]}])),
        ),
        (
            "fields that the type does not have merge as JSON",
            json!({"spec": {"foo": {"a": 1, "l": [{"name": "x"}]}}}),
            json!({"spec": {"foo": {"b": 2, "l": [{"name": "y"}]}}}),
            json!({"spec": {"foo": {"a": 1, "b": 2, "l": [{"name": "y"}]}}}),
        ),
    ] {
        assert_eq!(merged(POD, current, &patch), Ok(expected), "{what}");
    }
}

#[test]
fn kubectl_apply_switches_the_strategy_of_a_deployment() {
    let current = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(merged(DEPLOYMENT, current, &patch), Ok(json!({"spec": {"strategy": {"type": "Recreate"}}})));
}

#[test]
fn what_kubectl_apply_sends_keeps_an_injected_container() {
    let list = |containers: Json| json!({"spec": {"template": {"spec": {"containers": containers}}}});
    let current = list(json!([{"name": "web", "image": "1"}, {"name": "injected"}]));
    let patch = json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "web"}, {"name": "extra"}],
        "containers": [{"name": "web", "image": "2"}, {"name": "extra"}]}}}});
    let expected = list(json!([{"name": "web", "image": "2"}, {"name": "extra"}, {"name": "injected"}]));
    assert_eq!(merged(DEPLOYMENT, current, &patch), Ok(expected));
}

#[test]
fn long_lists_merge_in_reasonable_time() {
    // With the square of the length this would run for minutes.
    let list = |from: usize| containers((from..from + 30_000).map(|n| json!({"name": n.to_string()})).collect());
    let done = merged(POD, list(0), &list(15_000)).unwrap();
    assert_eq!(done["spec"]["containers"].as_array().unwrap().len(), 45_000);
}

#[test]
fn bad_patches_are_refused() {
    let current = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}]}});
    for (patch, code, text) in [
        (json!([]), 400, "must be a JSON object"),
        (json!({"$patch": "destroy"}), 400, "unknown patch type: \"destroy\""),
        (containers(json!([{"image": "x"}])), 422, "does not contain declared merge key: name"),
        (containers(json!([{"name": null, "image": "x"}])), 422, "does not contain declared merge key: name"),
        (containers(json!([{"$patch": "delete"}])), 422, "does not contain declared merge key: name"),
        (containers(json!(["x"])), 422, "is no map"),
        (json!({"spec": {"$retainKeys": "containers"}}), 400, "invalid patch format of retainKeys"),
        (json!({"spec": {"$retainKeys": ["a"], "b": 1}}), 400, "invalid patch format of retainKeys"),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}),
            400,
            "invalid patch format of primitive list",
        ),
        (json!({"spec": {"$setElementOrder/containers": {}}}), 400, "invalid patch format of setElementOrder list"),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}}),
            400,
            "doesn't match $setElementOrder list",
        ),
    ] {
        let (found, message) = merged(POD, current.clone(), &patch).unwrap_err();
        assert!(found == code && message.contains(text), "{patch}: {found} {message}");
    }
}

/// Pods with some of what merges in interesting ways.
fn pods() -> impl Strategy<Value = Json> {
    let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    let names = prop::collection::btree_set("[a-e]", 0..5).prop_shuffle_names();
    let finalizers = prop::collection::btree_set("[a-e]", 0..4);
    (labels, names, finalizers, any::<bool>()).prop_map(|(labels, names, finalizers, host)| {
        let containers: Vec<Json> =
            names.iter().enumerate().map(|(at, name)| json!({"name": name, "image": format!("i{at}")})).collect();
        json!({"metadata": {"labels": labels, "finalizers": finalizers},
            "spec": {"containers": containers, "hostNetwork": host}})
    })
}

trait Shuffled {
    fn prop_shuffle_names(self) -> BoxedStrategy<Vec<String>>;
}

impl<S: Strategy<Value = std::collections::BTreeSet<String>> + 'static> Shuffled for S {
    fn prop_shuffle_names(self) -> BoxedStrategy<Vec<String>> {
        self.prop_map(|set| set.into_iter().collect::<Vec<_>>()).prop_shuffle().boxed()
    }
}

proptest! {
    #[test]
    fn a_patch_of_nothing_changes_nothing(pod in pods()) {
        prop_assert_eq!(merged(POD, pod.clone(), &json!({})), Ok(pod));
    }

    #[test]
    fn a_document_patched_with_itself_stays(pod in pods()) {
        prop_assert_eq!(merged(POD, pod.clone(), &pod), Ok(pod));
    }

    #[test]
    fn a_patch_applied_twice_is_a_patch_applied_once(pod in pods(), patch in pods()) {
        let once = merged(POD, pod, &patch).unwrap();
        prop_assert_eq!(merged(POD, once.clone(), &patch), Ok(once));
    }

    #[test]
    fn merging_keeps_each_key_once(pod in pods(), patch in pods()) {
        let done = merged(POD, pod, &patch).unwrap();
        let names: Vec<&str> =
            done["spec"]["containers"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
        prop_assert_eq!(names.len(), unique.len());
    }
}
