//! admissionregistration.k8s.io: the configurations of webhooks; defaults of the policies.

use super::*;

const MUTATING: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
const VALIDATING: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";

fn hook() -> Json {
    json!({
        "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": { "service": { "name": "hook", "namespace": "default", "path": "/judge" } },
        "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] }],
    })
}

fn hooks(hooks: &[Json]) -> Json {
    json!({ "kind": "MutatingWebhookConfiguration", "webhooks": hooks })
}

#[test]
fn defaults_of_webhooks_and_policies() {
    let stored = made(MUTATING, hooks(&[hook()]));
    let one = &stored["webhooks"][0];
    assert_eq!(one["failurePolicy"], "Fail");
    assert_eq!(one["matchPolicy"], "Equivalent");
    assert_eq!((&one["namespaceSelector"], &one["objectSelector"]), (&json!({}), &json!({})));
    assert_eq!(one["timeoutSeconds"], 10);
    assert_eq!(one["reinvocationPolicy"], "Never");
    assert_eq!(one["rules"][0]["scope"], "*");
    assert_eq!(one["clientConfig"]["service"]["port"], 443);
    let other = json!({ "kind": "ValidatingWebhookConfiguration", "webhooks": [hook()] });
    assert_eq!(made(VALIDATING, other)["webhooks"][0]["reinvocationPolicy"], Json::Null);
    let policy = json!({
        "kind": "ValidatingAdmissionPolicy", "spec": { "matchConstraints": { "resourceRules": [{}] } },
    });
    let stored = made("admissionregistration.k8s.io/validatingadmissionpolicies", policy);
    assert_eq!(stored["spec"]["failurePolicy"], "Fail");
    assert_eq!(stored["spec"]["matchConstraints"]["matchPolicy"], "Equivalent");
    assert_eq!(stored["spec"]["matchConstraints"]["resourceRules"][0]["scope"], "*");
    let binding = json!({ "kind": "ValidatingAdmissionPolicyBinding", "spec": { "matchResources": {} } });
    let stored = made("admissionregistration.k8s.io/validatingadmissionpolicybindings", binding);
    assert_eq!(stored["spec"]["failurePolicy"], Json::Null);
    assert_eq!(stored["spec"]["matchResources"]["objectSelector"], json!({}));
}

#[test]
fn webhooks() {
    create(MUTATING, hooks(&[hook()]), &[]);
    create(MUTATING, hooks(&[hook(), hook()]), &["webhooks[1].name: Duplicate value: \"hook.example.com\""]);
    create(
        MUTATING,
        hooks(&[json!({})]),
        &[
            "webhooks[0].name: Required value",
            "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
        ],
    );
    for (path, value, problem) in [
        (
            "name",
            json!("example.com"),
            "name: Invalid value: \"example.com\": should be a domain with at least three segments separated by dots",
        ),
        (
            "failurePolicy",
            json!("Wait"),
            "failurePolicy: Unsupported value: \"Wait\": supported values: \"Fail\", \"Ignore\"",
        ),
        (
            "matchPolicy",
            json!("Some"),
            "matchPolicy: Unsupported value: \"Some\": supported values: \"Equivalent\", \"Exact\"",
        ),
        (
            "sideEffects",
            json!("Some"),
            "sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
        ),
        (
            "reinvocationPolicy",
            json!("Always"),
            "reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
        ),
        (
            "timeoutSeconds",
            json!(31),
            "timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
        ),
        (
            "objectSelector",
            json!({ "matchExpressions": [{ "key": "a", "operator": "Is" }] }),
            "objectSelector.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator",
        ),
        (
            "admissionReviewVersions",
            json!(["v2"]),
            "admissionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
        ),
        (
            "admissionReviewVersions",
            json!(["v1", "v1"]),
            "admissionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
        ),
        (
            "rules.0.operations",
            json!(["*", "CREATE"]),
            "rules[0].operations: Invalid value: [\"*\",\"CREATE\"]: if '*' is present, must not specify other operations",
        ),
        (
            "rules.0.operations",
            json!(["READ"]),
            "rules[0].operations[0]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
        ),
        (
            "rules.0.apiGroups",
            json!(["*", ""]),
            "rules[0].apiGroups: Invalid value: [\"*\",\"\"]: if '*' is present, must not specify other API groups",
        ),
        ("rules.0.apiVersions", json!([""]), "rules[0].apiVersions[0]: Required value"),
        ("rules.0.resources", json!([]), "rules[0].resources: Required value"),
        (
            "rules.0.resources",
            json!(["*", "pods"]),
            "rules[0].resources: Invalid value: [\"*\",\"pods\"]: if '*' is present, must not specify other resources without subresources",
        ),
        (
            "rules.0.resources",
            json!(["pods/*", "pods/status"]),
            "rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify pods/status",
        ),
        (
            "rules.0.scope",
            json!("All"),
            "rules[0].scope: Unsupported value: \"All\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
        ),
        ("clientConfig.service.name", json!(""), "clientConfig.service.namespace: Required value"),
        (
            "clientConfig.service.port",
            json!(0),
            "clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
        ),
        (
            "clientConfig.service.path",
            json!("/a//b"),
            "clientConfig.service.path: Invalid value: \"/a//b\": segment[1] may not be empty",
        ),
        (
            "clientConfig",
            json!({ "url": "http://example.com/a" }),
            "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
        ),
        (
            "clientConfig",
            json!({ "url": "https:///a" }),
            "clientConfig.url: Invalid value: \"\": host must be specified; desired format: https://host[/path]",
        ),
        (
            "clientConfig",
            json!({ "url": "https://example.com/a?b=c" }),
            "clientConfig.url: Invalid value: \"b=c\": query parameters are not permitted in the URL",
        ),
        (
            "clientConfig",
            json!({ "url": "https://me@example.com/a" }),
            "clientConfig.url: Invalid value: \"me\": user information is not permitted in the URL",
        ),
        (
            "matchConditions",
            json!([{ "name": "a", "expression": " " }]),
            "matchConditions[0].expression: Required value",
        ),
        (
            "matchConditions",
            json!([{ "name": "a", "expression": "true" }, { "name": "a", "expression": "true" }]),
            "matchConditions[1].name: Duplicate value: \"a\"",
        ),
        (
            "matchConditions",
            json!([{ "name": "a", "expression": "object.x" }]),
            "matchConditions[0].expression: Invalid value: \"object.x\": must evaluate to bool but got dyn",
        ),
        (
            "matchConditions",
            json!([{ "name": "a", "expression": "params.x == 1" }]),
            "matchConditions[0].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: \
             undeclared reference to 'params' (in container '')\n | params.x == 1\n | ^",
        ),
    ] {
        create(MUTATING, hooks(&[with(hook(), path, value)]), &[&format!("webhooks[0].{problem}")]);
    }
}
