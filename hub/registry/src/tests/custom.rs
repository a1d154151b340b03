//! Custom kinds, from their definition to its end.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::Reason;
use holdfast_env::Task;

pub(super) const CRDS: &str = "apiextensions.k8s.io/customresourcedefinitions";
pub(super) const TILLS: &str = "shop.example.com/tills";

pub(super) fn definition() -> Json {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "tills.shop.example.com" },
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced",
            "names": { "plural": "tills", "kind": "Till", "shortNames": ["tl"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": { "status": {}, "scale": {
                    "specReplicasPath": ".spec.drawers", "statusReplicasPath": ".status.drawers",
                    "labelSelectorPath": ".status.selector" } },
                "selectableFields": [{ "jsonPath": ".spec.color" }],
                "schema": { "openAPIV3Schema": { "type": "object", "required": ["spec"], "properties": {
                    "spec": { "type": "object", "properties": {
                        "drawers": { "type": "integer", "minimum": 1, "default": 1 },
                        "color": { "type": "string", "enum": ["red", "blue"] },
                    } },
                    "status": { "type": "object", "properties": {
                        "drawers": { "type": "integer" }, "selector": { "type": "string" } } },
                } } },
            }],
        },
    })
}

pub(super) fn till(name: &str, spec: Json) -> Json {
    json!({ "apiVersion": "shop.example.com/v1", "kind": "Till", "metadata": { "name": name }, "spec": spec })
}

async fn shop() -> (Cluster, Task) {
    let cluster = cluster().await;
    let task = cluster.registry.start_custom_kinds().await.unwrap();
    cluster.create(CRDS, "", definition()).await.unwrap();
    (cluster, task)
}

fn conditions(doc: &Json) -> Vec<String> {
    let words = |c: &Json| format!("{}={}", c["type"].as_str().unwrap(), c["status"].as_str().unwrap());
    doc["status"]["conditions"].as_array().unwrap().iter().map(words).collect()
}

impl Cluster {
    /// Waits until a definition is gone, or as `holds` says.
    async fn until(&self, what: &str, name: &str, holds: impl Fn(Option<&Json>) -> bool) {
        self.until_object(what, (CRDS, "", name), holds).await;
    }

    /// The same of any object, by its resource, namespace and name.
    async fn until_object(
        &self,
        what: &str,
        (resource, namespace, name): (&str, &str, &str),
        holds: impl Fn(Option<&Json>) -> bool,
    ) {
        let deadline = self.env.monotonic().after(Duration::from_secs(10));
        loop {
            let found = self.get(resource, namespace, name).await.ok();
            if holds(found.as_ref()) {
                return;
            }
            assert!(self.env.monotonic() < deadline, "never: {what}: {found:#?}");
            self.env.sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_definition_is_served_when_its_create_returns() {
    let (cluster, _task) = shop().await;
    let stored = cluster.get(CRDS, "", "tills.shop.example.com").await.unwrap();
    assert_eq!(conditions(&stored), ["NamesAccepted=True", "Established=True"]);
    assert_eq!(stored["spec"]["names"]["listKind"], "TillList");
    assert_eq!(stored["spec"]["names"]["singular"], "till");
    assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(stored["status"]["acceptedNames"]["plural"], "tills");

    let made = cluster.create(TILLS, "default", till("a", json!({ "color": "red" }))).await.unwrap().to_json();
    assert_eq!(made["spec"], json!({ "color": "red", "drawers": 1 }));
    assert_eq!(made["metadata"]["generation"], 1);
    let served = cluster.registry.kinds().now();
    let kind = served.kinds.by_gvr(&gvr(TILLS)).unwrap();
    assert_eq!((kind.singular, kind.short_names), ("till", &["tl"][..]));
}

#[tokio::test]
async fn objects_are_judged_by_the_schema() {
    let (cluster, _task) = shop().await;
    let refused =
        cluster.create(TILLS, "default", till("a", json!({ "drawers": 0, "color": "green" }))).await.unwrap_err();
    assert_eq!(refused.code(), 422);
    assert_eq!(
        refused.to_string(),
        "Till.shop.example.com \"a\" is invalid: [spec.drawers: Invalid value: 0: spec.drawers in body should be greater than \
         or equal to 1, spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"]"
    );
    let refused = cluster.create(TILLS, "default", till("a", json!({ "drawer": 1 }))).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "Till in version \"v1\" cannot be handled as a Till: strict decoding error: unknown field \"spec.drawer\""
    );
    let mut odd = till("a", json!({}));
    odd["metadata"]["lables"] = json!({});
    let refused = cluster.create(TILLS, "default", odd).await.unwrap_err();
    assert!(refused.to_string().ends_with("unknown field \"metadata.lables\""), "{refused}");
    let refused = cluster.create(TILLS, "default", json!({ "metadata": { "name": "a" } })).await.unwrap_err();
    assert_eq!(refused.to_string(), "Till.shop.example.com \"a\" is invalid: spec: Required value");
}

#[tokio::test]
async fn status_scale_and_generation_are_apart() {
    let (cluster, _task) = shop().await;
    cluster.create(TILLS, "default", till("a", json!({}))).await.unwrap();
    let mut doc = cluster.get(TILLS, "default", "a").await.unwrap();
    doc["spec"]["drawers"] = json!(5);
    doc["status"] = json!({ "drawers": 3, "selector": "app=a" });
    let status = cluster.update_part(TILLS, "status", doc).await.unwrap().to_json();
    assert_eq!((&status["spec"]["drawers"], &status["status"]["drawers"]), (&json!(1), &json!(3)));
    assert_eq!(status["metadata"]["generation"], 1);

    let at = target(TILLS, "default", "a").with_subresource("scale");
    let scale = cluster.registry.get(&cluster.cx, &at).await.unwrap().to_json();
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({ "replicas": 1 }), &json!({ "replicas": 3, "selector": "app=a" }))
    );
    let patch = Patch { patch_type: PatchType::Merge, body: json!({ "spec": { "replicas": 4 } }) };
    cluster.registry.patch(&cluster.cx, &at, patch, &WriteOptions::default()).await.unwrap();
    let doc = cluster.get(TILLS, "default", "a").await.unwrap();
    assert_eq!((&doc["spec"]["drawers"], &doc["metadata"]["generation"]), (&json!(4), &json!(2)));
    assert_eq!(doc["status"]["drawers"], 3, "a write of the rest leaves the status");
}

#[tokio::test]
async fn patches_lists_and_selectors_work_as_for_other_kinds() {
    let (cluster, _task) = shop().await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        cluster.create(TILLS, "default", till(name, json!({ "color": color }))).await.unwrap();
    }
    cluster.merge(TILLS, "a", json!({ "spec": { "drawers": 2 } })).await.unwrap();
    let patch = Patch { patch_type: PatchType::Strategic, body: json!({ "spec": { "drawers": 2 } }) };
    let refused =
        cluster.registry.patch(&cluster.cx, &target(TILLS, "default", "a"), patch, &strict()).await.unwrap_err();
    assert_eq!(refused.code(), 415);
    let fields = holdfast_core::FieldSelector { terms: vec![("spec.color".into(), "blue".into(), true)] };
    let options = ListOptions { fields, ..ListOptions::default() };
    let found = cluster.registry.list(&cluster.cx, &target(TILLS, "default", ""), &options).await.unwrap();
    assert_eq!(found.items.iter().map(|o| o.meta.name.as_str()).collect::<Vec<_>>(), ["b"]);
    let stale = till("a", json!({ "drawers": 3 }));
    let mut unversioned = stale.clone();
    unversioned["metadata"]["namespace"] = "default".into();
    let refused = cluster.update(TILLS, unversioned).await.unwrap_err();
    assert!(
        refused.to_string().contains("metadata.resourceVersion: Invalid value: 0: must be specified for an update"),
        "{refused}"
    );
}

#[tokio::test]
async fn another_version_is_shown_in_its_own_name() {
    let (cluster, _task) = shop().await;
    cluster.create(TILLS, "default", till("a", json!({}))).await.unwrap();
    let mut doc = cluster.get(CRDS, "", "tills.shop.example.com").await.unwrap();
    let mut next = doc["spec"]["versions"][0].clone();
    next["name"] = "v2".into();
    doc["spec"]["versions"][0]["storage"] = false.into();
    doc["spec"]["versions"].as_array_mut().unwrap().push(next);
    let changed = cluster.update(CRDS, doc).await.unwrap().to_json();
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    let v2 = Gvr::new("shop.example.com", "v2", "tills");
    let old = cluster.registry.get(&cluster.cx, &Target::object(v2.clone(), "default", "a")).await.unwrap();
    assert_eq!(old.gvk.version, "v2");
    let mut doc = till("b", json!({}));
    doc["apiVersion"] = "shop.example.com/v2".into();
    cluster.registry.create(&cluster.cx, &Target::collection(v2, "default"), doc, &strict()).await.unwrap();
    let list =
        cluster.registry.list(&cluster.cx, &target(TILLS, "default", ""), &ListOptions::default()).await.unwrap();
    assert!(list.items.iter().all(|object| object.gvk.version == "v1"), "{:?}", list.items);
    // What was stored once may still be stored.
    let mut doc = cluster.get(CRDS, "", "tills.shop.example.com").await.unwrap();
    doc["spec"]["versions"].as_array_mut().unwrap().remove(0);
    let refused = cluster.update(CRDS, doc).await.unwrap_err();
    assert!(
        refused.to_string().contains("status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_taken_name_waits_until_it_is_free() {
    let (cluster, _task) = shop().await;
    let mut rival = definition();
    rival["metadata"]["name"] = "cashboxes.shop.example.com".into();
    rival["spec"]["names"] = json!({ "plural": "cashboxes", "singular": "cashbox", "kind": "Till" });
    let made = cluster.create(CRDS, "", rival).await.unwrap().to_json();
    assert_eq!(conditions(&made), ["NamesAccepted=False", "Established=False"]);
    assert_eq!(made["status"]["conditions"][0]["reason"], "KindConflict");
    assert!(cluster.registry.kinds().now().kinds.by_gvr(&gvr("shop.example.com/cashboxes")).is_none());
    cluster.delete(CRDS, "", "tills.shop.example.com").await.unwrap();
    cluster
        .until("the rival is established", "cashboxes.shop.example.com", |doc| {
            doc.is_some_and(|doc| conditions(doc) == ["NamesAccepted=True", "Established=True"])
        })
        .await;
}

#[tokio::test]
async fn a_definition_takes_its_objects_with_it() {
    let (cluster, _task) = shop().await;
    let mut held = till("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create(TILLS, "default", held).await.unwrap();
    cluster.create(TILLS, "default", till("a", json!({}))).await.unwrap();
    let deleted = cluster.delete(CRDS, "", "tills.shop.example.com").await.unwrap();
    assert!(matches!(deleted, Deleted::Marked(_)));
    cluster
        .until("it is terminating", "tills.shop.example.com", |doc| {
            doc.is_some_and(|doc| conditions(doc).contains(&"Terminating=True".to_string()))
        })
        .await;
    let refused = cluster.create(TILLS, "default", till("b", json!({}))).await.unwrap_err();
    assert_eq!((refused.code(), refused.is(Reason::MethodNotAllowed)), (405, true));
    // The condition comes first, then the objects are cleared away.
    cluster
        .until_object("it is marked", (TILLS, "default", "held"), |doc| {
            doc.is_some_and(|doc| doc["metadata"]["deletionTimestamp"].is_string())
        })
        .await;
    cluster.merge(TILLS, "held", json!({ "metadata": { "finalizers": null } })).await.unwrap();
    cluster.until("it is gone", "tills.shop.example.com", |doc| doc.is_none()).await;
    let served = |served: &Arc<holdfast_server::Served>| served.kinds.by_gvr(&gvr(TILLS)).is_some();
    let mut kinds = cluster.registry.kinds().subscribe();
    let ended = kinds.wait_for(|now| !served(now));
    cluster.env.timeout(Duration::from_secs(10), ended).await.expect("still served").unwrap();
    let gone = cluster.registry.list(&cluster.cx, &target(TILLS, "default", ""), &ListOptions::default()).await;
    assert_eq!(gone.unwrap_err().code(), 404);
}

#[tokio::test]
async fn definitions_that_make_no_sense_are_refused() {
    let (cluster, _task) = shop().await;
    for (change, expected) in [
        (
            json!({ "metadata": { "name": "x" } }),
            "metadata.name: Invalid value: \"x\": must be spec.names.plural+\".\"+spec.group",
        ),
        (
            json!({ "spec": { "scope": "World" } }),
            "spec.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            json!({ "metadata": { "name": "tills.shop" }, "spec": { "group": "shop" } }),
            "spec.group: Invalid value: \"shop\": should be a domain with at least one dot",
        ),
        (
            json!({ "metadata": { "name": "tills.x.k8s.io" }, "spec": { "group": "x.k8s.io" } }),
            "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation \"api-approved.kubernetes.io\"",
        ),
        (
            json!({ "spec": { "versions": [] } }),
            "spec.versions: Invalid value: []: must have exactly one version marked as storage version",
        ),
        (
            json!({ "spec": { "conversion": { "strategy": "Webhook" } } }),
            "[spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook, \
             spec.conversion.conversionReviewVersions: Required value]",
        ),
        (
            json!({ "spec": { "conversion": { "strategy": "None", "webhook": {
                "clientConfig": { "url": "https://x" }, "conversionReviewVersions": ["v1"] } } } }),
            "[spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook, \
             spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook]",
        ),
        (
            json!({ "spec": { "conversion": { "strategy": "Webhook", "webhook": {
                "clientConfig": { "url": "http://x" }, "conversionReviewVersions": ["v2", "v2"] } } } }),
            "[spec.conversion.webhookClientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; \
             desired format: https://host[/path], spec.conversion.conversionReviewVersions[1]: Invalid value: \"v2\": \
             duplicate version, spec.conversion.conversionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at \
             least one of v1, v1beta1]",
        ),
        (
            json!({ "spec": { "versions": [{ "name": "v1", "served": true, "storage": true }] } }),
            "spec.versions[0].schema.openAPIV3Schema: Required value",
        ),
        (
            json!({ "spec": { "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "string" } } }] } }),
            "spec.versions[0].schema.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root",
        ),
    ] {
        let mut doc = definition();
        holdfast_schema::merge_patch(&mut doc, &change).unwrap();
        let refused = cluster.create(CRDS, "", doc).await.unwrap_err();
        assert!(refused.code() == 422 && refused.to_string().contains(expected), "{change}: {refused}");
    }
}

#[tokio::test]
async fn whoever_uses_a_deprecated_version_is_told() {
    let (cluster, _task) = shop().await;
    let mut doc = cluster.get(CRDS, "", "tills.shop.example.com").await.unwrap();
    let first = doc["spec"]["versions"][0].clone();
    let version = |name: &str, more: Json| {
        let mut version = first.clone();
        version["name"] = json!(name);
        version["storage"] = json!(false);
        holdfast_schema::merge_patch(&mut version, &more).unwrap();
        version
    };
    doc["spec"]["versions"] = json!([
        first,
        version("v1beta1", json!({ "deprecated": true })),
        version("v1alpha1", json!({ "deprecated": true, "deprecationWarning": "do not" })),
        version("v2alpha1", json!({ "deprecated": true })),
        version("v3", json!({ "served": false })),
    ]);
    cluster.update(CRDS, doc).await.unwrap();
    for (version, told) in [
        ("v1", None),
        ("v1beta1", Some("shop.example.com/v1beta1 Till is deprecated; use shop.example.com/v1 Till")),
        ("v1alpha1", Some("do not")),
        ("v2alpha1", Some("shop.example.com/v2alpha1 Till is deprecated; use shop.example.com/v1 Till")),
    ] {
        let cx = RequestContext::new(cluster.cx.user.clone(), "test");
        let at = Target::collection(Gvr::new("shop.example.com", version, "tills"), "default");
        cluster.registry.list(&cx, &at, &ListOptions::default()).await.unwrap();
        let warnings = cx.warnings.lock().unwrap().clone();
        assert_eq!(warnings, Vec::from_iter(told.map(String::from)), "{version}");
    }
}

#[tokio::test]
async fn parts_of_versions_are_judged() {
    let (cluster, _task) = shop().await;
    let nine: Vec<Json> = (0..9).map(|at| json!({ "jsonPath": format!(".spec.f{at}") })).collect();
    let fields: serde_json::Map<String, Json> =
        (0..9).map(|at| (format!("f{at}"), json!({ "type": "string" }))).collect();
    for (change, expected) in [
        (
            json!({ "deprecationWarning": "x" }),
            "deprecationWarning: Invalid value: \"x\": can only be set for deprecated versions",
        ),
        (
            json!({ "deprecated": true, "deprecationWarning": "" }),
            "deprecationWarning: Invalid value: \"\": must not be an empty string",
        ),
        (
            json!({ "selectableFields": [{ "jsonPath": ".spec.gone" }] }),
            "selectableFields[0].jsonPath: Invalid value: \".spec.gone\": is an invalid path: does not refer to a valid field",
        ),
        (
            json!({ "selectableFields": [{ "jsonPath": ".metadata.name" }] }),
            "selectableFields[0].jsonPath: Invalid value: \".metadata.name\": must not point to fields in metadata",
        ),
        (
            json!({ "selectableFields": [{ "jsonPath": ".spec" }] }),
            "selectableFields[0].jsonPath: Invalid value: \".spec\": must point to a field of type string, boolean or integer.",
        ),
        (
            json!({ "selectableFields": [{ "jsonPath": ".spec.color" }, { "jsonPath": ".spec.color" }] }),
            "selectableFields[1].jsonPath: Duplicate value: \".spec.color\"",
        ),
        (
            json!({ "selectableFields": nine, "schema": { "openAPIV3Schema": { "properties": { "spec": { "properties": fields } } } } }),
            "selectableFields: Too many: 9: must have at most 8 items",
        ),
        (
            json!({ "additionalPrinterColumns": [{ "name": "a", "type": "string", "format": "x", "jsonPath": "spec" }] }),
            "additionalPrinterColumns[0].format: Invalid value: \"x\": must be one of byte,date,date-time,double,float,int32,int64,password, \
             spec.versions[0].additionalPrinterColumns[0].JSONPath: Invalid value: \"spec\": must be a simple json path starting with .",
        ),
        (
            json!({ "subresources": { "scale": { "labelSelectorPath": ".x" } } }),
            "subresources.scale.labelSelectorPath: Invalid value: \".x\": should be a json path under either .spec or .status",
        ),
    ] {
        let mut doc = definition();
        holdfast_schema::merge_patch(&mut doc["spec"]["versions"][0], &change).unwrap();
        let refused = cluster.create(CRDS, "", doc).await.unwrap_err();
        assert!(refused.code() == 422 && refused.to_string().contains(expected), "{change}: {refused}");
    }
}

/// A webhook's authorities that do not read: a new definition is not served, and one that is served does not get them.
#[tokio::test]
async fn authorities_of_a_conversion_are_judged() {
    let (cluster, _task) = shop().await;
    let bundle = |text: &str| {
        json!({ "spec": { "conversion": { "strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": { "url": "https://x", "caBundle": STANDARD.encode(text) } } } } })
    };
    let change = async |text: &str| {
        let at = target(CRDS, "", "tills.shop.example.com");
        let patch = Patch { patch_type: PatchType::Merge, body: bundle(text) };
        cluster.registry.patch(&cluster.cx, &at, patch, &strict()).await
    };
    for (text, why) in [
        ("nonsense", "unable to parse bytes as PEM block"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "failed to parse certificate: x509: "),
    ] {
        let refused = change(text).await.unwrap_err();
        let expected = format!("unable to load root certificates: {why}");
        assert!(refused.code() == 422 && refused.message().contains(&expected), "{refused}");
        assert!(
            refused.message().contains("spec.conversion.webhookClientConfig.caBundle: Invalid value: "),
            "{refused}"
        );
    }
    let mut other = definition();
    other["metadata"]["name"] = json!("carts.shop.example.com");
    other["spec"]["names"] = json!({ "plural": "carts", "kind": "Cart" });
    holdfast_schema::merge_patch(&mut other, &bundle("nonsense")).unwrap();
    let made = cluster.create(CRDS, "", other).await.unwrap().to_json();
    assert_eq!(conditions(&made), ["NamesAccepted=True", "Established=False"], "{made:#}");
    let established = &made["status"]["conditions"][1];
    assert_eq!(established["reason"], "InvalidCABundle");
    let mut mended = made.clone();
    mended["spec"]["conversion"] = json!({ "strategy": "None" });
    let mended = cluster.update(CRDS, mended).await.unwrap().to_json();
    assert_eq!(conditions(&mended), ["NamesAccepted=True", "Established=True"]);
}
