//! Tokens that a node has signed while its link was cut.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use holdfast_core::meta::TOKEN_KEY;
use holdfast_core::{Reason, Timestamp};
use holdfast_server::{Authenticator, Credentials};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};

/// A key for tests only, made with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`.
const NODE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2okUW8qI3AOt6lZc\nSpavXoroPgSCVpeqf3IjkU9pAzOhRANCAASC6wSAsOoFecT/fZCddDY3j9KpxoEm\n5pzxdKUuwBkciXkoGS0jlT3jO03J5/ig7f4qGaf4a42Xj81xWrl2Rgq4\n-----END PRIVATE KEY-----";

fn key() -> EncodingKey {
    EncodingKey::from_ec_pem(NODE_KEY.as_bytes()).unwrap()
}

fn sign(claims: &Json, key_id: &str) -> String {
    let header = Header { kid: Some(key_id.into()), ..Header::new(Algorithm::ES256) };
    jsonwebtoken::encode(&header, claims, &key()).unwrap()
}

struct World {
    cluster: Cluster,
    /// What the hub's own token for the pod said.
    claims: Json,
    node_uid: String,
}

impl World {
    async fn new() -> World {
        let cluster = cluster().await;
        let node = RequestContext::new(UserInfo::node("edge-1"), "test");
        let key = serde_json::to_string(&Jwk::from_encoding_key(&key(), Algorithm::ES256).unwrap()).unwrap();
        let doc = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge-1", "annotations": {TOKEN_KEY: key}}});
        let created = cluster.registry.create(&node, &target("nodes", "", ""), doc, &strict()).await.unwrap();
        for name in ["edge-2", "edge-3"] {
            cluster.create("nodes", "", json!({"metadata": {"name": name}})).await.unwrap();
        }
        for (name, host) in [("a", "edge-1"), ("b", "edge-2")] {
            let mut doc = pod(name);
            doc["spec"]["nodeName"] = json!(host);
            cluster.create("pods", "default", doc).await.unwrap();
        }
        let at = Target { subresource: Some("token".into()), ..target("serviceaccounts", "default", "default") };
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "audiences": [], "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "a"}}});
        let answer = cluster.registry.create(&cluster.cx, &at, request, &strict()).await.unwrap().to_json();
        let token = answer["status"]["token"].as_str().unwrap();
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let mut claims: Json = serde_json::from_slice(&payload).unwrap();
        claims["jti"] = json!("of-the-node");
        World { cluster, claims, node_uid: created.meta.uid.clone() }
    }

    async fn ask(&self, token: &str) -> Result<UserInfo, Status> {
        let credentials = Credentials { bearer: Some(token.into()), ..Credentials::default() };
        let who = self.cluster.registry.token_authenticator().authenticate(&credentials).await?;
        Ok(who.unwrap())
    }

    /// Signs the claims as changed, and asks who that is.
    async fn check(&self, change: impl FnOnce(&mut Json)) -> Result<UserInfo, Status> {
        let mut claims = self.claims.clone();
        change(&mut claims);
        self.ask(&sign(&claims, &self.node_uid)).await
    }
}

#[tokio::test]
async fn a_node_speaks_for_the_accounts_of_its_own_pods_alone() {
    let world = World::new().await;
    let user = world.check(|_| {}).await.unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:default");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["a"]);

    let pod_b = world.cluster.get("pods", "default", "b").await.unwrap()["metadata"]["uid"].clone();
    let now = Timestamp::from_wall(world.cluster.env.wall().0).secs();
    type Change = Box<dyn FnOnce(&mut Json)>;
    let wrong: Vec<(&str, Change)> = vec![
        (
            "a pod of another node",
            Box::new(move |claims| {
                claims["kubernetes.io"]["pod"] = json!({"name": "b", "uid": pod_b});
            }),
        ),
        ("an earlier pod of the name", Box::new(|claims| claims["kubernetes.io"]["pod"]["uid"] = json!("earlier"))),
        (
            "no pod",
            Box::new(|claims| {
                claims["kubernetes.io"].as_object_mut().unwrap().remove("pod");
            }),
        ),
        (
            "another account",
            Box::new(|claims| {
                claims["kubernetes.io"]["serviceaccount"]["name"] = json!("admin");
                claims["sub"] = json!("system:serviceaccount:default:admin");
            }),
        ),
        ("an audience that the pod does not ask for", Box::new(|claims| claims["aud"] = json!(["vault"]))),
        (
            "a life of more than an hour",
            Box::new(|claims| {
                claims["exp"] = json!(claims["iat"].as_i64().unwrap() + 3601);
            }),
        ),
        (
            "a life that begins later",
            Box::new(move |claims| {
                claims["iat"] = json!(now + 1800);
                claims["exp"] = json!(now + 5400);
            }),
        ),
        ("the end", Box::new(move |claims| claims["exp"] = json!(now - 60))),
        ("the name of another node", Box::new(|claims| claims["kubernetes.io"]["node"]["name"] = json!("edge-2"))),
    ];
    for (what, change) in wrong {
        assert!(world.check(change).await.is_err_and(|status| status.is(Reason::Unauthorized)), "{what}");
    }
    // Signed by a key that no node has.
    let other = sign(&world.claims, "another-uid");
    assert!(world.ask(&other).await.is_err());
}

#[tokio::test]
async fn only_the_node_sets_its_key() {
    let world = World::new().await;
    let refused = |status: Status| {
        assert!(status.code() == 403 && status.message().ends_with("is set by the node itself"), "{status}");
    };
    let doc = json!({"metadata": {"name": "edge-4", "annotations": {TOKEN_KEY: "{}"}}});
    refused(world.cluster.create("nodes", "", doc).await.unwrap_err());
    for (name, key) in [("edge-1", "{}"), ("edge-2", "{}")] {
        let mut doc = world.cluster.get("nodes", "", name).await.unwrap();
        doc["metadata"]["annotations"][TOKEN_KEY] = json!(key);
        refused(world.cluster.update("nodes", doc).await.unwrap_err());
    }
    // Everything else of the node may change.
    let mut doc = world.cluster.get("nodes", "", "edge-1").await.unwrap();
    doc["metadata"]["labels"] = json!({"site": "shop"});
    world.cluster.update("nodes", doc).await.unwrap();
}
