//! flowcontrol.apiserver.k8s.io: FlowSchema, PriorityLevelConfiguration.

use super::*;

const SCHEMAS: &str = "flowcontrol.apiserver.k8s.io/flowschemas";
const LEVELS: &str = "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations";

fn schema(rule: Json) -> Json {
    json!({ "spec": { "priorityLevelConfiguration": { "name": "level" }, "rules": [rule] } })
}

fn subjects(subject: Json) -> Json {
    schema(json!({
        "subjects": [subject], "nonResourceRules": [{ "verbs": ["get"], "nonResourceURLs": ["/healthz"] }],
    }))
}

fn group() -> Json {
    json!({ "kind": "Group", "group": { "name": "g" } })
}

fn fixed(name: &str, spec: Json) -> Json {
    json!({ "metadata": { "name": name }, "spec": spec })
}

#[test]
fn flow_schemas() {
    assert_eq!(made(SCHEMAS, subjects(group()))["spec"]["matchingPrecedence"], 1000);
    create(SCHEMAS, subjects(group()), &[]);
    create(
        SCHEMAS,
        json!({ "spec": { "matchingPrecedence": 1, "distinguisherMethod": { "type": "ByName" } } }),
        &[
            "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
            "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByName\"}: supported values: \"ByNamespace\", \"ByUser\"",
            "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
        ],
    );
    create(
        SCHEMAS,
        with(subjects(group()), "spec.matchingPrecedence", json!(10001)),
        &["spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"],
    );
    create(
        SCHEMAS,
        schema(json!({})),
        &[
            "spec.rules[0].subjects: Required value: subjects must contain at least one value",
            "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
        ],
    );
    create(
        SCHEMAS,
        subjects(json!({ "kind": "Robot" })),
        &[
            "spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
        ],
    );
    create(
        SCHEMAS,
        subjects(json!({ "kind": "User", "group": { "name": "g" } })),
        &[
            "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'",
            "spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'",
        ],
    );
    create(
        SCHEMAS,
        subjects(json!({ "kind": "ServiceAccount", "serviceAccount": { "name": "*" } })),
        &[
            "spec.rules[0].subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account",
        ],
    );
    create(
        SCHEMAS,
        schema(json!({
            "subjects": [group()],
            "resourceRules": [
                { "verbs": ["*", "get"], "apiGroups": ["*", ""], "resources": ["*"], "clusterScope": true },
                { "verbs": ["look"], "apiGroups": [""], "resources": ["pods"] },
                { "verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a", "*"] },
            ],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["healthz", "/a//b", "/a*", "/a/*"] }],
        })),
        &[
            "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
            "spec.rules[0].resourceRules[0].apiGroups: Invalid value: [\"*\",\"\"]: if '*' is present, must not specify other api groups",
            "spec.rules[0].resourceRules[1].verbs: Unsupported value: [\"look\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
            "spec.rules[0].resourceRules[1].namespaces: Required value: resource rules that are not cluster scoped must supply at least one namespace",
            "spec.rules[0].resourceRules[2].namespaces: Invalid value: [\"a\",\"*\"]: if '*' is present, must not specify other namespaces",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"healthz\": must start with slash",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/a//b\": must not contain double slash",
            "spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"/a*\": wildcard can only do suffix matching",
        ],
    );
    status(
        SCHEMAS,
        subjects(group()),
        json!({}),
        json!({ "conditions": [{ "type": "Dangling" }, { "type": "Dangling" }, {}] }),
        &["status.conditions[1].type: Duplicate value: \"Dangling\"", "status.conditions[2].type: Required value"],
    );
}

#[test]
fn flow_schemas_that_nobody_changes() {
    let rule = |groups: &[&str]| {
        let all = json!(["*"]);
        json!([{
            "subjects": groups.iter().map(|name| json!({ "kind": "Group", "group": { "name": name } })).collect::<Vec<_>>(),
            "resourceRules": [{
                "verbs": all, "apiGroups": all, "resources": all, "namespaces": all, "clusterScope": true,
            }],
            "nonResourceRules": [{ "verbs": all, "nonResourceURLs": all }],
        }])
    };
    let exempt = json!({
        "matchingPrecedence": 1, "priorityLevelConfiguration": { "name": "exempt" }, "rules": rule(&["system:masters"]),
    });
    create(SCHEMAS, fixed("exempt", exempt.clone()), &[]);
    let everybody = rule(&["system:unauthenticated", "system:authenticated"]);
    let catch_all = json!({
        "matchingPrecedence": 10000, "priorityLevelConfiguration": { "name": "catch-all" }, "rules": everybody,
        "distinguisherMethod": { "type": "ByUser" },
    });
    create(SCHEMAS, fixed("catch-all", catch_all), &[]);
    let strategy = strategy(SCHEMAS);
    let mut errors = FieldErrors::new();
    strategy.validate(&made(SCHEMAS, with(fixed("exempt", exempt), "spec.matchingPrecedence", json!(2))), &mut errors);
    assert_eq!(errors.0.len(), 1);
    assert!(errors.0[0].to_string().ends_with("spec of 'exempt' must equal the fixed value"), "{}", errors.0[0]);
}

#[test]
fn priority_levels() {
    let limited = |limited: Json| json!({ "spec": { "type": "Limited", "limited": limited } });
    let queue = |queuing: Json| limited(json!({ "limitResponse": { "type": "Queue", "queuing": queuing } }));
    assert_eq!(
        made(LEVELS, queue(json!({})))["spec"]["limited"],
        json!({
            "limitResponse": { "type": "Queue", "queuing": { "handSize": 8, "queues": 64, "queueLengthLimit": 50 } },
            "nominalConcurrencyShares": 30, "lendablePercent": 0,
        })
    );
    create(LEVELS, queue(json!({})), &[]);
    create(LEVELS, fixed("exempt", json!({ "type": "Exempt", "exempt": {} })), &[]);
    create(
        LEVELS,
        json!({ "spec": { "type": "Exempt", "exempt": { "lendablePercent": 101, "nominalConcurrencyShares": -1 } } }),
        &[
            "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'",
            "spec.exempt.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            "spec.exempt.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
        ],
    );
    create(
        LEVELS,
        json!({ "spec": { "type": "Limited", "exempt": {} } }),
        &[
            "spec.exempt: Forbidden: must be nil if the type is Limited",
            "spec.limited: Required value: must not be empty when type is Limited",
        ],
    );
    create(
        LEVELS,
        json!({ "spec": {} }),
        &["spec.type: Unsupported value: \"\": supported values: \"Exempt\", \"Limited\""],
    );
    create(
        LEVELS,
        limited(json!({ "nominalConcurrencyShares": -1, "borrowingLimitPercent": -1, "lendablePercent": -1 })),
        &[
            "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
            "spec.limited.limitResponse.type: Unsupported value: \"\": supported values: \"Queue\", \"Reject\"",
            "spec.limited.lendablePercent: Invalid value: -1: must be between 0 and 100, inclusive",
            "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
        ],
    );
    create(
        LEVELS,
        limited(json!({ "limitResponse": { "type": "Reject", "queuing": {} } })),
        &["spec.limited.limitResponse.queuing: Forbidden: must be nil if limited.limitResponse.type is not Limited"],
    );
    for (queuing, problem) in [
        (json!({ "queueLengthLimit": -1 }), "queueLengthLimit: Invalid value: -1: must be positive"),
        (json!({ "handSize": 65 }), "handSize: Invalid value: 65: should not be greater than queues (64)"),
        (
            json!({ "handSize": 11 }),
            "handSize: Invalid value: 11: required entropy bits of deckSize 64 and handSize 11 should not be greater than 60",
        ),
    ] {
        create(LEVELS, queue(queuing), &[&format!("spec.limited.limitResponse.queuing.{problem}")]);
    }
}
