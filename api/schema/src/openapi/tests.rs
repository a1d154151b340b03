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
    let json: Json = serde_json::from_slice(&document.json().unwrap()).unwrap();
    assert_eq!(json, crate::builtin().openapi_v3("apps", "v1"));
    assert!(super::document("apps", "v2").is_none());
    assert_eq!(crate::builtin().openapi_v3("apps", "v2"), Json::Null);
}
