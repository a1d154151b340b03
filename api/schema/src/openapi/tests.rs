use super::*;
use holdfast_core::json::at;

#[test]
fn kubectl_finds_field_validation_at_the_patch_of_every_kind() {
    for kind in holdfast_kinds::all().iter().filter(|kind| kind.is_stored()) {
        let document = crate::builtin().openapi_v3(kind.group, kind.version);
        let found = document["paths"].as_object().unwrap().values().filter_map(|path| path.get("patch")).any(|patch| {
            patch["x-kubernetes-group-version-kind"]["kind"] == kind.kind
                && patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some()
                && patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation")
        });
        assert!(found, "{kind:?}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let mut documents = vec![(openapi_v2(), "#/definitions/", vec!["definitions"])];
    for (group, version) in groups() {
        let document = crate::builtin().openapi_v3(group, version);
        documents.push((document, "#/components/schemas/", vec!["components", "schemas"]));
    }
    for (document, prefix, place) in documents {
        let schemas = at(&document, &place).unwrap();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let name = reference.strip_prefix(prefix).unwrap_or_else(|| panic!("{reference}"));
            assert!(schemas.get(name).is_some(), "{reference} leads nowhere");
        }
    }
}

#[test]
fn the_index_names_documents_by_their_content() {
    let index = openapi_v3_index([]);
    assert_eq!(index["paths"].as_object().unwrap().len(), groups().len());
    let document = document("apps", "v1").unwrap();
    let url = format!("/openapi/v3/apis/apps/v1?hash={}", document.hash());
    assert_eq!(index["paths"]["apis/apps/v1"]["serverRelativeURL"], url);
    let json: Json = serde_json::from_slice(&document.json().bytes().unwrap()).unwrap();
    assert_eq!(json, crate::builtin().openapi_v3("apps", "v1"));
    assert!(super::document("apps", "v2").is_none());
    assert_eq!(crate::builtin().openapi_v3("apps", "v2"), Json::Null);
}

#[test]
fn custom_kinds_join_the_document_of_version_two() {
    let definition = holdfast_kinds::custom::CustomDefinition {
        group: "shop.example.com".into(),
        version: "v1".into(),
        kind: "Till".into(),
        plural: "tills".into(),
        singular: "till".into(),
        namespaced: true,
        has_status: true,
        has_scale: true,
        selectable: vec![".spec.color".into()],
        ..Default::default()
    };
    let kind = holdfast_kinds::custom::intern(&definition).unwrap();
    let open = holdfast_kinds::custom::CustomDefinition {
        kind: "Box".into(),
        plural: "boxes".into(),
        singular: "box".into(),
        selectable: Vec::new(),
        namespaced: false,
        ..definition
    };
    let open = holdfast_kinds::custom::intern(&open).unwrap();
    let schema = json!({"type": "object", "description": "a till", "properties": {
        "spec": {"type": "object", "properties": {"color": {"type": "string", "default": "red"}}}}});
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let parts = vec![(kind, schema.to_string().into()), (open, anything.to_string().into())];
    let custom = CustomDocument::new("shop.example.com", "v1", parts);
    let document = cache::openapi_v2_with([&custom]);
    let json: Json = serde_json::from_slice(&document.json().bytes().unwrap()).unwrap();
    assert_ne!(document.hash(), openapi_v2_document().hash());

    let till = &json["definitions"]["com.example.shop.v1.Till"];
    assert_eq!(till["properties"]["spec"], json!({"type": "object", "properties": {"color": {"type": "string"}}}));
    assert_eq!(till["properties"]["metadata"]["$ref"], "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    assert_eq!(
        till["x-kubernetes-group-version-kind"],
        json!([{"group": "shop.example.com", "version": "v1", "kind": "Till"}])
    );
    assert_eq!(till["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.color"}]));
    let open = &json["definitions"]["com.example.shop.v1.Box"];
    assert_eq!((&open["type"], open.get("properties")), (&json!("object"), None), "kubectl takes any field");
    let list = &json["definitions"]["com.example.shop.v1.TillList"];
    assert_eq!(list["properties"]["items"]["items"]["$ref"], "#/definitions/com.example.shop.v1.Till");

    let base = "/apis/shop.example.com/v1/namespaces/{namespace}/tills";
    for path in ["", "/{name}", "/{name}/status", "/{name}/scale"] {
        assert!(json["paths"].get(format!("{base}{path}")).is_some(), "{path}");
    }
    assert!(json["paths"].get("/apis/shop.example.com/v1/tills").is_some());
    assert!(json["paths"].get("/apis/shop.example.com/v1/boxes/{name}").is_some());
    let patch = &json["paths"][format!("{base}/{{name}}")]["patch"];
    assert_eq!(
        patch["consumes"],
        json!(["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"])
    );
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Till");
    for part in ["paths", "definitions"] {
        let names: Vec<&String> = json[part].as_object().unwrap().keys().collect();
        assert!(names.is_sorted(), "{part}");
    }
    let text = json.to_string();
    for name in text.split("\"$ref\":\"#/definitions/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(json["definitions"].get(name).is_some(), "{name} leads nowhere");
    }
}
