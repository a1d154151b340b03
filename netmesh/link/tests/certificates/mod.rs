//! Certificates and the calendar: clocks that are wrong, renewals in time, and renewals after the end.

use crate::peers::{Authority, Clock, GRACE, Hub, Node, within};
use bytes::Bytes;
use holdfast_core::{Lineage, Session};
use holdfast_env::{Connection, NetError, Transport};
use holdfast_link::framed::{FrameRecv, opening};
use holdfast_link::identity::{NodeIdentity, Standing, standing, validity};
use holdfast_link::renew::{CERTIFICATE_EXPIRED, EXPIRED_FOR_GOOD, RenewError, renew, serve_expired};
use holdfast_link::{LinkError, tls};
use holdfast_link_engine::Stream;
use holdfast_link_engine::wire::{Refuse, RenewReply, RenewRequest};
use std::sync::Arc;

const DAY: u64 = 24 * 3600;
const YEAR: u64 = 365 * DAY;
const YEAR_2106: u64 = 4_294_967_295;

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

fn renewed(ca: &Authority, csr: &[u8], name: &str) -> RenewReply {
    let chain = ca.sign(csr, "uid-1", name, (now() - DAY, now() + 2 * YEAR));
    RenewReply::Renewed { chain, roots: vec![Bytes::copy_from_slice(&ca.der)] }
}

async fn dial(hub: &Hub, clock: Arc<Clock>, identity: &NodeIdentity) -> Result<Arc<dyn Connection>, NetError> {
    let dialer = hub.dialer(tls::node_config(clock, identity).unwrap());
    within(dialer.dial(&hub.address)).await
}

pub(crate) async fn a_node_without_a_clock_connects_and_one_that_knows_the_time_is_strict(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::valid(&ca, on, (now() - DAY, now() + YEAR)).await;
    let identity = ca.node("uid-1", "edge");
    let try_at = async |secs: u64, trusted: bool| {
        let (dialled, accepted) = tokio::join!(dial(&hub, Clock::at(secs, trusted), &identity), hub.accept());
        assert_eq!(dialled.is_ok(), accepted.is_ok());
        dialled.err().map(|err| err.to_string())
    };
    assert_eq!(try_at(0, false).await, None, "nothing is known of the time");
    assert_eq!(try_at(now() - 30 * YEAR, false).await, None, "a floor of long ago");
    assert_eq!(try_at(now(), true).await, None);
    let err = try_at(now() + 2 * YEAR, false).await.unwrap();
    assert!(err.contains("has expired by this node's time floor"), "{err}");
    assert!(try_at(YEAR_2106, true).await.is_some());
    let err = try_at(now() - 30 * YEAR, true).await.unwrap();
    assert!(err.contains("not valid yet") || err.contains("NotValidYet"), "{err}");
}

pub(crate) async fn a_session_renews_and_what_does_not_fit_is_not_taken(on: Transport) {
    let ca = Arc::new(Authority::new());
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let connection = node.dial(&hub).await;
    let ask = async || within(renew(&node.env, &connection, &node.identity, Lineage(3), Session(7))).await;

    let err = ask().await.unwrap_err().to_string();
    assert_eq!(err, "the hub refused to renew the certificate: RateLimited: not now");

    let answer = |decide: Box<dyn FnMut(RenewRequest) -> RenewReply + Send>| {
        *hub.host.renewals.lock().unwrap() = Some(decide);
    };
    let authority = ca.clone();
    answer(Box::new(move |request| renewed(&authority, &request.csr, "other")));
    assert!(ask().await.unwrap_err().to_string().contains("another node's certificate"));
    let other = Authority::new();
    answer(Box::new(move |request| {
        let RenewReply::Renewed { chain, .. } = renewed(&other, &request.csr, "edge") else { panic!() };
        let RenewReply::Renewed { roots, .. } = renewed(&Authority::new(), &request.csr, "edge") else { panic!() };
        RenewReply::Renewed { chain, roots }
    }));
    assert!(ask().await.unwrap_err().to_string().contains("does not come from the cluster's CA"));
    let mine = node.identity.chain.clone();
    answer(Box::new(move |_| RenewReply::Renewed {
        chain: mine.iter().cloned().map(Bytes::from).collect(),
        roots: vec![],
    }));
    assert!(ask().await.unwrap_err().to_string().contains("certified another key"));

    let authority = ca.clone();
    answer(Box::new(move |request| {
        assert_eq!((request.lineage, request.session), (Lineage(3), Session(7)));
        renewed(&authority, &request.csr, "edge")
    }));
    let next = ask().await.unwrap();
    assert_ne!(next.key, node.identity.key);
    assert_eq!((next.node_uid.as_str(), next.node_name.as_str()), ("uid-1", "edge"));
    let successor = Node { identity: next, ..Node::new(&ca, "uid-1") };
    let _link = successor.connect(&hub).await;
    hub.until("a session of the successor", |state| state.online.is_some()).await;
}

/// A certificate that ended a day ago by the hub's clock, which is two years ahead of the machine's.
fn expired(ca: &Authority, hub: &Hub) -> NodeIdentity {
    hub.machine.set_wall_offset(i64::try_from(2 * YEAR).unwrap());
    ca.node_valid("uid-1", "edge", (now(), now() + 2 * YEAR - DAY))
}

pub(crate) async fn an_expired_certificate_within_the_grace_is_good_for_one_renewal_only(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let identity = expired(&ca, &hub);
    let world = hub.env.clone();
    assert_eq!(standing(&identity.chain[0], world.wall().0, GRACE).unwrap(), Standing::ExpiredWithinGrace);
    // Anything but a renewal is told so.
    let (dialled, accepted) = tokio::join!(dial(&hub, Clock::right(), &identity), hub.accept());
    let (connection, served) = (dialled.unwrap(), accepted.unwrap().0);
    let refuse = |_| async { panic!("nothing to decide") };
    let node = async {
        let (mut sender, receiver) = connection.open_bi().await.unwrap();
        sender.write(opening(Stream::Control)).await.unwrap();
        let refusal: Refuse = FrameRecv::new(receiver).expect().await.unwrap();
        assert_eq!(refusal.code, CERTIFICATE_EXPIRED);
        connection.close("understood");
    };
    let (done, ()) = within(async { tokio::join!(serve_expired(&world, &served, refuse), node) }).await;
    done.unwrap();
    // A renewal is served, and then nothing more.
    let (dialled, accepted) = tokio::join!(dial(&hub, Clock::right(), &identity), hub.accept());
    let (connection, served) = (dialled.unwrap(), accepted.unwrap().0);
    let decide = |request: RenewRequest| async move { renewed(&ca, &request.csr, "edge") };
    let node = async {
        let next = renew(&world, &connection, &identity, Lineage(1), Session(1)).await.unwrap();
        assert!(validity(&next.chain[0]).unwrap().not_after > validity(&identity.chain[0]).unwrap().not_after);
        let again = renew(&world, &connection, &identity, Lineage(1), Session(1)).await;
        assert!(matches!(again, Err(RenewError::Link(LinkError::Net(_) | LinkError::Ended))), "{again:?}");
    };
    let (done, ()) = within(async { tokio::join!(serve_expired(&world, &served, decide), node) }).await;
    done.unwrap();
}

pub(crate) async fn beyond_the_grace_the_node_reads_what_to_do(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let identity = expired(&ca, &hub);
    hub.machine.set_wall_offset(i64::try_from(2 * YEAR + 90 * DAY).unwrap());
    let (dialled, accepted) = tokio::join!(dial(&hub, Clock::right(), &identity), hub.accept());
    assert!(accepted.is_err());
    let reason = match dialled {
        // TLS 1.3: the node may be through before the hub has judged.
        Ok(connection) => within(connection.closed()).await,
        Err(err) => err,
    };
    assert_eq!(reason, NetError::Refused(EXPIRED_FOR_GOOD.into()));
    // Expiry is all that the grace forgives.
    let other = Authority::new();
    let mut foreign = expired(&other, &hub);
    foreign.roots = vec![ca.der.clone()];
    let (_, accepted) = tokio::join!(dial(&hub, Clock::right(), &foreign), hub.accept());
    assert!(accepted.is_err());
}
