//! admissionregistration.k8s.io: policies and their bindings.

use super::*;

const POLICIES: &str = "admissionregistration.k8s.io/validatingadmissionpolicies";
const BINDINGS: &str = "admissionregistration.k8s.io/validatingadmissionpolicybindings";

fn policy() -> Json {
    json!({
        "kind": "ValidatingAdmissionPolicy",
        "spec": {
            "matchConstraints": { "resourceRules": [{ "operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
                "resources": ["deployments"] }] },
            "variables": [{ "name": "replicas", "expression": "object.spec.replicas" }],
            "validations": [{ "expression": "variables.replicas <= 5", "messageExpression": "'have ' + string(variables.replicas)" }],
            "auditAnnotations": [{ "key": "k", "valueExpression": "string(variables.replicas)" }],
        },
    })
}

fn binding() -> Json {
    json!({ "kind": "ValidatingAdmissionPolicyBinding",
        "spec": { "policyName": "p", "validationActions": ["Deny", "Audit"] } })
}

#[test]
fn policies() {
    create(POLICIES, policy(), &[]);
    let nothing = "validations or auditAnnotations must contain at least one item";
    create(
        POLICIES,
        json!({ "kind": "ValidatingAdmissionPolicy", "spec": {} }),
        &[
            "spec.matchConstraints: Required value",
            &format!("spec.validations: Required value: {nothing}"),
            &format!("spec.auditAnnotations: Required value: {nothing}"),
        ],
    );
    for (path, value, problem) in [
        (
            "failurePolicy",
            json!("Wait"),
            "failurePolicy: Unsupported value: \"Wait\": supported values: \"Fail\", \"Ignore\"",
        ),
        ("matchConstraints.resourceRules", json!([]), "matchConstraints.resourceRules: Required value"),
        (
            "matchConstraints.resourceRules.0.resourceNames",
            json!(["a", "a"]),
            "matchConstraints.resourceRules[0].resourceNames[1]: Duplicate value: \"a\"",
        ),
        ("paramKind", json!({ "apiVersion": "v1" }), "paramKind.kind: Required value"),
        (
            "paramKind",
            json!({ "apiVersion": "a/b/c", "kind": "Limit" }),
            "paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
        ),
        (
            "validations.0.expression",
            json!("variables.replicas + "),
            "validations[0].expression: Invalid value: \"variables.replicas + \": compilation failed: ERROR: <input>:1:22: Syntax error",
        ),
        (
            "validations.0.expression",
            json!("variables.other == 1"),
            "validations[0].expression: Invalid value: \"variables.other == 1\": compilation failed: ERROR: <input>:1:10: undefined field 'other'",
        ),
        (
            "validations.0.expression",
            json!("'text'"),
            "validations[0].expression: Invalid value: \"'text'\": must evaluate to bool but got string",
        ),
        (
            "validations.0.expression",
            json!("params.x == 1"),
            "validations[0].expression: Invalid value: \"params.x == 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'",
        ),
        (
            "validations.0.expression",
            json!(" "),
            "validations[0].expression: Required value: expression is not specified",
        ),
        (
            "validations.0.messageExpression",
            json!("1"),
            "validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
        ),
        (
            "validations.0.messageExpression",
            json!("authorizer.path('/x').check('get').reason()"),
            "validations[0].messageExpression: Invalid value: \"authorizer.path('/x').check('get').reason()\": compilation \
             failed: ERROR: <input>:1:1: undeclared reference to 'authorizer'",
        ),
        (
            "validations.0.message",
            json!("a\nb"),
            "validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
        ),
        (
            "validations.0.reason",
            json!("Teapot"),
            "validations[0].reason: Unsupported value: \"Teapot\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
        ),
        (
            "auditAnnotations.0.valueExpression",
            json!("1"),
            "auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int",
        ),
        (
            "matchConditions",
            json!([{ "name": "a", "expression": "object.x" }]),
            "matchConditions[0].expression: Invalid value: \"object.x\": must evaluate to bool but got dyn",
        ),
    ] {
        let doc = made(POLICIES, with(policy(), &format!("spec.{path}"), value));
        let mut errors = FieldErrors::new();
        strategy(POLICIES).validate(&doc, &mut errors);
        let found = texts(&errors);
        assert!(found.len() == 1 && found[0].starts_with(&format!("spec.{problem}")), "{path}: {found:?}");
    }
    let named = with(policy(), "spec.variables.0.name", json!("not-one"));
    let mut errors = FieldErrors::new();
    strategy(POLICIES).validate(&made(POLICIES, named), &mut errors);
    let text = "spec.variables[0].name: Invalid value: \"not-one\": name is not a valid CEL identifier";
    assert_eq!(texts(&errors)[0], text);
}

#[test]
fn bindings_of_policies() {
    create(BINDINGS, binding(), &[]);
    create(
        BINDINGS,
        json!({ "kind": "ValidatingAdmissionPolicyBinding", "spec": {} }),
        &[
            "spec.policyName: Required value",
            "spec.validationActions: Required value: at least one validation action is required",
        ],
    );
    for (path, value, problem) in [
        ("validationActions", json!(["Deny", "Deny"]), "validationActions[1]: Duplicate value: \"Deny\""),
        (
            "validationActions",
            json!(["Deny", "Warn"]),
            "validationActions: Invalid value: [\"Deny\",\"Warn\"]: must not contain both Deny and Warn (repeating the same \
             validation failure information in the API response and headers serves no purpose)",
        ),
        (
            "validationActions",
            json!(["Stop"]),
            "validationActions[0]: Unsupported value: \"Stop\": supported values: \"Audit\", \"Deny\", \"Warn\"",
        ),
        (
            "paramRef",
            json!({ "parameterNotFoundAction": "Deny" }),
            "paramRef: Required value: one of name or selector must be specified",
        ),
        ("paramRef", json!({ "name": "a" }), "paramRef.parameterNotFoundAction: Required value"),
        (
            "matchResources",
            json!({ "matchPolicy": "Some" }),
            "matchResouces.matchPolicy: Unsupported value: \"Some\": supported values: \"Equivalent\", \"Exact\"",
        ),
    ] {
        create(BINDINGS, with(binding(), &format!("spec.{path}"), value), &[&format!("spec.{problem}")]);
    }
}
