//! What a client may send to break the hub, or somebody else's day: each time a `Status` with the right code, in time, and
//! others are served as before. (What bodies beyond all bounds, floods and slow clients meet stands in `api/server/tests/it`.)

use crate::hub::{Answer, Hub};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use holdfast_core::Json;
use serde_json::json;
use std::time::Instant;

const MAPS: &str = "/api/v1/namespaces/one/configmaps";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// A request that is wrong: what is wrong with it, the request, and what it gets.
struct Case<'c> {
    what: &'c str,
    method: &'c str,
    path: String,
    headers: Vec<(&'c str, String)>,
    body: Vec<u8>,
    code: u16,
    says: &'c str,
}

impl<'c> Case<'c> {
    fn get(what: &'c str, path: impl Into<String>, code: u16, says: &'c str) -> Case<'c> {
        Case { what, method: "GET", path: path.into(), headers: Vec::new(), body: Vec::new(), code, says }
    }

    fn send(
        what: &'c str,
        method: &'c str,
        path: impl Into<String>,
        media: &str,
        body: impl Into<Vec<u8>>,
        code: u16,
        says: &'c str,
    ) -> Case<'c> {
        let headers = vec![("content-type", media.to_string())];
        Case { what, method, path: path.into(), headers, body: body.into(), code, says }
    }

    fn post(what: &'c str, media: &str, body: impl Into<Vec<u8>>, code: u16, says: &'c str) -> Case<'c> {
        Case::send(what, "POST", MAPS, media, body, code, says)
    }

    fn patch(what: &'c str, sort: &str, body: impl Into<Vec<u8>>, code: u16, says: &'c str) -> Case<'c> {
        Case::send(what, "PATCH", format!("{MAPS}/kept"), &format!("application/{sort}"), body, code, says)
    }

    fn header(mut self, name: &'c str, value: impl Into<String>) -> Case<'c> {
        self.headers.push((name, value.into()));
        self
    }
}

async fn judge(hub: &Hub, cases: Vec<Case<'_>>) {
    for Case { what, method, path, headers, body, code, says } in cases {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let begun = Instant::now();
        let Answer { code: found, body, .. } = hub.send(method, &path, &headers, body).await;
        let shown: String = body.to_string().chars().take(600).collect();
        assert_eq!(found, code, "{what}: {shown}");
        assert_eq!((&body["kind"], &body["code"]), (&json!("Status"), &json!(code)), "{what}: {shown}");
        let message = body["message"].as_str().unwrap_or_default();
        assert!(message.contains(says), "{what}: {shown}");
        assert!(message.len() < 1 << 20, "{what}: an answer of {} bytes", message.len());
        // Another client, right after it.
        assert_eq!(hub.get(&format!("{MAPS}/kept")).await.ok()["data"]["k"], "v", "{what}");
        eprintln!("{what}: {found} after {:?}", begun.elapsed());
    }
}

async fn hub() -> Hub {
    let hub = Hub::start().await;
    hub.create(MAPS, json!({"metadata": {"name": "kept"}, "data": {"k": "v"}})).await;
    hub
}

fn nested(levels: usize, open: &str, close: &str) -> String {
    format!("{}{}", open.repeat(levels), close.repeat(levels))
}

/// A YAML text that is a line a level, and would be 10^`levels` words.
fn laughs(levels: usize) -> String {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_string();
    for level in 1..levels {
        let below = format!("*a{}, ", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", ")));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_none_are_refused() {
    let hub = hub().await;
    let map =
        |data: &str| format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"n"}},"data":{data}}}"#);
    let yaml = |rest: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: n}}\n{rest}");
    let no_text: Vec<u8> = map(r#"{"a":"@"}"#).bytes().map(|byte| if byte == b'@' { 0xff } else { byte }).collect();
    // `k8s\0`, then messages in messages that are never closed.
    let mut deep_message = b"k8s\0".to_vec();
    deep_message.extend([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    let endless = [b"k8s\0".as_slice(), &[0x12], &[0x80; 4000]].concat();
    let strict = format!("{MAPS}?fieldValidation=Strict");
    judge(
        &hub,
        vec![
            Case::post("nothing", JSON, "", 400, "EOF"),
            Case::post("half an object", JSON, r#"{"kind":"#, 400, "EOF"),
            Case::post("two objects", JSON, map("{}").repeat(2), 400, "trailing"),
            Case::post("no object", JSON, "[{}]", 400, "no object"),
            Case::post("102 lists", JSON, map(&nested(102, "[", "]")), 400, "exceeded max depth"),
            Case::post("a million lists", JSON, "[".repeat(1 << 20), 400, "exceeded max depth"),
            Case::post("a million maps", JSON, "{\"a\":".repeat(500_000), 400, "exceeded max depth"),
            Case::post("no UTF-8", JSON, no_text, 400, "unrecognized"),
            Case::post("a number where text belongs", JSON, map(r#"{"a":1}"#), 400, "cannot unmarshal number"),
            Case::post("a number beyond all numbers", JSON, map(r#"{"a":1e999}"#), 400, "unrecognized"),
            Case::post(
                "gzip that nobody asked for",
                JSON,
                [0x1f, 0x8b, 8, 0, 0, 0, 0, 0].as_slice(),
                400,
                "unrecognized",
            ),
            Case::post("gzip by its header", JSON, [0x1f, 0x8b, 8, 0].as_slice(), 400, "unrecognized")
                .header("content-encoding", "gzip"),
            Case::send(
                "a key twice",
                "POST",
                &*strict,
                JSON,
                map(r#"{"a":"1","a":"2"}"#),
                400,
                "duplicate field \"data.a\"",
            ),
            Case::send(
                "a key of YAML twice",
                "POST",
                &*strict,
                YAML,
                yaml("data:\n  a: x\n  a: y"),
                400,
                "line 6: key \"a\" already",
            ),
            Case::post("laughs", YAML, yaml(&laughs(9)), 400, "document contains excessive aliasing"),
            Case::post("an anchor that is itself", YAML, yaml("data: &a {x: *a}"), 400, "unrecognized"),
            Case::post(
                "deep YAML",
                YAML,
                yaml(&format!("data: {}", nested(2000, "[", "]"))),
                400,
                "recursion limit exceeded",
            ),
            Case::post("YAML with tabs", YAML, yaml("data:\n\t- x"), 400, "unrecognized"),
            Case::post("YAML that is no UTF-8", YAML, b"a: \xff\xfe".as_slice(), 400, "unrecognized"),
            Case::post("no protobuf", PROTOBUF, "{}", 400, "does not appear to be a protobuf message"),
            Case::post("a message longer than itself", PROTOBUF, deep_message, 400, "unrecognized"),
            Case::post("a number without end", PROTOBUF, endless, 400, "unrecognized"),
            Case::post("another type", "application/cbor", "x", 415, "accepted media types include"),
            Case::send(
                "a patch of another type",
                "PATCH",
                format!("{MAPS}/kept"),
                JSON,
                "{}",
                415,
                "accepted media types",
            ),
        ],
    )
    .await;
    // Whatever stands twice is told a bounded number of times.
    let many: String = (0..50_000).map(|n| format!("\"k{n}\":\"\",\"k{n}\":\"\",")).collect();
    let body = map(&format!("{{{}}}", many.trim_end_matches(',')));
    let refused = hub.send("POST", &strict, &[("content-type", JSON)], body).await.refused(400);
    assert!(refused.len() < 16 << 10, "{} bytes", refused.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patches_that_would_blow_something_up_are_refused() {
    let hub = hub().await;
    let doubling = json!({"op": "copy", "from": "/x", "path": "/x/-"});
    let mut bytes = vec![json!({"op": "add", "path": "/x", "value": ["y".repeat(1000)]})];
    bytes.extend(vec![doubling; 100]);
    let mut levels = vec![json!({"op": "add", "path": "/x", "value": {}})];
    levels.extend(
        (0..18).map(|round| json!({"op": "copy", "from": "/x", "path": format!("{}/x", "/x".repeat(1 << round))})),
    );
    let operations = json!(vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); 10_001]).to_string();
    let applied = |rest: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: kept}}\n{rest}");
    let apply = |what, rest: &str, code, says| {
        let path = format!("{MAPS}/kept?fieldManager=m");
        Case::send(what, "PATCH", path, "application/apply-patch+yaml", applied(rest), code, says)
    };
    judge(
        &hub,
        vec![
            Case::patch("no JSON", "json-patch+json", "[", 400, "error decoding patch"),
            Case::patch("no list", "json-patch+json", "{}", 400, "error decoding patch"),
            Case::patch(
                "10001 operations",
                "json-patch+json",
                operations,
                413,
                "maximum operations in a JSON patch is 10000",
            ),
            Case::patch("copies of copies", "json-patch+json", json!(bytes).to_string(), 422, "exceeding the limit"),
            Case::patch("levels of levels", "json-patch+json", json!(levels).to_string(), 422, "exceeded max depth"),
            Case::patch(
                "what is not there",
                "json-patch+json",
                r#"[{"op":"remove","path":"/data/x"}]"#,
                422,
                "error in our request",
            ),
            Case::patch(
                "a test that fails",
                "json-patch+json",
                r#"[{"op":"test","path":"/data/k","value":"w"}]"#,
                422,
                "error in our request",
            ),
            Case::patch(
                "an object that is none",
                "json-patch+json",
                r#"[{"op":"replace","path":"","value":[]}]"#,
                400,
                "does not leave an object",
            ),
            Case::patch(
                "a number for text",
                "merge-patch+json",
                r#"{"data":{"k":1}}"#,
                422,
                "\"\" is invalid: patch: Invalid value: \"{",
            ),
            Case::patch(
                "a number for text",
                "strategic-merge-patch+json",
                r#"{"data":{"k":1}}"#,
                422,
                "Invalid value: \"map[data:map[k:1]]\": json: cannot unmarshal number",
            ),
            Case::patch("a merge of a list", "merge-patch+json", "[]", 400, "error decoding patch"),
            Case::patch(
                "deep",
                "merge-patch+json",
                nested(102, "{\"a\":", "}").replace(":}", ":{}}"),
                400,
                "exceeded max depth",
            ),
            Case::patch(
                "nobody applies",
                "apply-patch+yaml",
                applied("data: {k: w}"),
                422,
                "fieldManager: Required value",
            ),
            apply("an apply that laughs", &laughs(9), 400, "document contains excessive aliasing"),
            apply("an apply of nothing known", "spec: {}", 400, ".spec: field not declared in schema"),
            apply("another's field", "data: {k: w}", 409, "conflict with"),
        ],
    )
    .await;
    let strict = format!("{MAPS}/kept?fieldValidation=Strict");
    let operation = r#"[{"op":"test","path":"/data/k","value":"v","note":1}]"#;
    let media = [("content-type", "application/json-patch+json")];
    let refused = hub.send("PATCH", &strict, &media, operation).await.refused(422);
    assert!(refused.ends_with("json patch unknown field \"[0].note\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_and_queries_lead_nowhere_else() {
    let hub = hub().await;
    hub.create("/api/v1/namespaces/two/secrets", json!({"metadata": {"name": "s"}})).await;
    hub.create("/api/v1/namespaces/two/configmaps", json!({"metadata": {"name": "other"}})).await;
    let token = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let list = |query: String| format!("{MAPS}?{query}");
    let mut cases = vec![
        Case::get("dots", format!("{MAPS}/.."), 400, "Name parameter invalid: \"..\": may not be '..'"),
        Case::get("dots in disguise", format!("{MAPS}/%2e%2e"), 400, "Name parameter invalid: \"..\""),
        Case::get("a percent sign", format!("{MAPS}/a%2525"), 400, "may not contain '%'"),
        Case::get("another's secret", format!("{MAPS}/..%2f..%2ftwo%2fsecrets%2fs"), 404, ""),
        Case::get("two slashes", "/api/v1/namespaces/one//configmaps", 404, ""),
        Case::get("a namespace of two", "/api/v1/namespaces/one%2ftwo/secrets/s", 404, ""),
        Case::get("a zero byte", format!("{MAPS}/kept%00"), 404, "not found"),
        Case::get("no UTF-8", format!("{MAPS}/%ff%fe"), 404, "not found"),
        Case::get("a long name", format!("{MAPS}/{}", "a".repeat(50_000)), 404, "not found"),
        Case::send(
            "a name with a slash",
            "POST",
            MAPS,
            JSON,
            r#"{"metadata":{"name":"a/b"}}"#,
            422,
            "Invalid value: \"a/b\"",
        ),
        Case::send(
            "a name of another",
            "PUT",
            format!("{MAPS}/kept"),
            JSON,
            r#"{"metadata":{"name":"x"}}"#,
            400,
            "does not match the name on the URL",
        ),
        Case::send(
            "another's namespace",
            "POST",
            MAPS,
            JSON,
            r#"{"metadata":{"name":"x","namespace":"two"}}"#,
            400,
            "does not match the namespace sent on the request",
        ),
        Case::get("a limit that is none", list("limit=x".into()), 400, ""),
        Case::get("a version that is none", list("resourceVersion=x".into()), 400, ""),
        Case::get("a version yet to come", list("resourceVersion=99999999".into()), 504, "Too large resource version"),
        Case::get("a selector that is none", list("labelSelector=a=b=c=".into()), 400, ""),
        Case::get("a field that is none", list("fieldSelector=data.k=v".into()), 400, "field label not supported"),
        Case::get("an open bracket", list(format!("labelSelector=a%20in%20({}", "(".repeat(20_000))), 400, ""),
    ];
    for (what, text) in [
        ("no base64", "%25%25%25".to_string()),
        ("no JSON", token("nonsense")),
        ("another form", token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a"}"#)),
        ("an empty token", token("{}")),
        ("a long token", "A".repeat(40_000)),
        ("no UTF-8", URL_SAFE_NO_PAD.encode([0xff; 100])),
    ] {
        cases.push(Case::get(
            what,
            list(format!("continue={text}")),
            400,
            "invalid continue token: continue key is not valid",
        ));
    }
    // A token of ours that was changed leads no further than the list that it is shown to.
    let first = hub.get("/api/v1/configmaps?limit=1").await.ok();
    let text = first["metadata"]["continue"].as_str().unwrap_or_default();
    assert!(!text.is_empty(), "{first:#}");
    let ours: Json = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    for after in ["", "../", "../secrets/", "../../two/", "\u{0}", "zzz"] {
        let mut forged = ours.clone();
        forged["after"] = json!(after);
        let found = hub.get(&list(format!("continue={}", token(&forged.to_string())))).await.ok();
        assert!(
            found["items"].as_array().unwrap().iter().all(|item| item["metadata"]["namespace"] == "one"),
            "{after}"
        );
    }
    let mut elsewhere = ours.clone();
    elsewhere["lineage"] = json!("00000000000000000000000000000007");
    cases.push(Case::get(
        "another history",
        list(format!("continue={}", token(&elsewhere.to_string()))),
        410,
        "too old",
    ));
    let mut later = ours;
    later["rv"] = json!(99_999_999);
    cases.push(Case::get("a page yet to come", list(format!("continue={}", token(&later.to_string()))), 504, ""));
    judge(&hub, cases).await;

    // Long, and nothing wrong with it.
    let many: Vec<String> = (0..6000).map(|n| format!("k{n}")).collect();
    assert!(
        hub.names(&list(format!("labelSelector=k%20notin%20({})", many.join(",")))).await.contains(&"kept".to_string())
    );
    let accept = format!("{}application/json", "text/x;q=0.5,".repeat(2000));
    hub.send("GET", MAPS, &[("accept", &accept)], "").await.ok();
    let accept = "text/x;q=0.5,".repeat(2000);
    assert!(
        hub.send("GET", MAPS, &[("accept", accept.trim_end_matches(','))], "")
            .await
            .refused(406)
            .contains("media types")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_tokens_are_nobodys() {
    let hub = hub().await;
    let path = "/api/v1/namespaces/one/serviceaccounts/default/token";
    let made = hub.post(path, &json!({"spec": {}})).await.ok();
    let token = made["status"]["token"].as_str().unwrap().to_string();
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts[..] else { panic!("{token}") };
    let text = |part: &str| -> Json { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let with = |part: &str, field: &str, value: Json| {
        let mut json = text(part);
        json[field] = value;
        URL_SAFE_NO_PAD.encode(json.to_string())
    };
    let review = |token: &str| json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    assert_eq!(hub.post(reviews, &review(&token)).await.ok()["status"]["authenticated"], true);
    // The key with which everybody can verify, as the secret of an HMAC, whose value anybody can make; here any will do,
    // since no such algorithm may be looked at.
    let mac = URL_SAFE_NO_PAD.encode([7; 32]);
    let other_key = URL_SAFE_NO_PAD.encode([7; 64]);
    let forged = [
        ("no algorithm", format!("{}.{claims}.", with(head, "alg", json!("none")))),
        ("no algorithm, capital", format!("{}.{claims}.", with(head, "alg", json!("None")))),
        ("no algorithm, signed", format!("{}.{claims}.{signature}", with(head, "alg", json!("none")))),
        ("HMAC", format!("{}.{claims}.{mac}", with(head, "alg", json!("HS256")))),
        ("RSA", format!("{}.{claims}.{signature}", with(head, "alg", json!("RS256")))),
        ("another curve", format!("{}.{claims}.{signature}", with(head, "alg", json!("ES384")))),
        ("another key", format!("{head}.{claims}.{other_key}")),
        ("a key of its own", {
            let jwk = json!({"kty": "EC", "crv": "P-256", "x": mac, "y": mac});
            format!("{}.{claims}.{other_key}", with(head, "jwk", jwk))
        }),
        ("a key from elsewhere", format!("{}.{claims}.{other_key}", with(head, "jku", json!("http://127.0.0.1/keys")))),
        ("a file for a key", format!("{}.{claims}.{other_key}", with(head, "kid", json!("../../../dev/null")))),
        (
            "somebody else",
            format!("{head}.{}.{signature}", with(claims, "sub", json!("system:serviceaccount:kube-system:x"))),
        ),
        ("longer", format!("{head}.{}.{signature}", with(claims, "exp", json!(99_999_999_999_u64)))),
        ("no signature", format!("{head}.{claims}.")),
        ("two parts", format!("{head}.{claims}")),
        ("four parts", format!("{token}.{signature}")),
        ("cut", token[..token.len() - 2].to_string()),
        ("zeros", format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("standard base64", format!("{head}.{claims}.{}==", STANDARD.encode([0xfb; 64]).trim_end_matches('='))),
        ("no claims", format!("{head}.{}.{signature}", part(&json!({})))),
        ("claims that are none", format!("{head}.{}.{signature}", part(&json!([])))),
        ("deep claims", format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode("[".repeat(20_000)))),
        ("dots", ".".repeat(1000)),
        ("much", "x".repeat(30_000)),
        ("a bootstrap token that is none", "abcdef.0123456789abcdef".to_string()),
    ];
    for (what, token) in forged {
        let bearer = format!("Bearer {token}");
        let answer =
            hub.send_as_stranger("GET", "/api/v1/namespaces/one/configmaps", &[("authorization", &bearer)]).await;
        assert_eq!((answer.code, &answer.body["reason"]), (401, &json!("Unauthorized")), "{what}: {:#}", answer.body);
        let judged = hub.post(reviews, &review(&token)).await.ok();
        assert_ne!(judged["status"]["authenticated"], json!(true), "{what}: {judged:#}");
    }
    // A user cannot be had by a header either.
    for header in ["x-remote-user", "x-forwarded-user"] {
        let answer = hub.send_as_stranger("GET", MAPS, &[(header, "admin")]).await;
        assert_eq!(answer.code, 403, "{header}: {:#}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_cost_too_much_are_refused_or_borne() {
    let hub = hub().await;
    let labels: Json =
        (0..20_000).map(|n| (format!("example.com/k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    hub.create(MAPS, json!({"metadata": {"name": "labelled", "labels": labels}})).await;
    let names = hub.names(&format!("{MAPS}?labelSelector=example.com%2Fk19999%3Dv,%21nothing")).await;
    assert_eq!(names, ["labelled"]);
    let policy = |expression: &str| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "bomb"}, "spec": {
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                    "operations": ["CREATE"], "resources": ["configmaps"]}]},
                "validations": [{"expression": expression}]}})
        .to_string()
    };
    let crd = |rule: &str| {
        let list = json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}});
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "bombs.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "bombs", "singular": "bomb", "kind": "Bomb", "listKind": "BombList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"spec": {"type": "object", "properties": {"list": list},
                        "x-kubernetes-validations": [{"rule": rule}]}}}}}]}})
        .to_string()
    };
    let policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let squares =
        "self.list.all(a, a.all(b, self.list.all(c, c.all(d, self.list.all(e, e.all(f, f == b && d == b))))))";
    let long = vec!["true"; 30_000].join("&&");
    let bad: Json = (0..300).map(|n| (format!("_{n}_"), json!("!"))).collect::<serde_json::Map<_, _>>().into();
    let bad_labels = json!({"metadata": {"name": "bad", "labels": bad}}).to_string();
    let big = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat((1 << 20) + 1)}}).to_string();
    judge(
        &hub,
        vec![
            Case::send(
                "deep brackets",
                "POST",
                policies,
                JSON,
                policy(&nested(20_000, "(", ")")),
                422,
                "validations[0].expression",
            ),
            Case::send(
                "deep lists",
                "POST",
                policies,
                JSON,
                policy(&nested(20_000, "[", "]")),
                422,
                "validations[0].expression",
            ),
            Case::send(
                "deep signs",
                "POST",
                policies,
                JSON,
                policy(&format!("{}true", "!".repeat(100_000))),
                422,
                "validations[0].expression",
            ),
            Case::send("a long chain", "POST", policies, JSON, policy(&long), 422, "validations[0].expression"),
            Case::send("lists of lists of lists", "POST", crds, JSON, crd(squares), 422, "estimated rule cost"),
            Case::send("labels that are none", "POST", MAPS, JSON, bad_labels, 422, "Invalid value"),
            Case::send("more than 1 MiB of data", "POST", MAPS, JSON, big, 422, "Too long"),
        ],
    )
    .await;
}
