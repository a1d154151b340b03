//! Selectors in questions about access, and tokens that die with a node.

use super::*;
use holdfast_server::{Attributes, Authenticator, Authorizer, Credentials, Decision, Selected};

async fn ask(cluster: &Cluster, plural: &str, namespace: &str, spec: Json) -> Result<Json, Status> {
    let at = target(&format!("authorization.k8s.io/{plural}"), namespace, "");
    let answer = cluster.registry.create(&cluster.cx, &at, json!({ "spec": spec }), &strict()).await?;
    Ok(answer.to_json()["status"].clone())
}

/// The texts are those that upstream's own tests of its validation expect.
#[tokio::test]
async fn selectors_of_questions_are_judged() {
    let cluster = cluster().await;
    cluster.registry.start_authorizer().await.unwrap();
    const AT: &str = "spec.resourceAttributes";
    let missing = "Required value: must be specified when `operator` is 'In' or 'NotIn'";
    for (field, selector, text) in [
        (
            "fieldSelector",
            json!({ "rawSelector": "foo", "requirements": [{ "key": "k", "operator": "In", "values": ["v"] }] }),
            "rawSelector: Invalid value: \"foo\": may not specified at the same time as requirements",
        ),
        (
            "labelSelector",
            json!({ "rawSelector": "foo", "requirements": [{ "key": "k", "operator": "Exists" }] }),
            "rawSelector: Invalid value: \"foo\": may not specified at the same time as requirements",
        ),
        (
            "fieldSelector",
            json!({}),
            "requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or \
             rawSelector is required",
        ),
        (
            "labelSelector",
            json!({ "rawSelector": "" }),
            "requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or \
             rawSelector is required",
        ),
        (
            "fieldSelector",
            json!({ "requirements": [{ "key": "", "operator": "Exists" }] }),
            "requirements[0].key: Required value: must be specified",
        ),
        (
            "fieldSelector",
            json!({ "requirements": [{ "key": "k", "operator": "In" }] }),
            &format!("requirements[0].values: {missing}"),
        ),
        (
            "labelSelector",
            json!({ "requirements": [{ "key": "k", "operator": "DoesNotExist", "values": ["v"] }] }),
            "requirements[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        (
            "labelSelector",
            json!({ "requirements": [{ "key": "k", "operator": "In", "values": ["-"] }] }),
            "requirements[0].values[0]: Invalid value: \"-\": a valid label must be an empty string or consist of",
        ),
    ] {
        let asked = json!({ "verb": "list", "resource": "pods", field: selector });
        let spec = json!({ "user": "u", "resourceAttributes": asked });
        let refused = ask(&cluster, "subjectaccessreviews", "", spec).await.unwrap_err();
        let text = format!("{AT}.{field}.{text}");
        assert!(refused.code() == 422 && refused.message().contains(&text), "{refused}\nlacks {text}");
    }
    let elsewhere = json!({ "user": "u", "resourceAttributes": { "verb": "get", "namespace": "kube-system" } });
    let refused = ask(&cluster, "localsubjectaccessreviews", "default", elsewhere).await.unwrap_err();
    let text = "spec.resourceAttributes.namespace: Invalid value: \"kube-system\": must match metadata.namespace";
    assert!(refused.code() == 422 && refused.message().contains(text), "{refused}");
    let path = json!({ "user": "u", "nonResourceAttributes": { "verb": "get", "path": "/" } });
    let refused = ask(&cluster, "localsubjectaccessreviews", "default", path).await.unwrap_err();
    assert!(refused.code() == 422 && refused.message().contains("disallowed on this kind of request"), "{refused}");
}

#[tokio::test]
async fn what_is_not_understood_of_a_selector_is_told_and_left_out() {
    let cluster = cluster().await;
    cluster.registry.start_authorizer().await.unwrap();
    let of_node = |selector: Json| {
        let asked = json!({ "verb": "list", "resource": "pods", "fieldSelector": selector });
        let spec = json!({ "user": "system:node:edge-1", "groups": ["system:nodes"], "resourceAttributes": asked });
        ask(&cluster, "subjectaccessreviews", "", spec)
    };
    let own = of_node(json!({ "rawSelector": "spec.nodeName=edge-1,status.phase!=Failed" })).await.unwrap();
    assert_eq!(own, json!({ "allowed": true }));
    let by_parts = json!({ "requirements": [
        { "key": "spec.nodeName", "operator": "In", "values": ["edge-1"] },
        { "key": "status.phase", "operator": "Like", "values": ["R"] },
    ] });
    let told = "spec.resourceAttributes.fieldSelector partially ignored due to parse error";
    assert_eq!(of_node(by_parts).await.unwrap(), json!({ "allowed": true, "evaluationError": told }));
    let why = "can only list/watch pods with spec.nodeName field selector";
    for (selector, error) in [
        ("spec.nodeName=edge-2", None),
        ("spec.nodeName!=edge-1", None),
        ("spec.nodeName", Some("spec.resourceAttributes.fieldSelector ignored due to parse error")),
    ] {
        let mut expected = json!({ "allowed": false, "reason": why });
        if let Some(error) = error {
            expected["evaluationError"] = json!(error);
        }
        assert_eq!(of_node(json!({ "rawSelector": selector })).await.unwrap(), expected, "{selector}");
    }
}

#[tokio::test]
async fn a_node_lists_its_own_pods_alone() {
    let cluster = cluster().await;
    for node in ["edge-1", "edge-2"] {
        cluster.create("nodes", "", json!({ "metadata": { "name": node } })).await.unwrap();
        let mut doc = pod(&format!("of-{node}"));
        doc["spec"]["nodeName"] = json!(node);
        cluster.create("pods", "default", doc).await.unwrap();
    }
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    let user = UserInfo::node("edge-1");
    let may = |verb: &'static str, name: &str, fields: &str| {
        let at = target("pods", if name.is_empty() { "" } else { "default" }, name);
        let (authorizer, user, selected) = (&authorizer, &user, Selected::read(fields, ""));
        async move {
            let attributes = Attributes { user, verb, target: Some(&at), path: "" };
            authorizer.authorize_selected(&attributes, &selected).await == Decision::Allow
        }
    };
    for verb in ["list", "watch"] {
        assert!(may(verb, "", "spec.nodeName=edge-1").await && may(verb, "of-edge-1", "").await);
        assert!(!may(verb, "", "spec.nodeName=edge-2").await && !may(verb, "", "").await);
        // A watch of a name that is yet to come would show whoever gets it.
        assert!(!may(verb, "of-edge-2", "").await && !may(verb, "nobody", "").await);
    }
    assert!(!may("deletecollection", "", "spec.nodeName=edge-1").await);
}

/// What a policy asks about a list of pods is judged with its selectors, those of the library for expressions included.
#[tokio::test]
async fn expressions_ask_with_selectors() {
    let cluster = cluster().await;
    cluster.registry.start_authorizer().await.unwrap();
    let list = |selector: &str| {
        format!("authorizer.group('').resource('pods').fieldSelector('{selector}').labelSelector('a=b').check('list')")
    };
    let validations = json!([
        { "expression": format!("{}.allowed()", list("spec.nodeName=edge-1")) },
        { "expression": format!("!{}.allowed()", list("spec.nodeName=edge-2")) },
        { "expression": format!("!{}.allowed()", list("nonsense")) },
    ]);
    let policy = json!({ "metadata": { "name": "p" }, "spec": {
        "matchConstraints": { "resourceRules": [
            { "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["nodes"] }] },
        "validations": validations } });
    cluster.create("admissionregistration.k8s.io/validatingadmissionpolicies", "", policy).await.unwrap();
    let binding = json!({ "metadata": { "name": "b" }, "spec": { "policyName": "p", "validationActions": ["Deny"] } });
    cluster.create("admissionregistration.k8s.io/validatingadmissionpolicybindings", "", binding).await.unwrap();
    let create = async |node: &str| {
        let cx = RequestContext::new(UserInfo::node(node), "test");
        let doc = json!({ "metadata": { "name": node } });
        cluster.registry.create(&cx, &target("nodes", "", ""), doc, &strict()).await
    };
    let refused = create("edge-2").await.unwrap_err();
    assert!(refused.message().contains("failed expression: "), "{refused}");
    create("edge-1").await.unwrap();
}

#[tokio::test]
async fn tokens_die_with_their_node_and_with_their_secret() {
    let cluster = cluster().await;
    cluster.create("nodes", "", json!({ "metadata": { "name": "edge-1" } })).await.unwrap();
    let secret = json!({ "metadata": { "name": "s" } });
    cluster.create("secrets", "default", secret.clone()).await.unwrap();
    let at = target("serviceaccounts", "default", "default").with_subresource("token");
    let issue = async |kind: &str, name: &str| {
        let bound = json!({ "apiVersion": "v1", "kind": kind, "name": name });
        let body = json!({ "spec": { "audiences": [], "boundObjectRef": bound } });
        let issued = cluster.registry.create(&cluster.cx, &at, body, &strict()).await.unwrap().to_json();
        Credentials { bearer: issued["status"]["token"].as_str().map(str::to_string), ..Credentials::default() }
    };
    let (of_node, of_secret) = (issue("Node", "edge-1").await, issue("Secret", "s").await);
    let authenticator = cluster.registry.token_authenticator();
    let user = authenticator.authenticate(&of_node).await.unwrap().unwrap();
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["edge-1"]);
    assert!(!user.extra.contains_key("authentication.kubernetes.io/pod-name"));
    authenticator.authenticate(&of_secret).await.unwrap().unwrap();

    let told = async |credentials: &Credentials| {
        let body = json!({ "spec": { "token": credentials.bearer } });
        let at = target("authentication.k8s.io/tokenreviews", "", "");
        let answer = cluster.registry.create(&cluster.cx, &at, body, &strict()).await.unwrap().to_json();
        assert_eq!(answer["status"]["user"], json!({}), "{answer}");
        answer["status"]["error"].as_str().unwrap().to_string()
    };
    // Gone, then there again as another.
    let gone = "service account token has been invalidated";
    for (resource, namespace, name, credentials) in
        [("nodes", "", "edge-1", &of_node), ("secrets", "default", "s", &of_secret)]
    {
        cluster.delete(resource, namespace, name).await.unwrap();
        assert_eq!(authenticator.authenticate(credentials).await.unwrap_err().code(), 401);
        assert!(told(credentials).await.ends_with(gone));
        cluster.create(resource, namespace, json!({ "metadata": { "name": name } })).await.unwrap();
        assert_eq!(authenticator.authenticate(credentials).await.unwrap_err().code(), 401);
        let text = told(credentials).await;
        let noun = resource.trim_end_matches('s');
        assert!(text.contains(&format!("{noun} UID (")), "{text}");
        assert!(text.contains(&format!(") does not match service account {noun} ref claim (")), "{text}");
    }
}

/// Upstream tells the node of a pod's token and asks no more of it: the pod goes with its node.
#[tokio::test]
async fn a_pods_token_outlives_its_node_for_as_long_as_the_pod() {
    let cluster = cluster().await;
    cluster.create("nodes", "", json!({ "metadata": { "name": "edge-1" } })).await.unwrap();
    let mut doc = pod("a");
    doc["spec"]["nodeName"] = json!("edge-1");
    cluster.create("pods", "default", doc).await.unwrap();
    let at = target("serviceaccounts", "default", "default").with_subresource("token");
    let body =
        json!({ "spec": { "audiences": [], "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "a" } } });
    let issued = cluster.registry.create(&cluster.cx, &at, body, &strict()).await.unwrap().to_json();
    let bearer = issued["status"]["token"].as_str().map(str::to_string);
    let credentials = Credentials { bearer, ..Credentials::default() };
    cluster.delete("nodes", "", "edge-1").await.unwrap();
    let user = cluster.registry.token_authenticator().authenticate(&credentials).await.unwrap().unwrap();
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["edge-1"]);
}
