//! Custom kinds as a user of kubectl has them.

use crate::hub::Hub;
use crate::kubectl::{Kubectl, NAMESPACE};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tills.shop.example.com}
spec:
  group: shop.example.com
  scope: Namespaced
  names: {plural: tills, kind: Till, shortNames: [tl], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.drawers, statusReplicasPath: .status.drawers}}
    additionalPrinterColumns:
    - {name: Drawers, type: integer, jsonPath: .spec.drawers}
    - {name: Place, type: string, jsonPath: .spec.place, priority: 1}
    selectableFields: [{jsonPath: .spec.place}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What a till is to be.
            x-kubernetes-validations:
            - {rule: "self.place != 'cellar' || self.drawers < 3", message: the cellar has room for two drawers}
            properties:
              drawers: {type: integer, minimum: 1, default: 1, description: How many drawers it has.}
              place: {type: string, default: hall}
              keys:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, turns: {type: integer}}
          status: {type: object, properties: {drawers: {type: integer}}}
"#;

fn till(name: &str, spec: &str) -> String {
    format!("apiVersion: shop.example.com/v1\nkind: Till\nmetadata: {{name: {name}, namespace: demo}}\nspec: {spec}\n")
}

#[test]
fn kubectl_works_with_custom_kinds() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    assert!(kubectl.ok("apply -f -", DEFINITION).contains("tills.shop.example.com created"));
    // No wait in between: a definition is served when its create returns.
    assert!(kubectl.ok("apply -f -", &till("a", "{drawers: 2}")).contains("till.shop.example.com/a created"));
    kubectl.ok("wait --for=condition=Established crd/tills.shop.example.com --timeout=10s", "");
    let table = kubectl.ok("-n demo get tl", "");
    assert!(table.starts_with("NAME   DRAWERS\na      2"), "{table}");
    assert!(kubectl.ok("-n demo get tills -o wide", "").contains("hall"));
    assert!(kubectl.ok("-n demo get all", "").contains("till.shop.example.com/a"));
    assert!(kubectl.ok("explain tills.spec.drawers", "").contains("How many drawers it has."));
    assert!(kubectl.ok("api-resources --api-group=shop.example.com", "").contains("tills"));

    let refused = kubectl.fails("apply -f -", &till("b", "{drawers: 0}"));
    assert!(refused.contains("spec.drawers in body should be greater than or equal to 1"), "{refused}");
    let refused = kubectl.fails("apply -f -", &till("b", "{drawer: 1}"));
    assert!(refused.contains("unknown field \"spec.drawer\""), "{refused}");
    let refused = kubectl.fails("apply -f -", &till("b", "{drawers: 3, place: cellar}"));
    assert!(refused.contains("spec: Invalid value: \"object\": the cellar has room for two drawers"), "{refused}");

    kubectl.ok("-n demo scale tills/a --replicas=5", "");
    assert_eq!(kubectl.ok("-n demo get till a -o jsonpath={.spec.drawers}", ""), "5");
    kubectl.ok("-n demo patch till a --type=merge -p {\"spec\":{\"place\":\"attic\"}}", "");
    assert_eq!(
        kubectl.ok("-n demo get tills --field-selector=spec.place=attic -o name", "").trim(),
        "till.shop.example.com/a"
    );

    // Two managers, each with a key of its own.
    kubectl.ok("apply --server-side --field-manager=one -f -", &till("c", "{keys: [{name: left, turns: 1}]}"));
    kubectl.ok("apply --server-side --field-manager=two -f -", &till("c", "{keys: [{name: right, turns: 2}]}"));
    assert_eq!(kubectl.ok("-n demo get till c -o jsonpath={.spec.keys[*].name}", ""), "left right");
    let conflict =
        kubectl.fails("apply --server-side --field-manager=two -f -", &till("c", "{keys: [{name: left, turns: 9}]}"));
    assert!(conflict.contains("conflict with \"one\""), "{conflict}");

    // Its owner takes one along, the namespace another, the definition the rest.
    kubectl.ok("-n demo create configmap owner", "");
    let uid = kubectl.ok("-n demo get configmap owner -o jsonpath={.metadata.uid}", "");
    let owners = format!(
        "-n demo patch till c --type=merge -p {{\"metadata\":{{\"ownerReferences\":[{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"owner\",\"uid\":\"{uid}\"}}]}}}}"
    );
    kubectl.ok(&owners, "");
    kubectl.ok("-n demo delete configmap owner", "");
    kubectl.ok("-n demo wait --for=delete till/c --timeout=30s", "");
    kubectl.ok("delete namespace demo --timeout=60s", "");
    assert_eq!(kubectl.ok("get tills -A -o name", ""), "");
    kubectl.ok("delete crd tills.shop.example.com --timeout=30s", "");
    // kubectl may still think that it knows the kind.
    let gone = kubectl.fails("get tills -A", "");
    let words = ["the server doesn't have a resource type \"tills\"", "could not find the requested resource"];
    assert!(words.iter().any(|words| gone.contains(words)), "{gone}");
}
