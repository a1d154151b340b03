use super::*;
use proptest::prelude::*;
use serde_json::json;

const POD: &str = "io.k8s.api.core.v1.Pod";

fn check(schema: &str, mut doc: Json) -> Result<(Json, Vec<String>), String> {
    let unknown = crate::builtin().check(schema, &mut doc).map_err(|status| {
        assert_eq!(status.code(), 400);
        status.message().to_string()
    })?;
    Ok((doc, unknown))
}

#[test]
fn unknown_fields_are_named_and_dropped() {
    let doc = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}}, "sepc": {},
        "spec": {"containers": [{"name": "c", "imge": "x", "resources": {"limit": {}}}]}});
    let (doc, unknown) = check(POD, doc).unwrap();
    assert_eq!(unknown, ["sepc", "spec.containers[0].imge", "spec.containers[0].resources.limit"]);
    assert_eq!(doc["spec"], json!({"containers": [{"name": "c", "resources": {}}]}));
}

#[test]
fn nulls_are_dropped_as_go_does() {
    let doc = json!({"metadata": {"creationTimestamp": null, "labels": null, "annotations": {"a": null}},
        "spec": {"containers": [null], "nodeName": null, "volumes": [{"name": "v", "emptyDir": {}}]}, "status": {}});
    let (doc, unknown) = check(POD, doc).unwrap();
    assert!(unknown.is_empty());
    assert_eq!(
        doc,
        json!({"metadata": {"annotations": {"a": ""}},
        "spec": {"containers": [{}], "volumes": [{"name": "v", "emptyDir": {}}]}, "status": {}})
    );
}

#[test]
fn quantities_and_times_become_canonical() {
    let doc = json!({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.5+01:00"},
        "spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi", "x": 3, "y": "100n",
            "z": "2e3", "e": "1E", "ei": "1Ei"}}}]}});
    let (doc, _) = check(POD, doc).unwrap();
    assert_eq!(
        doc["spec"]["containers"][0]["resources"]["limits"],
        json!({"cpu": "500m", "memory": "1Gi", "x": "3", "y": "100n", "z": "2e3", "e": "1E", "ei": "1Ei"})
    );
    assert_eq!(doc["metadata"]["creationTimestamp"], "2026-01-02T02:04:05Z");
    let (lease, _) =
        check("io.k8s.api.coordination.v1.Lease", json!({"spec": {"renewTime": "2026-01-02T03:04:05.25Z"}})).unwrap();
    assert_eq!(lease["spec"]["renewTime"], "2026-01-02T03:04:05.250000Z");
}

#[test]
fn wrong_types_are_refused_in_upstreams_words() {
    let container = |container: Json| json!({"spec": {"containers": [container]}});
    for (doc, text) in [
        (
            container(json!({"env": [{"name": "a", "value": 1}]})),
            "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            container(json!({"ports": [{"containerPort": "80"}]})),
            "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            container(json!({"ports": [{"containerPort": 1.5}]})),
            "json: cannot unmarshal number 1.5 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            container(json!({"ports": [{"containerPort": 3_000_000_000_u64}]})),
            "json: cannot unmarshal number 3000000000 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            container(json!("x")),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container",
        ),
        (
            json!({"spec": {"containers": {}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            json!({"metadata": {"labels": {"a": true}}}),
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            json!({"metadata": []}),
            "json: cannot unmarshal array into Go struct field Pod.metadata of type v1.ObjectMeta",
        ),
        (
            container(json!({"resources": {"limits": {"cpu": "lots"}}})),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            json!({"metadata": {"creationTimestamp": "now"}}),
            "parsing time \"now\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"now\" as \"2006\"",
        ),
        (
            container(json!({"livenessProbe": {"httpGet": {"port": true}}})),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (json!([]), "json: cannot unmarshal array into Go value of type v1.Pod"),
    ] {
        let expected = format!("Pod in version \"v1\" cannot be handled as a Pod: {text}");
        assert_eq!(check(POD, doc).unwrap_err(), expected);
    }
    let secret = json!({"data": {"a": "AAA*"}});
    assert_eq!(
        check("io.k8s.api.core.v1.Secret", secret).unwrap_err(),
        "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 3"
    );
}

#[test]
fn strict_errors_name_every_field() {
    let texts = strict_texts(&["spec.foo".into()], &["spec.bar".into()]);
    let status = strict_error(&Gvk::new("apps/v1", "Deployment"), &texts);
    assert_eq!(
        status.message(),
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
         unknown field \"spec.foo\", duplicate field \"spec.bar\""
    );
}

/// Any JSON that is not too large, with the names of real fields among its keys.
fn any_json() -> impl Strategy<Value = Json> {
    let key = prop_oneof![
        "[a-z]{1,3}",
        Just("spec".to_string()),
        Just("metadata".to_string()),
        Just("containers".to_string()),
        Just("labels".to_string()),
        Just("resources".to_string()),
        Just("limits".to_string()),
        Just("data".to_string()),
        Just("creationTimestamp".to_string())
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        "[0-9a-zA-Z.+=-]{0,6}".prop_map(Json::from)
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        let map = prop::collection::vec((key.clone(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Json::from),
            map.prop_map(|pairs| Json::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_was_decoded_decodes_again_unchanged(doc in any_json()) {
        for kind in holdfast_kinds::all() {
            let mut once = doc.clone();
            if crate::builtin().check(kind.schema, &mut once).is_ok() {
                let mut twice = once.clone();
                prop_assert_eq!(crate::builtin().check(kind.schema, &mut twice), Ok(Vec::new()));
                prop_assert_eq!(twice, once);
            }
        }
    }
}
