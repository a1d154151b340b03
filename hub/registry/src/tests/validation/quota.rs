//! core: ResourceQuota, LimitRange.

use super::*;

#[test]
fn quotas() {
    const QUOTAS: &str = "resourcequotas";
    create(QUOTAS, json!({ "spec": { "hard": { "pods": "10", "requests.cpu": "2", "example.com/gpu": "1" } } }), &[]);
    create(
        QUOTAS,
        json!({ "spec": { "hard": { "pods": "1500m", "storage": "1Gi", "cups": "1", "cpu": "-1" } } }),
        &[
            "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            "spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota",
            "spec.hard[cups]: Invalid value: \"cups\": must be a standard resource type or fully qualified",
            "spec.hard[cups]: Invalid value: \"cups\": must be a standard resource for quota",
            "spec.hard[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ],
    );
    create(
        QUOTAS,
        json!({ "spec": { "hard": { "cpu": "1" }, "scopes": ["BestEffort", "NotBestEffort", "Other"] } }),
        &[
            "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Other\"]: unsupported scope applied to resource",
            "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Other\"]: unsupported scope",
            "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\",\"Other\"]: conflicting scopes",
        ],
    );
    create(
        QUOTAS,
        json!({ "spec": { "scopeSelector": { "matchExpressions": [
            { "scopeName": "PriorityClass", "operator": "In" }, { "scopeName": "Terminating", "operator": "Is" }] } } }),
        &[
            "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Is\": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
            "spec.scopeSelector.matchExpressions.operator: Invalid value: \"Is\": not a valid selector operator",
        ],
    );
    update(
        QUOTAS,
        json!({ "spec": { "hard": { "pods": "1" } } }),
        "spec.scopes",
        json!(["BestEffort"]),
        &["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"],
    );
}

#[test]
fn limit_ranges() {
    const RANGES: &str = "limitranges";
    let range = |limit: Json| json!({ "spec": { "limits": [limit] } });
    let stored = made(RANGES, range(json!({ "type": "Container", "max": { "cpu": "2" }, "min": { "memory": "1Mi" } })));
    let limit = &stored["spec"]["limits"][0];
    assert_eq!(
        (&limit["default"], &limit["defaultRequest"]),
        (&json!({ "cpu": "2" }), &json!({ "cpu": "2", "memory": "1Mi" }))
    );
    create(RANGES, range(json!({ "type": "Container", "max": { "cpu": "2" }, "min": { "cpu": "1" } })), &[]);
    create(
        RANGES,
        range(json!({ "type": "Container", "max": { "cpu": "1" }, "min": { "cpu": "2" } })),
        &[
            "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
            "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
            "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
        ],
    );
    create(
        RANGES,
        range(json!({ "type": "Pod", "default": { "cpu": "1" }, "maxLimitRequestRatio": { "cpu": "500m" } })),
        &[
            "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
        ],
    );
    create(
        RANGES,
        range(json!({ "type": "PersistentVolumeClaim" })),
        &[
            "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
        ],
    );
    create(
        RANGES,
        json!({ "spec": { "limits": [{ "type": "Container" }, { "type": "Container" }, { "type": "Disk" }] } }),
        &[
            "spec.limits[1].type: Duplicate value: \"Container\"",
            "spec.limits[2].type: Invalid value: \"Disk\": must be a standard limit type or fully qualified",
        ],
    );
}
