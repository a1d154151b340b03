//! ValidatingAdmissionPolicies.

use super::*;

const POLICIES: &str = "admissionregistration.k8s.io/validatingadmissionpolicies";
const BINDINGS: &str = "admissionregistration.k8s.io/validatingadmissionpolicybindings";

fn spec(validations: Json) -> Json {
    json!({
        "matchConstraints": { "resourceRules": [{
            "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }] },
        "validations": validations,
    })
}

impl Cluster {
    async fn policy(&self, name: &str, spec: Json) {
        self.create(POLICIES, "", json!({ "metadata": { "name": name }, "spec": spec })).await.unwrap();
    }

    async fn bind(&self, name: &str, spec: Json) {
        let spec = and(json!({ "policyName": "p", "validationActions": ["Deny"] }), spec);
        self.create(BINDINGS, "", json!({ "metadata": { "name": name }, "spec": spec })).await.unwrap();
    }

    async fn try_map(&self, name: &str) -> Result<Arc<Object>, Status> {
        self.create("configmaps", "default", config_map(name, json!({ "a": "b" }))).await
    }

    /// What is said after the policy and its binding were named.
    async fn denial(&self, name: &str) -> (u16, String) {
        let refused = self.try_map(name).await.unwrap_err();
        let start = format!(
            "configmaps \"{name}\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
        );
        let text = refused.message().strip_prefix(&start).unwrap_or_else(|| panic!("{refused}"));
        (refused.code(), text.to_string())
    }
}

#[tokio::test]
async fn a_bound_policy_denies_with_the_first_message_that_there_is() {
    let cluster = cluster().await;
    let validations = json!([
        { "expression": "object.metadata.name != 'made'", "message": "plain", "messageExpression": "'not ' + object.metadata.name" },
        { "expression": "object.metadata.name != 'plain'", "message": "plain", "messageExpression": "''", "reason": "Forbidden" },
        { "expression": "object.metadata.name != 'none'" },
        { "expression": "object.metadata.name != 'large'", "reason": "RequestEntityTooLarge" },
        { "expression": "object.data.missing != 'x' || object.metadata.name != 'wrong'" },
        { "expression": "object.metadata.name == 'wrong' ? object.data.missing == '' : true" },
    ]);
    cluster.policy("p", spec(validations)).await;
    cluster.try_map("none").await.unwrap();
    cluster.bind("b", json!({})).await;
    let expected = [
        ("made", 422, "not made"),
        ("plain", 403, "plain"),
        ("large", 413, "failed expression: object.metadata.name != 'large'"),
        (
            "wrong",
            422,
            "expression 'object.data.missing != 'x' || object.metadata.name != 'wrong'' resulted in error: no such key: missing",
        ),
    ];
    for (name, code, text) in expected {
        assert_eq!(cluster.denial(name).await, (code, text.to_string()));
    }
    cluster.try_map("fine").await.unwrap();
    let refused = cluster.merge("configmaps", "none", json!({ "data": { "x": "y" } })).await.unwrap_err();
    assert!(refused.is(Reason::Invalid), "an update is judged as well: {refused}");
    let causes = &refused.details().unwrap().causes;
    assert_eq!(
        causes[0].message,
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: failed expression: object.metadata.name != 'none'"
    );
    cluster.delete(BINDINGS, "", "b").await.unwrap();
    cluster.try_map("made").await.unwrap();
}

#[tokio::test]
async fn variables_are_evaluated_for_who_reads_them() {
    let cluster = cluster().await;
    let mut with = spec(json!([
        { "expression": "variables.long", "messageExpression": "string(variables.size) + ' of ' + object.metadata.name" },
        { "expression": "object.metadata.name != 'wrong' || variables.wrong == ''" },
        { "expression": "object.metadata.name != 'zone' || variables.now.getFullYear() == 2026" },
    ]));
    with["variables"] = json!([
        { "name": "size", "expression": "object.metadata.name.size()" },
        { "name": "long", "expression": "variables.size > 3" },
        { "name": "wrong", "expression": "object.data.missing" },
        { "name": "now", "expression": "timestamp('2026-01-01T00:00:00Z')" },
    ]);
    cluster.policy("p", with).await;
    cluster.bind("b", json!({})).await;
    assert_eq!(cluster.denial("abc").await, (422, "3 of abc".into()));
    cluster.try_map("abcd").await.unwrap();
    cluster.try_map("zone").await.unwrap();
    let (_, text) = cluster.denial("wrong").await;
    let why = "composited variable \"wrong\" fails to evaluate: no such key: missing";
    assert!(text.ends_with(why), "{text}");
}

#[tokio::test]
async fn actions_of_a_binding_say_what_a_failure_does() {
    let cluster = cluster().await;
    cluster.policy("p", spec(json!([{ "expression": "false", "message": "never" }]))).await;
    cluster.bind("b", json!({ "validationActions": ["Warn", "Audit"] })).await;
    cluster.try_map("x").await.unwrap();
    let warned = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never";
    assert_eq!(*cluster.cx.warnings.lock().unwrap(), [warned]);
    // A binding narrows what its policy is about.
    let narrow = json!({ "matchResources": { "resourceRules": [{ "operations": ["*"], "apiGroups": [""], "apiVersions": ["*"],
        "resources": ["configmaps"], "resourceNames": ["named"] }] } });
    cluster.bind("c", narrow).await;
    cluster.try_map("y").await.unwrap();
    let refused = cluster.try_map("named").await.unwrap_err();
    assert!(refused.message().contains("with binding 'c' denied request: never"), "{refused}");
}

#[tokio::test]
async fn exclusions_conditions_and_the_failure_policy_let_pass() {
    let cluster = cluster().await;
    let mut with = spec(json!([{ "expression": "object.data.missing == ''" }]));
    with["failurePolicy"] = json!("Ignore");
    with["matchConditions"] = json!([{ "name": "not-spared", "expression": "object.metadata.name != 'spared'" }]);
    with["matchConstraints"]["excludeResourceRules"] = json!([{ "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["*"], "resourceNames": ["excluded"] }]);
    cluster.policy("p", with.clone()).await;
    cluster.bind("b", json!({})).await;
    cluster.try_map("ignored").await.unwrap();
    let mut doc = cluster.get(POLICIES, "", "p").await.unwrap();
    doc["spec"]["failurePolicy"] = json!("Fail");
    cluster.update(POLICIES, doc).await.unwrap();
    cluster.try_map("spared").await.unwrap();
    cluster.try_map("excluded").await.unwrap();
    let (code, text) = cluster.denial("judged").await;
    assert!(code == 422 && text.ends_with("no such key: missing"), "{text}");
}

#[tokio::test]
async fn expressions_see_the_request_the_namespace_and_rights() {
    let cluster = cluster().await;
    cluster.registry.start_authorizer().await.unwrap();
    let mut with = spec(json!([
        { "expression": "request.namespace == 'default' && request.kind.kind == 'ConfigMap' && request.name == 'x'" },
        { "expression": "request.userInfo.username == 'admin' && 'system:masters' in request.userInfo.groups" },
        { "expression": "namespaceObject.metadata.name == 'default' && namespaceObject.status.phase == 'Active'" },
        { "expression": "authorizer.group('apps').resource('deployments').namespace('x').check('delete').allowed()" },
        { "expression": "authorizer.requestResource.check('create').allowed()" },
        { "expression": "!authorizer.serviceAccount('default', 'default').group('').resource('pods').check('get').allowed()" },
        { "expression": "oldObject == null && !has(request.options.dryRun) && request.dryRun == false" },
    ]));
    with["auditAnnotations"] = json!([{ "key": "k", "valueExpression": "'by ' + request.userInfo.username" }]);
    cluster.policy("p", with).await;
    cluster.bind("b", json!({})).await;
    cluster.try_map("x").await.unwrap();
}

#[tokio::test]
async fn parameters_come_by_name_or_selector() {
    let cluster = cluster().await;
    let mut with = spec(json!([{ "expression": "object.metadata.name.size() <= int(params.data.longest)",
        "messageExpression": "'longer than ' + params.data.longest" }]));
    with["paramKind"] = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
    // Its own parameters are not judged.
    with["matchConstraints"]["excludeResourceRules"] = json!([{ "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["*"], "resourceNames": ["param", "param-2"] }]);
    cluster.policy("p", with).await;
    let by_name = json!({ "paramRef": { "name": "param", "parameterNotFoundAction": "Deny" } });
    cluster.bind("b", by_name).await;
    let (_, text) = cluster.denial("abcd").await;
    assert_eq!(
        text,
        "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    let param = |name: &str, longest: &str| json!({ "metadata": { "name": name, "labels": { "limit": "yes" } }, "data": { "longest": longest } });
    cluster.create("configmaps", "default", param("param", "5")).await.unwrap();
    cluster.try_map("abcd").await.unwrap();
    assert_eq!(cluster.denial("abcdef").await.1, "longer than 5");
    cluster.delete(BINDINGS, "", "b").await.unwrap();

    let by_label = json!({ "paramRef": { "selector": { "matchLabels": { "limit": "yes" } }, "parameterNotFoundAction": "Allow" } });
    cluster.bind("b", by_label).await;
    cluster.create("configmaps", "default", param("param-2", "3")).await.unwrap();
    assert_eq!(cluster.denial("abcde").await.1, "longer than 3", "each has to be content");
    for name in ["param", "param-2"] {
        cluster.delete("configmaps", "default", name).await.unwrap();
    }
    cluster.try_map("abcdef").await.unwrap();

    let mut unknown = spec(json!([{ "expression": "params != null" }]));
    unknown["paramKind"] = json!({ "apiVersion": "shop.example.com/v1", "kind": "Limit" });
    cluster.delete(POLICIES, "", "p").await.unwrap();
    cluster.policy("p", unknown).await;
    let refused = cluster.try_map("x").await.unwrap_err();
    assert!(
        refused.message().ends_with(
            "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by \
             paramKind: 'shop.example.com/v1, Kind=Limit'"
        ),
        "{refused}"
    );
}

#[tokio::test]
async fn expressions_that_cost_too_much_end_the_judgement() {
    let cluster = cluster().await;
    let costly = "[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, \
                  [0,1,2,3,4,5,6,7,8,9].all(d, [0,1,2,3,4,5,6,7,8,9].all(e, a + b + c + d + e < 100)))))";
    cluster.policy("p", spec(json!(vec![json!({ "expression": costly }); 40]))).await;
    cluster.bind("b", json!({})).await;
    let (code, text) = cluster.denial("x").await;
    assert!(
        code == 422 && (text.contains("running out of cost budget") || text.contains("cost limit exceeded")),
        "{text}"
    );
}

#[tokio::test]
async fn nobody_reads_through_a_policy_what_he_may_not_read() {
    let cluster = cluster().await;
    let _authorizer = cluster.registry.start_authorizer().await.unwrap();
    let rules = json!([{ "apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"], "verbs": ["*"] }]);
    let role = json!({ "metadata": { "name": "policies" }, "rules": rules });
    cluster.create("rbac.authorization.k8s.io/clusterroles", "", role).await.unwrap();
    let binding = json!({ "metadata": { "name": "jane" }, "subjects": [{ "kind": "User", "name": "jane" }],
        "roleRef": { "kind": "ClusterRole", "name": "policies" } });
    cluster.create("rbac.authorization.k8s.io/clusterrolebindings", "", binding).await.unwrap();
    let jane = RequestContext::new(UserInfo::new("jane", &[]), "test");
    let mut with = spec(json!([{ "expression": "true" }]));
    with["paramKind"] = json!({ "apiVersion": "v1", "kind": "Secret" });
    let policy = json!({ "metadata": { "name": "p" }, "spec": with });
    let at = target(POLICIES, "", "");
    let refused = cluster.registry.create(&jane, &at, policy.clone(), &strict()).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            422,
            "ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: spec.paramKind: Forbidden: user jane \
             must have \"get\" permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)"
        )
    );
    cluster.create(POLICIES, "", policy).await.unwrap();
    let bound = json!({ "metadata": { "name": "b" }, "spec": { "policyName": "p", "validationActions": ["Deny"],
        "paramRef": { "name": "s", "namespace": "kube-system", "parameterNotFoundAction": "Deny" } } });
    let refused = cluster.registry.create(&jane, &target(BINDINGS, "", ""), bound, &strict()).await.unwrap_err();
    assert!(
        refused.message().contains("spec.paramRef: Forbidden: user jane does not have \"get\" permission"),
        "{refused}"
    );
}

#[tokio::test]
async fn expressions_are_held_against_the_kinds_that_they_are_about() {
    let cluster = cluster().await;
    let _task = cluster.registry.start_custom_kinds().await.unwrap();
    cluster.create(CRDS, "", definition()).await.unwrap();
    let rule = |group: &str, resources: Json| json!({ "operations": ["*"], "apiGroups": [group], "apiVersions": ["v1"], "resources": resources });
    let spec = json!({
        "matchConstraints": { "resourceRules": [
            rule("apps", json!(["deployments", "deployments/scale"])), rule("shop.example.com", json!(["tills"])),
            rule("", json!(["*"])),
        ] },
        "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
        "variables": [{ "name": "count", "expression": "object.spec.replicas" }],
        "validations": [
            { "expression": "object.metadata.labels.size() > 0 && params.data.x == object.metadata.name" },
            { "expression": "object.spec.replicas > 1", "messageExpression": "'x' + object.spec.replicas" },
            { "expression": "variables.count > 1 && params.spec.x" },
        ],
    });
    cluster.policy("p", spec.clone()).await;
    let policy = cluster.get(POLICIES, "", "p").await.unwrap();
    assert_eq!(policy["status"]["observedGeneration"], 1);
    let warnings = policy["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    let places: Vec<&Json> = warnings.iter().map(|warning| &warning["fieldRef"]).collect();
    assert_eq!(
        places,
        ["spec.validations[1].expression", "spec.validations[1].messageExpression", "spec.validations[2].expression",]
    );
    let text = |index: usize| warnings[index]["warning"].as_str().unwrap();
    assert_eq!(
        text(0),
        "shop.example.com/v1, Kind=Till: ERROR: <input>:1:12: undefined field 'replicas'\n | object.spec.replicas > 1\n | \
         ...........^\n"
    );
    assert!(
        text(1).starts_with("apps/v1, Kind=Deployment: ERROR: <input>:1:5: found no matching overload for '_+_'"),
        "{}",
        text(1)
    );
    assert!(text(1).contains("\n\nshop.example.com/v1, Kind=Till: "), "{}", text(1));
    assert!(text(2).contains("undefined field 'spec'"), "{}", text(2));

    let mut fine = policy.clone();
    fine["spec"]["validations"] = json!([{ "expression": "has(object.spec)" }]);
    cluster.update(POLICIES, fine).await.unwrap();
    let policy = cluster.get(POLICIES, "", "p").await.unwrap();
    assert_eq!(policy["status"], json!({ "observedGeneration": 2, "typeChecking": {} }));
}
