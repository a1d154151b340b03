//! Controllers and scheduler over the real registry, each with its own identity and rights: what the memory API of
//! their own tests cannot show (defaulting, validation, admission, RBAC).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests may unwrap")]

mod certificates;
mod quotas;
mod requests;
mod roles;
mod trust;
mod webhooks;

use holdfast_apiserver::{LocalClient, Pki, RequestAuthority};
use holdfast_controller::{Client, ResourceKind};
use holdfast_controllers::{ControllersConfig, PERMISSIONS, start_all};
use holdfast_core::{
    DeleteOptions, Gvr, Json, Lineage, ListOptions, Patch, PatchType, Target, Timestamp, UserInfo, Watch,
};
use holdfast_env::host::HostEnv;
use holdfast_env::{Task, World};
use holdfast_registry::{HubRegistry, HubRegistryConfig, JwtIssuer};
use holdfast_server::{Api, Attributes, Authorizer, Decision, Registry};
use holdfast_store::Store;
use holdfast_store::memory::CachedStore;
use holdfast_store::testing::MemoryLog;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long anything may take that is on its way.
const PATIENCE: Duration = Duration::from_secs(30);

struct Hub {
    world: World,
    pki: Arc<Pki>,
    registry: Arc<dyn Registry>,
    api: Arc<Api>,
    authorizer: Arc<dyn Authorizer>,
    admin: Arc<dyn Client>,
    _tasks: Vec<Task>,
    _keys: tempfile::TempDir,
}

fn account(name: &str) -> UserInfo {
    match name {
        "scheduler" => UserInfo::new("system:kube-scheduler", &[]),
        name => UserInfo::service_account("kube-system", name),
    }
}

async fn hub() -> Hub {
    let world: World = HostEnv::new("/nonexistent");
    let store: Arc<dyn Store> = CachedStore::open(MemoryLog::new()).unwrap();
    let keys = tempfile::tempdir().unwrap();
    let now = Timestamp::from_wall(world.wall().0);
    let pki = Arc::new(Pki::open(keys.path(), now, Duration::ZERO).unwrap());
    let issuer = JwtIssuer::from_pem(pki.service_account_key_pem.as_bytes(), "https://hub", "https://hub").unwrap();
    let registry = HubRegistry::new(HubRegistryConfig {
        store,
        env: world.clone(),
        service_cidr: "10.96.0.0/24".parse().unwrap(),
        token_issuer: Arc::new(issuer),
        lineage: Lineage(1),
        eviction_after: holdfast_registry::EVICTION_AFTER,
    });
    registry.ensure_defaults(6443).await.unwrap();
    let authorizer: Arc<dyn Authorizer> = registry.start_authorizer().await.unwrap();
    let registry: Arc<dyn Registry> = Arc::new(registry);
    let api = Arc::new(Api::new(registry.clone(), authorizer.clone()));
    let client = |user: UserInfo| Arc::new(LocalClient::new(api.clone(), world.clone(), user)) as Arc<dyn Client>;
    let config = ControllersConfig {
        root_ca_pem: "the CA".into(),
        kinds: holdfast_controllers::served(holdfast_kinds::all().iter().map(ResourceKind::from)),
        authority: Some(Arc::new(RequestAuthority::new(pki.clone(), world.clone()))),
        ..ControllersConfig::default()
    };
    let mut tasks = start_all(world.clone(), &|name| client(account(name)), config);
    let scheduler = holdfast_scheduler::run_scheduler(world.clone(), client(account("scheduler")));
    tasks.push(world.spawn("scheduler", Box::pin(scheduler)));
    let admin = client(UserInfo::new("admin", &["system:masters"]));
    Hub { world: world.clone(), pki, registry, api: api.clone(), authorizer, admin, _tasks: tasks, _keys: keys }
}

fn gvr(resource: &str) -> Gvr {
    let (group, plural) = resource.rsplit_once('/').unwrap_or(("", resource));
    Gvr::new(group, "v1", plural)
}

impl Hub {
    fn client(&self, user: UserInfo) -> Arc<dyn Client> {
        Arc::new(LocalClient::new(self.api.clone(), self.world.clone(), user))
    }

    async fn create(&self, resource: &str, namespace: &str, doc: Json) {
        self.admin.create(&Target::collection(gvr(resource), namespace), doc).await.unwrap();
    }

    async fn all(&self, resource: &str, namespace: &str) -> Vec<Json> {
        let at = Target::collection(gvr(resource), namespace);
        let list = self.admin.list(&at, &ListOptions::default()).await.unwrap();
        list.items.iter().map(|object| object.to_json()).collect()
    }

    async fn patch(&self, at: Target, body: Json) {
        self.admin.patch(&at, Patch { patch_type: PatchType::Merge, body }).await.unwrap();
    }

    /// Waits until `holds` says so about the objects of a resource.
    async fn wait(&self, what: &str, resource: &str, namespace: &str, holds: impl Fn(&[Json]) -> bool) -> Vec<Json> {
        let deadline = self.world.monotonic().after(PATIENCE);
        let mut followed = Followed::new(&self.admin, resource, namespace).await;
        loop {
            let all = followed.all().await;
            if holds(&all) {
                return all;
            }
            let left = deadline.since(self.world.monotonic());
            if self.world.timeout(left, followed.changed()).await.is_none() {
                let events: Vec<String> =
                    self.all("events", "").await.iter().map(|e| e["message"].to_string()).collect();
                panic!("never: {what}\n{}\nevents: {events:#?}", serde_json::to_string_pretty(&all).unwrap());
            }
        }
    }

    /// Plays the kubelet of every bound pod, until dropped.
    fn kubelet(&self) -> Task {
        let admin = self.admin.clone();
        let play = async move {
            let mut pods = Followed::new(&admin, "pods", "demo").await;
            let mut addresses = 10..;
            loop {
                for pod in pods.all().await {
                    let at = Target::object(gvr("pods"), "demo", pod["metadata"]["name"].as_str().unwrap());
                    // Another may have changed it, or taken it away, in between: then it comes up again.
                    if pod["metadata"].get("deletionTimestamp").is_some() {
                        let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
                        let _ = admin.delete(&at, &now).await;
                    } else if pod["status"]["phase"] == "Pending" && pod["spec"]["nodeName"].is_string() {
                        let ip = format!("10.42.0.{}", addresses.next().unwrap_or(0));
                        let status = json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
                            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
                        let patch = Patch { patch_type: PatchType::Merge, body: json!({"status": status}) };
                        let _ = admin.patch(&at.with_subresource("status"), patch).await;
                    }
                }
                pods.changed().await;
            }
        };
        self.world.spawn("kubelet", Box::pin(play))
    }
}

/// The objects of a resource, and when one of them changes.
struct Followed {
    client: Arc<dyn Client>,
    at: Target,
    watch: Watch,
}

impl Followed {
    async fn new(client: &Arc<dyn Client>, resource: &str, namespace: &str) -> Followed {
        let at = Target::collection(gvr(resource), namespace);
        let now = client.list(&at, &ListOptions::default()).await.unwrap().revision;
        let from = ListOptions { resource_version: Some(now), ..ListOptions::default() };
        let watch = client.watch(&at, &from).await.unwrap();
        Followed { client: client.clone(), at, watch }
    }

    /// As they are now: no change that comes later is missed.
    async fn all(&mut self) -> Vec<Json> {
        let list = self.client.list(&self.at, &ListOptions::default()).await.unwrap();
        list.items.iter().map(|object| object.to_json()).collect()
    }

    async fn changed(&mut self) {
        self.watch.next().await.expect("the watch ended").unwrap();
    }
}

fn node(name: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": {"cpu": "2", "memory": "2Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn deployment() -> Json {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
                {"name": "c", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}}}]}}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_work_load_lives_and_ends_over_the_real_registry() {
    let hub = hub().await;
    for name in ["n1", "n2"] {
        hub.create("nodes", "", node(name)).await;
    }
    hub.wait("pod ranges", "nodes", "", |all| all.iter().all(|node| node["spec"]["podCIDRs"][0].is_string())).await;
    let open = |node: &Json| node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
    hub.wait("nodes that are known to be ready", "nodes", "", |all| all.iter().all(open)).await;
    hub.create("namespaces", "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})).await;
    hub.wait("the account", "serviceaccounts", "demo", |all| all.len() == 1).await;
    hub.wait("the CA", "configmaps", "demo", |all| all.len() == 1 && all[0]["data"]["ca.crt"] == "the CA").await;

    hub.create("apps/deployments", "demo", deployment()).await;
    hub.create(
        "services",
        "demo",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}}),
    )
    .await;
    let pods = hub
        .wait("four bound pods", "pods", "demo", |all| {
            all.len() == 4 && all.iter().all(|pod| pod["spec"]["nodeName"].is_string())
        })
        .await;
    let on_first = pods.iter().filter(|pod| pod["spec"]["nodeName"] == "n1").count();
    assert_eq!(on_first, 2, "they spread over both nodes");
    let _kubelet = hub.kubelet();
    let done = |all: &[Json], generation: i64| {
        let status = &all[0]["status"];
        status["observedGeneration"] == generation
            && status["updatedReplicas"] == 4
            && status["availableReplicas"] == 4
            && status["replicas"] == 4
    };
    hub.wait("available", "apps/deployments", "demo", |all| done(all, 1)).await;
    hub.wait("endpoints", "discovery.k8s.io/endpointslices", "demo", |all| {
        all.len() == 1
            && all[0]["ports"][0]["port"] == 8080
            && all[0]["endpoints"].as_array().is_some_and(|list| {
                list.len() == 4 && list.iter().all(|endpoint| endpoint["conditions"]["ready"] == true)
            })
    })
    .await;

    hub.wait("Endpoints for old clients", "endpoints", "demo", |all| {
        all.len() == 1 && all[0]["subsets"][0]["addresses"].as_array().is_some_and(|list| list.len() == 4)
    })
    .await;

    // A new image rolls, and there are exactly two sets: defaulting makes no template differ from itself.
    let at = Target::object(gvr("apps/deployments"), "demo", "web");
    let current = hub.all("apps/deployments", "demo").await.remove(0);
    let mut containers = current["spec"]["template"]["spec"]["containers"].clone();
    containers[0]["image"] = json!("web:2");
    hub.patch(at.clone(), json!({"spec": {"template": {"spec": {"containers": containers}}}})).await;
    hub.wait("the roll-out", "apps/deployments", "demo", |all| done(all, 2)).await;
    assert_eq!(hub.all("apps/replicasets", "demo").await.len(), 2);
    for reason in ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled"] {
        hub.wait(reason, "events", "demo", |all| all.iter().any(|event| event["reason"] == reason)).await;
    }

    // A node goes silent: taints, and its pods are not ready.
    let silent = Target::object(gvr("nodes"), "", "n1").with_subresource("status");
    hub.patch(silent, json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})).await;
    hub.wait("taints", "nodes", "", |all| all[0]["spec"]["taints"].as_array().is_some_and(|t| t.len() == 2)).await;
    hub.wait("pods of n1 not ready", "pods", "demo", |all| {
        all.iter().filter(|pod| pod["spec"]["nodeName"] == "n1").all(|pod| {
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "False")
        })
    })
    .await;

    // The Deployment goes, then the namespace with everything in it.
    hub.admin.delete(&at, &DeleteOptions::default()).await.unwrap();
    hub.wait("no sets", "apps/replicasets", "demo", <[Json]>::is_empty).await;
    hub.admin.delete(&Target::object(gvr("namespaces"), "", "demo"), &DeleteOptions::default()).await.unwrap();
    let is_demo = |namespace: &Json| namespace["metadata"]["name"] == "demo";
    hub.wait("the end of the namespace", "namespaces", "", |all| !all.iter().any(is_demo)).await;
    for resource in
        ["pods", "services", "discovery.k8s.io/endpointslices", "endpoints", "configmaps", "serviceaccounts"]
    {
        assert_eq!(hub.all(resource, "demo").await.len(), 0, "{resource}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_roles_allow_what_controllers_ask_for() {
    let hub = hub().await;
    let mut refused = Vec::new();
    let scheduler =
        holdfast_scheduler::PERMISSIONS.iter().map(|(group, resource, verbs)| ("scheduler", *group, *resource, *verbs));
    let controllers = PERMISSIONS.iter().flat_map(|(name, rules)| {
        let rules = rules.iter().flat_map(move |rule| {
            rule.groups
                .iter()
                .flat_map(move |group| rule.resources.iter().map(move |r| (*name, *group, *r, rule.verbs)))
        });
        rules.collect::<Vec<_>>()
    });
    for (name, group, resource, verbs) in controllers.chain(scheduler) {
        // A star is asked for as any one resource.
        let (group, resource) = if resource == "*" { ("x.io", "things") } else { (group, resource) };
        let (plural, part) = resource.split_once('/').unwrap_or((resource, ""));
        let mut at = Target::object(Gvr::new(group, "v1", plural), "any", "name");
        if !part.is_empty() {
            at = at.with_subresource(part);
        }
        for verb in verbs {
            let user = account(name);
            let attributes = Attributes { user: &user, verb, target: Some(&at), path: "" };
            if !matches!(hub.authorizer.authorize(&attributes).await, Decision::Allow) {
                refused.push(format!("{name}: {verb} {group}/{resource}"));
            }
        }
    }
    assert_eq!(refused, [""; 0]);
}
