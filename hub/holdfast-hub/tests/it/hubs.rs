//! Hubs of one cluster among themselves: who leads, and how one reaches the nodes of another.

use crate::etcd::{start, until};
use crate::hub::{Hub, text};
use crate::kubectl::{DEPLOYMENT, Kubectl, NAMESPACE};
use crate::links::{Now, dialer, greet};
use bytes::Bytes;
use holdfast_env::host::HostEnv;
use holdfast_env::{Connection, Transport, World};
use holdfast_link::framed::{FrameRecv, send};
use holdfast_link::join::{JoinToken, join};
use holdfast_link::{NodeIdentity, tls};
use holdfast_link_engine::Stream;
use holdfast_link_engine::wire::{CallOutput, CallStart, Open, SessionReady};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Runtime;

const LEASE: &str = "-n kube-system get lease holdfast-hub -o jsonpath=";

fn leads(hub: &Hub) -> bool {
    let log = hub.log();
    log.matches("Became leader").count() > log.matches("Stopped leading").count()
}

fn pods(kubectl: &Kubectl<'_>) -> usize {
    kubectl.ok("-n demo get pods -o name", "").lines().count()
}

#[test]
fn of_two_hubs_one_leads_and_the_other_takes_over() {
    let Some(mut pair) = start("5m") else { return };
    until("one leads", || leads(&pair.one) || leads(&pair.two));
    assert!(leads(&pair.one) && !leads(&pair.two), "the first to come");
    let Some(two) = Kubectl::find(&pair.two) else { return };
    let holder = two.ok(&format!("{LEASE}{{.spec.holderIdentity}}"), "");
    two.ok("apply -f -", NAMESPACE);
    two.ok("apply -f -", DEPLOYMENT);
    until("the leader makes pods", || pods(&two) == 2);
    assert!(!leads(&pair.two));

    // The leader is gone without a word.
    pair.one.signal("KILL");
    pair.one.ended();
    let killed = Instant::now();
    two.ok("-n demo scale deploy/web --replicas=5", "");
    until("the other leads", || leads(&pair.two));
    until("the other makes pods", || pods(&two) == 5);
    eprintln!("led on {:?} after the leader was killed", killed.elapsed());
    assert_ne!(two.ok(&format!("{LEASE}{{.spec.holderIdentity}}"), ""), holder);
    assert_eq!(two.ok(&format!("{LEASE}{{.spec.leaseTransitions}}"), ""), "1");
    let events = two.ok("-n kube-system get events --field-selector reason=LeaderElection -o name", "");
    assert_eq!(events.lines().count(), 2, "{events}");

    // It comes back as a follower, and leads when the other lets go.
    pair.restart_one();
    assert!(!leads(&pair.one) && leads(&pair.two));
    pair.two.signal("TERM");
    assert_eq!(pair.two.ended(), Some(0), "{}", pair.two.log());
    assert!(pair.two.log().contains("Stopped leading"), "{}", pair.two.log());
    let Some(one) = Kubectl::find(&pair.one) else { return };
    one.ok("-n demo scale deploy/web --replicas=1", "");
    until("the first leads again", || leads(&pair.one));
    until("it deletes pods", || pods(&one) == 1);
    assert_eq!(one.ok(&format!("{LEASE}{{.spec.leaseTransitions}}"), ""), "2");
}

#[test]
fn a_leader_that_was_stopped_follows_when_it_goes_on() {
    let Some(pair) = start("5m") else { return };
    let Some(two) = Kubectl::find(&pair.two) else { return };
    two.ok("apply -f -", NAMESPACE);
    two.ok("apply -f -", DEPLOYMENT);
    until("the leader makes pods", || pods(&two) == 2);
    assert!(leads(&pair.one) && !leads(&pair.two));
    pair.one.signal("STOP");
    until("the other leads", || leads(&pair.two));
    two.ok("-n demo scale deploy/web --replicas=4", "");
    until("the other makes pods", || pods(&two) == 4);
    // What it was about to write is of the past.
    pair.one.signal("CONT");
    until("it follows", || !leads(&pair.one));
    two.ok("-n demo scale deploy/web --replicas=3", "");
    until("the one that leads deletes a pod", || pods(&two) == 3);
    assert!(leads(&pair.two) && !leads(&pair.one));
    assert_eq!(two.ok(&format!("{LEASE}{{.spec.leaseTransitions}}"), ""), "1");
}

#[test]
fn a_hub_with_a_store_of_its_own_holds_no_election() {
    let root = tempfile::tempdir().unwrap();
    let hub = Hub::start(root.path());
    let Some(kubectl) = Kubectl::find(&hub) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    kubectl.ok("apply -f -", DEPLOYMENT);
    until("it makes pods", || pods(&kubectl) == 2);
    assert_eq!(kubectl.ok("get leases -A -o name", ""), "");
    assert!(!hub.log().contains("leader"), "{}", hub.log());
}

/// A machine that has joined as `edge`, and answers calls for logs with its words.
struct Machine {
    runtime: Runtime,
    env: World,
    identity: NodeIdentity,
}

impl Machine {
    fn join(hub: &Hub) -> Machine {
        let runtime = Runtime::new().unwrap();
        let env: World = HostEnv::new("/nonexistent");
        let token = JoinToken::parse(&text(&hub.token(&["create"]).stdout)).unwrap();
        let identity = runtime.block_on(async {
            let joins = dialer(&env, Transport::Tcp, tls::join_config(&token.ca_hash).unwrap());
            let connection = joins.dial(&hub.told("api")).await.unwrap();
            join(&env, &connection, &token, "edge").await.unwrap()
        });
        Machine { runtime, env, identity }
    }

    /// Links to a hub, and says `words` to who asks for a log. The link lasts as long as what is returned.
    fn link(&self, hub: &Hub, words: &'static str) -> Arc<dyn Connection> {
        let clock = Arc::new(Now(self.env.clone()));
        let links = dialer(&self.env, Transport::Tcp, tls::node_config(clock, &self.identity).unwrap());
        let connection = self.runtime.block_on(async {
            let connection = links.dial(&hub.told("api")).await.unwrap();
            let (session, mut sender, frames) = greet(&connection, &self.identity).await;
            send(&mut sender, &SessionReady { session }).await.unwrap();
            self.runtime.spawn(async move {
                let _control = (sender, frames, links);
                std::future::pending::<()>().await;
            });
            connection
        });
        let calls = connection.clone();
        self.runtime.spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut sender, receiver)) = calls.accept_bi().await {
                let mut frames = FrameRecv::new(receiver);
                if frames.expect::<Open>().await.unwrap().stream != Stream::Call {
                    held.push((sender, frames));
                    continue;
                }
                let _: CallStart = frames.expect().await.unwrap();
                send(&mut sender, &CallOutput::Stdout(Bytes::from_static(words.as_bytes()))).await.unwrap();
                send(&mut sender, &CallOutput::End).await.unwrap();
                sender.finish().await.unwrap();
                held.push((sender, frames));
            }
        });
        connection
    }
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: demo}
spec:
  nodeName: edge
  containers: [{name: c, image: \"registry.local/agnhost:1\"}]
";

fn log_of(kubectl: &Kubectl<'_>) -> Result<String, String> {
    let output = kubectl.run("-n demo logs one", "");
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn a_call_reaches_a_node_through_the_hub_that_it_is_linked_to() {
    let Some(mut pair) = start("5m") else { return };
    let Some(kubectl) = Kubectl::find(&pair.one) else { return };
    kubectl.ok("apply -f -", NAMESPACE);
    until("the namespace has its account", || kubectl.run("-n demo get serviceaccount default", "").status.success());
    kubectl.ok("apply -f -", POD);
    let machine = Machine::join(&pair.two);
    let _there = machine.link(&pair.two, "said at two");
    until("the other hub knows where the node is", || log_of(&kubectl).is_ok());
    assert_eq!(log_of(&kubectl).unwrap(), "said at two");
    assert_eq!(log_of(&Kubectl::find(&pair.two).unwrap()).unwrap(), "said at two");

    // Its hub is gone without a word. Who asks meanwhile is told to come again, and has its answer once the node has found
    // another.
    pair.two.signal("KILL");
    pair.two.ended();
    let asks = kubectl.started(&["-n", "demo", "logs", "one", "-v", "6"]);
    let _here = machine.link(&pair.one, "said at one");
    let output = asks.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "said at one", "{}", text(&output.stderr));
}
