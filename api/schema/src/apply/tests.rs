//! Cases whose results are those of the documentation or of upstream's own description of its types.

use super::*;
use holdfast_core::{Json, Timestamp};
use serde_json::json;

struct Builtin(&'static str);

impl Versions for Builtin {
    type Place<'s> = Place<'static>;

    fn place(&self, api_version: &str) -> Option<Place<'static>> {
        (api_version != "v0").then(|| crate::builtin().place(self.0)).flatten()
    }

    fn convert(&self, doc: &Json, api_version: &str) -> Option<Json> {
        let mut doc = doc.clone();
        doc["apiVersion"] = api_version.into();
        (api_version != "v0").then_some(doc)
    }
}

const DEPLOYMENT: Builtin = Builtin("io.k8s.api.apps.v1.Deployment");
const CONFIG_MAP: Builtin = Builtin("io.k8s.api.core.v1.ConfigMap");
const POD: Builtin = Builtin("io.k8s.api.core.v1.Pod");
const SERVICE: Builtin = Builtin("io.k8s.api.core.v1.Service");
static NOTHING_RESET: FieldSet<'static> = FieldSet { nodes: Vec::new() };

/// An object as the hub keeps it.
struct Kept {
    kind: Builtin,
    doc: Option<Json>,
    managers: String,
    now: i64,
}

impl Kept {
    fn new(kind: Builtin) -> Kept {
        Kept { kind, doc: None, managers: String::new(), now: 0 }
    }

    fn write<R>(
        &mut self,
        manager: &str,
        api_version: &str,
        act: impl FnOnce(&Write<'_, Builtin>, Option<&Json>, Managers<'_>) -> Result<(Json, String), R>,
    ) -> Result<(), R> {
        self.now += 1;
        let write = Write {
            versions: &self.kind,
            api_version,
            manager,
            subresource: "",
            reset: &NOTHING_RESET,
            now: Timestamp::from_secs(self.now),
        };
        let (doc, managers) = act(&write, self.doc.as_ref(), Managers::parse(&self.managers).unwrap())?;
        (self.doc, self.managers) = (Some(doc), managers);
        Ok(())
    }

    fn update(&mut self, manager: &str, doc: Json) {
        let version = doc["apiVersion"].as_str().unwrap_or("v1").to_string();
        self.write(manager, &version, |write, live, managers| {
            let managers = update(write, live, &doc, managers)?;
            Ok::<_, String>((doc.clone(), text(&managers)))
        })
        .unwrap();
    }

    fn apply(&mut self, manager: &str, config: &Json, force: bool) -> Result<(), ApplyError> {
        let version = config["apiVersion"].as_str().unwrap_or("v1").to_string();
        self.write(manager, &version, |write, live, managers| {
            let applied = apply(write, live, config, managers, force)?;
            let managers = text(&applied.managers);
            Ok((applied.object, managers))
        })
    }

    fn doc(&self) -> &Json {
        self.doc.as_ref().unwrap()
    }

    /// The fields of a manager.
    fn fields(&self, manager: &str, operation: &str) -> Json {
        let all: Vec<Json> = serde_json::from_str(&self.managers).unwrap();
        let found = all.iter().find(|entry| entry["manager"] == manager && entry["operation"] == operation);
        found.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
    }
}

fn text(managers: &Managers<'_>) -> String {
    let mut out = Vec::new();
    managers.write(&mut out);
    String::from_utf8(out).unwrap()
}

fn conflicts(outcome: Result<(), ApplyError>) -> String {
    match outcome {
        Err(ApplyError::Conflicts(conflicts)) => Conflict::status(&conflicts).message().to_string(),
        other => panic!("no conflicts, but {other:?}"),
    }
}

/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>
#[test]
fn the_config_map_of_the_documentation() {
    let mut kept = Kept::new(CONFIG_MAP);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "test-cm", "namespace": "default", "labels": {"test-label": "test"}},
        "data": {"key": "some value"}});
    kept.apply("kubectl", &config, false).unwrap();
    let expected = r#"[{"manager":"kubectl","operation":"Apply","apiVersion":"v1","time":"1970-01-01T00:00:01Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:key":{}},"f:metadata":{"f:labels":{"f:test-label":{}}}}}]"#;
    assert_eq!(kept.managers, expected);

    let mut changed = config.clone();
    changed["data"]["key"] = json!("new value");
    kept.update("kube-controller-manager", changed);
    assert_eq!(kept.fields("kubectl", "Apply"), json!({"f:metadata": {"f:labels": {"f:test-label": {}}}}));
    assert_eq!(kept.fields("kube-controller-manager", "Update"), json!({"f:data": {"f:key": {}}}));
    assert_eq!(
        conflicts(kept.apply("kubectl", &config, false)),
        "Apply failed with 1 conflict: conflict with \"kube-controller-manager\" using v1: .data.key"
    );
    kept.apply("kubectl", &config, true).unwrap();
    assert_eq!(kept.doc()["data"]["key"], "some value");
    assert_eq!(kept.fields("kube-controller-manager", "Update"), Json::Null);
}

/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership>
#[test]
fn a_field_is_handed_over_as_documented() {
    let deployment = |replicas: Option<i64>| {
        let mut doc = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "nginx"},
            "spec": {"selector": {"matchLabels": {"app": "nginx"}}, "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:1.14.2"}]}}}});
        if let Some(replicas) = replicas {
            doc["spec"]["replicas"] = replicas.into();
        }
        doc
    };
    let mut kept = Kept::new(DEPLOYMENT);
    kept.apply("user", &deployment(Some(3)), false).unwrap();
    let only_replicas = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "nginx"},
        "spec": {"replicas": 3}});
    // Both say the same: no conflict, both own it.
    kept.apply("handover-to-hpa", &only_replicas, false).unwrap();
    assert_eq!(kept.fields("handover-to-hpa", "Apply"), json!({"f:spec": {"f:replicas": {}}}));
    kept.apply("user", &deployment(None), false).unwrap();
    assert_eq!(kept.doc()["spec"]["replicas"], 3, "it is owned by the other");
    // The autoscaler takes it from the handover; the user's next apply has nothing to do with it.
    let mut scaled = kept.doc().clone();
    scaled["spec"]["replicas"] = json!(7);
    kept.update("hpa", scaled);
    assert_eq!(kept.fields("handover-to-hpa", "Apply"), Json::Null);
    kept.apply("user", &deployment(None), false).unwrap();
    assert_eq!(kept.doc()["spec"]["replicas"], 7);
    // Whoever stops to say something that nobody else says removes it.
    kept.apply("user", &deployment(Some(7)), false).unwrap();
    let mut kept = Kept::new(DEPLOYMENT);
    kept.apply("user", &deployment(Some(3)), false).unwrap();
    kept.apply("user", &deployment(None), false).unwrap();
    assert_eq!(kept.doc()["spec"].get("replicas"), None);
}

/// What `kubectl create deployment` leaves: structs that Go holds by value are never owned themselves
/// (<https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/> tells which are optional).
#[test]
fn what_a_create_owns() {
    let mut kept = Kept::new(DEPLOYMENT);
    kept.update(
        "kubectl-create",
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "labels": {"app": "web"}, "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                    "containers": [{"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                    "nodeSelector": {"a": "b"}, "securityContext": {}, "volumes": [{"name": "v", "emptyDir": {}}]}}}}),
    );
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {}, "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {"k:{\"name\":\"nginx\"}": {
                        ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                        "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                            {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                    }},
                    "f:nodeSelector": {}, "f:securityContext": {},
                    "f:volumes": {".": {}, "k:{\"name\":\"v\"}": {".": {}, "f:emptyDir": {}, "f:name": {}}},
                },
            },
        },
    });
    assert_eq!(kept.fields("kubectl-create", "Update"), expected);
}

/// What Go writes whether it was said or not is owned with the struct in which it stands, and is nobody's change when a client
/// written in Go sends it back (`lastProbeTime: null`, `divisor: "0"`, `resources: {}`).
#[test]
fn what_go_always_writes_is_owned_with_its_struct_and_never_by_itself() {
    let pod = |condition: Json, field: Json, container: Json| {
        let mut container = container;
        container["name"] = json!("c");
        container["env"] = json!([{"name": "M", "valueFrom": {"resourceFieldRef": field}}]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "uid": "u"},
            "spec": {"containers": [container]}, "status": {"conditions": [condition]}})
    };
    let said = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let mut kept = Kept::new(POD);
    kept.update("me", pod(said.clone(), json!({"resource": "limits.memory"}), json!({"resources": {}})));
    let fields = kept.fields("me", "Update");
    let condition = &fields["f:status"]["f:conditions"]["k:{\"type\":\"Ready\"}"];
    let all = json!({".": {}, "f:lastProbeTime": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}});
    assert_eq!(*condition, all);
    let env = &fields["f:spec"]["f:containers"]["k:{\"name\":\"c\"}"]["f:env"]["k:{\"name\":\"M\"}"];
    assert_eq!(env["f:valueFrom"]["f:resourceFieldRef"], json!({}));
    let before = kept.managers.clone();
    let mut again = said;
    again["lastProbeTime"] = Json::Null;
    kept.update("client-go", pod(again, json!({"resource": "limits.memory", "divisor": "0"}), json!({})));
    assert_eq!(kept.managers, before);
}

/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy>
#[test]
fn lists_and_maps_merge_as_their_types_say() {
    let service = |ports: Json| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "finalizers": ["a.io/x"]},
            "spec": {"ports": ports, "selector": {"app": "a"}}})
    };
    let mut kept = Kept::new(SERVICE);
    kept.apply("a", &service(json!([{"port": 53, "protocol": "UDP", "name": "u"}])), false).unwrap();
    // A key that is left out is its default: another element.
    let mut other = service(json!([{"port": 53, "name": "t"}]));
    other["metadata"]["finalizers"] = json!(["b.io/y"]);
    other["spec"]["selector"] = json!({"app": "a"});
    kept.apply("b", &other, false).unwrap();
    let names: Vec<&Json> = kept.doc()["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["name"]).collect();
    assert_eq!(names, ["u", "t"]);
    assert_eq!(kept.doc()["metadata"]["finalizers"], json!(["a.io/x", "b.io/y"]));
    let fields = kept.fields("b", "Apply");
    assert_eq!(
        fields["f:spec"]["f:ports"],
        json!({"k:{\"port\":53,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}}})
    );
    assert_eq!(fields["f:metadata"], json!({"f:finalizers": {"v:\"b.io/y\"": {}}}));
    // `selector` is one value: another key is another value.
    let mut wider = other.clone();
    wider["spec"]["selector"] = json!({"app": "a", "tier": "t"});
    assert_eq!(
        conflicts(kept.apply("b", &wider, false)),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.selector"
    );
    kept.apply("b", &wider, true).unwrap();
    assert_eq!(kept.doc()["spec"]["selector"], json!({"app": "a", "tier": "t"}));
    // What `a` does not say any more goes; what `b` says stays.
    let mut less = service(json!([]));
    less["metadata"].as_object_mut().unwrap().remove("finalizers");
    less["spec"].as_object_mut().unwrap().remove("selector");
    kept.apply("a", &less, false).unwrap();
    assert_eq!(kept.doc()["spec"]["ports"], json!([{"port": 53, "name": "t"}]));
    assert_eq!(kept.doc()["metadata"]["finalizers"], json!(["b.io/y"]));
}

#[test]
fn conflicts_name_every_field_by_manager() {
    let pod = |image: &str, command: Json| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"l": image}},
            "spec": {"containers": [{"name": "c", "image": image, "command": command}]}})
    };
    let mut kept = Kept::new(POD);
    kept.apply("zoe", &pod("1", json!(["a"])), false).unwrap();
    let mut changed = kept.doc().clone();
    changed["spec"]["containers"][0]["command"] = json!(["b"]);
    kept.update("kubectl-edit", changed);
    assert_eq!(
        conflicts(kept.apply("me", &pod("2", json!(["c"])), false)),
        "Apply failed with 3 conflicts: conflicts with \"kubectl-edit\" using v1:\n\
         - .spec.containers[name=\"c\"].command\n\
         conflicts with \"zoe\":\n\
         - .metadata.labels.l\n\
         - .spec.containers[name=\"c\"].image"
    );
    let Err(ApplyError::Conflicts(found)) = kept.apply("me", &pod("2", json!(["b"])), false) else { panic!() };
    let status = serde_json::to_value(Conflict::status(&found)).unwrap();
    assert_eq!((&status["code"], &status["reason"]), (&json!(409), &json!("Conflict")));
    assert_eq!(
        status["details"]["causes"][0],
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"zoe\"", "field": ".metadata.labels.l"})
    );
}

/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#upgrading-from-client-side-apply-to-server-side-apply>
#[test]
fn kubectl_takes_over_what_it_applied_on_the_clients_side() {
    const LAST: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let config = |replicas: i64, image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    let mut client_side = config(1, "x:1");
    client_side["metadata"]["annotations"] = json!({LAST: config(1, "x:1").to_string()});
    let mut kept = Kept::new(DEPLOYMENT);
    kept.update("kubectl-client-side-apply", client_side);
    // Any other manager meets a conflict.
    assert!(conflicts(kept.apply("other", &config(1, "x:2"), false)).contains("\"kubectl-client-side-apply\""));
    kept.apply("kubectl", &config(1, "x:2"), false).unwrap();
    assert_eq!(kept.doc()["spec"]["template"]["spec"]["containers"][0]["image"], "x:2");
    let last = kept.doc()["metadata"]["annotations"][LAST].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Json>(last).unwrap(), config(1, "x:2"));
    assert!(last.ends_with("}\n") && last.starts_with("{\"apiVersion\""), "{last}");
    // What somebody else changed since is a conflict for kubectl, too.
    let mut scaled = kept.doc().clone();
    scaled["spec"]["replicas"] = json!(5);
    kept.update("hpa", scaled);
    assert_eq!(
        conflicts(kept.apply("kubectl", &config(1, "x:3"), false)),
        "Apply failed with 1 conflict: conflict with \"hpa\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn objects_without_managers_are_tracked_from_their_first_apply_on() {
    let doc = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    let mut kept = Kept::new(CONFIG_MAP);
    kept.doc = Some(doc.clone());
    let mut changed = doc.clone();
    changed["data"]["b"] = json!("2");
    kept.update("somebody", changed);
    assert_eq!(kept.managers, "[]");
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "2"}});
    let text = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a";
    assert_eq!(conflicts(kept.apply("me", &config, false)), text);
    kept.apply("me", &config, true).unwrap();
    assert_eq!(kept.fields("before-first-apply", "Update"), json!({"f:data": {".": {}, "f:b": {}}}));
}

#[test]
fn times_move_only_with_changes_and_the_oldest_updates_are_joined() {
    let doc = |n: usize| {
        let data: serde_json::Map<String, Json> = (0..=n).map(|n| (format!("k{n:02}"), json!("v"))).collect();
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
    };
    let mut kept = Kept::new(CONFIG_MAP);
    kept.update("m00", doc(0));
    let before = kept.managers.clone();
    kept.update("m01", doc(0));
    assert_eq!(kept.managers, before, "nothing changed");
    for n in 1..13 {
        kept.update(&format!("m{n:02}"), doc(n));
    }
    let all: Vec<Json> = serde_json::from_str(&kept.managers).unwrap();
    let names: Vec<&str> = all.iter().map(|entry| entry["manager"].as_str().unwrap()).collect();
    assert_eq!(names, ["ancient-changes", "m04", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12"]);
    assert_eq!(
        kept.fields("ancient-changes", "Update"),
        json!({"f:data": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}, "f:k03": {}}})
    );
    assert_eq!(all[0]["time"], "1970-01-01T00:00:05Z", "of the last that was joined");
}

#[test]
fn managers_of_versions_that_are_gone_are_forgotten() {
    let mut kept = Kept::new(CONFIG_MAP);
    kept.update("a", json!({"apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "1", "b": "1"}}));
    kept.managers = kept.managers.replace("\"apiVersion\":\"v1\"", "\"apiVersion\":\"v0\"");
    kept.update("b", json!({"apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "2", "b": "1"}}));
    let all: Vec<Json> = serde_json::from_str(&kept.managers).unwrap();
    assert_eq!((all.len(), &all[0]["manager"]), (1, &json!("b")));
    // Those of another version that is served lose what changes, too.
    kept.managers = kept.managers.replace("\"apiVersion\":\"v1\"", "\"apiVersion\":\"v2\"");
    kept.update("c", json!({"apiVersion": "v1", "metadata": {"name": "c"}, "data": {"a": "3", "b": "2"}}));
    assert_eq!(
        (kept.fields("b", "Update"), kept.fields("c", "Update")),
        (Json::Null, json!({"f:data": {"f:a": {}, "f:b": {}}}))
    );
}

#[test]
fn what_has_become_one_value_is_owned_as_one() {
    let set =
        FieldSet::parse(r#"{"f:spec":{"f:selector":{".":{},"f:matchLabels":{"f:a":{}}},"f:replicas":{}}}"#).unwrap();
    let place = crate::builtin().place(DEPLOYMENT.0).unwrap();
    let mut out = Vec::new();
    named::reconciled(&set, &place).write(&mut out);
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"f:spec":{"f:replicas":{},"f:selector":{}}}"#);
}

#[test]
fn elements_that_stand_twice_are_one_value_until_they_do_not() {
    let pod = |env: Json| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "env": env}]}})
    };
    let place = crate::builtin().place(POD.0).unwrap();
    let twice = pod(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]));
    let once = pod(json!([{"name": "A", "value": "2"}]));
    assert!(check(&place, &twice, false).unwrap_err().ends_with(".env: duplicate entries for key [name=\"A\"]"));
    check(&place, &twice, true).unwrap();
    let env = |set: &FieldSet<'_>| set.paths().iter().map(|path| path_text(path)).collect::<Vec<String>>().join(" ");
    let at = ".spec.containers[name=\"c\"].env[name=\"A\"]";
    let changes = compare(&place, &twice, &once).unwrap();
    assert_eq!(env(&changes.removed), at);
    assert_eq!(env(&changes.added), format!("{at} {at}.name {at}.value"));
    let changes = compare(&place, &once, &twice).unwrap();
    assert_eq!((env(&changes.added), env(&changes.removed)), (at.to_string(), format!("{at} {at}.name {at}.value")));
    assert_eq!(compare(&place, &twice, &twice).unwrap(), Comparison::default());
    assert!(env(&set_of(&place, &twice).unwrap()).ends_with(at));
    // Applying one of them ends it.
    assert_eq!(merge(&place, &twice, &once).unwrap(), once);
    let keyless = check(&place, &pod(json!([{"value": "1"}])), false).unwrap_err();
    assert!(
        keyless.contains("element 0: associative list with keys has an element that omits all key fields [\"name\"]")
    );
}

#[test]
fn fields_v1_is_read_as_upstream_reads_it() {
    for (text, expected) in [
        ("{}", "{}"),
        ("null", "{}"),
        (r#"{"f:a":{},"f:b":{".":{},"f:c":{}}}"#, r#"{"f:a":{},"f:b":{".":{},"f:c":{}}}"#),
        (r#"{"f:b":{},"f:a":null}"#, r#"{"f:a":{},"f:b":{}}"#),
        (r#"{"f:a":{".":{}}}"#, r#"{"f:a":{}}"#),
        (r#"{"x:new":{"f:a":{}},"f:a":{}}"#, r#"{"f:a":{}}"#),
        (r#"{"k:{\"b\":1,\"a\":\"x\"}":{}}"#, r#"{"k:{\"a\":\"x\",\"b\":1}":{}}"#),
        (
            r#"{"i:2":{},"v:true":{},"v:\"a\"":{},"v:3":{},"f:z":{}}"#,
            r#"{"f:z":{},"v:3":{},"v:\"a\"":{},"v:true":{},"i:2":{}}"#,
        ),
    ] {
        let mut out = Vec::new();
        FieldSet::parse(text).unwrap().write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{text}");
    }
    for bad in [
        "",
        "[]",
        "{",
        r#"{"f":{}}"#,
        r#"{"fa":{}}"#,
        r#"{"f:a":1}"#,
        r#"{"v:[":{}}"#,
        r#"{"k:1":{}}"#,
        r#"{"i:x":{}}"#,
        "{} {}",
    ] {
        FieldSet::parse(bad).expect_err(bad);
    }
}

#[test]
fn bad_managers_are_refused() {
    for (bad, text) in [
        (r#"[{"apiVersion":"v1","fieldsType":"FieldsV1"}]"#, "operation must be"),
        (r#"[{"operation":"Update","fieldsType":"FieldsV1"}]"#, "apiVersion must not be empty"),
        (r#"[{"operation":"Update","apiVersion":"v1"}]"#, "missing fieldsType in managed fields entry 0"),
        (r#"[{"operation":"Update","apiVersion":"v1","fieldsType":"V2"}]"#, "invalid fieldsType \"V2\""),
        (r#"[{"operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":[]}]"#, "error decoding set"),
        (r#"[{"operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","time":"noon"}]"#, "noon"),
        ("{}", "invalid type"),
    ] {
        let err = Managers::parse(bad).unwrap_err();
        assert!(err.contains(text), "{err}");
    }
    for (sent, resets) in [
        (json!([]), true),
        (json!([{}]), true),
        (json!([{}, {}]), false),
        (json!([{"manager": "a"}]), false),
        (json!(null), false),
    ] {
        assert_eq!(Managers::is_reset(&sent), resets, "{sent}");
    }
}

/// <https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers> and the scale sub-resource: its only
/// field is the object's `spec.replicas`.
#[test]
fn managers_of_a_scale_are_those_of_the_replicas() {
    let path = |version: &str| (version == "apps/v1").then(|| vec![Element::field("spec"), Element::field("replicas")]);
    let replicas = scale::Replicas { api_version: "apps/v1", path: &path };
    let text_of = |text: &str| text.replace('\'', "\"");
    let objects = text_of(
        "[{'manager':'user','operation':'Apply','apiVersion':'apps/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:paused':{},'f:replicas':{}}}},\
         {'manager':'other','operation':'Update','apiVersion':'apps/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:paused':{}}}}]",
    );
    let objects = Managers::parse(&objects).unwrap();
    let of_scale = scale::to_scale(&objects, replicas);
    let expected = text_of(
        "[{'manager':'user','operation':'Apply','apiVersion':'autoscaling/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:replicas':{}}}}]",
    );
    assert_eq!(text(&of_scale), expected);
    assert_eq!(scale::to_object(objects.clone(), of_scale, replicas), objects);
    let taken = text_of(
        "[{'manager':'hpa','operation':'Update','apiVersion':'autoscaling/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:replicas':{}}},'subresource':'scale'}]",
    );
    let back = scale::to_object(objects, Managers::parse(&taken).unwrap(), replicas);
    let expected = text_of(
        "[{'manager':'user','operation':'Apply','apiVersion':'apps/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:paused':{}}}},\
         {'manager':'hpa','operation':'Update','apiVersion':'apps/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:replicas':{}}},'subresource':'scale'},\
         {'manager':'other','operation':'Update','apiVersion':'apps/v1','fieldsType':'FieldsV1','fieldsV1':{'f:spec':{'f:paused':{}}}}]",
    );
    assert_eq!(text(&back), expected);
}
