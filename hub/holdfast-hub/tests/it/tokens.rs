//! Join tokens.

use crate::hub::{Hub, PROGRAM, run, text};
use crate::kubectl::Kubectl;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// Whoever gets a token of an account finds out by which key it was signed (OpenID Connect Discovery).
#[test]
fn others_find_the_key_of_a_token() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("wait --for=create serviceaccount/default --timeout=20s", "");
    let token = kubectl.ok("create token default --audience=others --duration=10m", "");
    let part = |index: usize| -> Value {
        let part = token.trim().split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (header, claims) = (part(0), part(1));
    // Every account may read both, and nobody else who was not told so.
    let account = "--as=system:serviceaccount:default:default get --raw";
    let read = |path: &str| -> Value { serde_json::from_str(&kubectl.ok(&format!("{account} {path}"), "")).unwrap() };
    let configuration = read("/.well-known/openid-configuration");
    assert_eq!(configuration["issuer"], claims["iss"]);
    assert_eq!(configuration["id_token_signing_alg_values_supported"], serde_json::json!([header["alg"]]));
    let keys = configuration["jwks_uri"].as_str().unwrap();
    let (server, path) = keys.strip_prefix("https://").unwrap().split_once('/').unwrap();
    assert!(server.ends_with(&hub.told("api").rsplit_once(':').unwrap().1.to_string()), "{keys}");
    let keys = read(&format!("/{path}"));
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["kid"] == header["kid"]), "{keys}");
    kubectl.fails("--as=nobody get --raw /.well-known/openid-configuration", "");
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let root = tempfile::tempdir().unwrap();
    let mut hub = Hub::start(root.path());
    let made = hub.token(&["create", "--ttl", "1h", "--description", "for a test"]);
    let token = text(&made.stdout);
    assert!(made.status.success() && text(&made.stderr).is_empty(), "{made:?}");
    let parts: Vec<&str> = token.trim_end().splitn(3, '.').collect();
    assert_eq!((parts[0].len(), parts[1].len(), parts[2].len()), (6, 16, 7 + 64), "{token}");
    assert!(parts[2].starts_with("sha256:"));
    let list = text(&hub.token(&["list"]).stdout);
    assert!(list.contains(parts[0]) && list.contains("for a test") && !list.contains(parts[1]), "{list}");
    let revoked = hub.token(&["revoke", token.trim_end()]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(!text(&hub.token(&["list"]).stdout).contains(parts[0]));
    let again = hub.token(&["revoke", parts[0]]);
    assert!(text(&again.stderr).contains("not found"), "{again:?}");
    assert!(text(&hub.token(&["revoke", "x"]).stderr).contains("is no token ID"));
    let shown = run(PROGRAM, &["kubeconfig", "--data-dir", hub.folder(), "--server", "https://hub.example:6443"]);
    assert!(text(&shown.stdout).contains("server: https://hub.example:6443\n"));
    hub.signal("TERM");
    hub.ended();
    let stopped = hub.token(&["create"]);
    let said = text(&stopped.stderr);
    assert!(!stopped.status.success() && said.contains("is `holdfast-hub serve` running?"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_folder_without_a_hub_is_named() {
    let root = tempfile::tempdir().unwrap();
    let said = text(&run(PROGRAM, &["token", "create", "--data-dir", root.path().to_str().unwrap()]).stderr);
    assert!(said.contains("was `holdfast-hub serve` ever started on this --data-dir?"), "{said}");
}
