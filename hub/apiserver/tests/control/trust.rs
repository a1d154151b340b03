//! What servers beside the API learn of how it knows its clients.

use super::*;
use holdfast_apiserver::trust;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cas_of_clients_are_told_and_kept_told() {
    let hub = hub().await;
    let now = Timestamp::from_wall(hub.world.wall().0);
    let at = Target::object(gvr("configmaps"), "kube-system", "extension-apiserver-authentication");
    let told = async || {
        trust::publish(&*hub.admin, &hub.pki, now).await.unwrap();
        hub.admin.get(&at).await.unwrap().to_json()
    };
    let first = told().await;
    assert_eq!(first["data"], json!({"client-ca-file": hub.pki.roots_pem()}));
    assert_eq!(told().await["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    // Keys of others stay, and what was spoilt comes back.
    hub.patch(at.clone(), json!({"data": {"client-ca-file": "nothing", "other": "x"}})).await;
    assert_eq!(told().await["data"], json!({"client-ca-file": hub.pki.roots_pem(), "other": "x"}));
    hub.admin.delete(&at, &DeleteOptions::default()).await.unwrap();
    assert_eq!(told().await["data"], first["data"]);
}
