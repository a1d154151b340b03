use super::*;
use crate::testing::Virtual;
use bytes::Bytes;
use holdfast_env::BiStream;
use tokio::sync::watch;

/// A connection that carries nothing.
struct Bare {
    transport: Transport,
    ended: watch::Sender<Option<String>>,
}

impl Bare {
    fn open(transport: Transport) -> Arc<dyn Connection> {
        Arc::new(Bare { transport, ended: watch::channel(None).0 })
    }
}

#[async_trait]
impl Connection for Bare {
    async fn open_bi(&self) -> Result<BiStream, NetError> {
        Err(self.closed().await)
    }
    async fn accept_bi(&self) -> Result<BiStream, NetError> {
        Err(self.closed().await)
    }
    fn send_datagram(&self, _data: Bytes) -> Result<(), NetError> {
        Ok(())
    }
    async fn recv_datagram(&self) -> Result<Bytes, NetError> {
        Err(self.closed().await)
    }
    fn close(&self, reason: &str) {
        self.ended.send_replace(Some(reason.to_string()));
    }
    async fn closed(&self) -> NetError {
        let mut ended = self.ended.subscribe();
        let reason = ended.wait_for(Option::is_some).await.unwrap().clone();
        NetError::Closed(reason.unwrap())
    }
    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    fn peer_address(&self) -> String {
        String::new()
    }
    fn local_address(&self) -> Option<String> {
        None
    }
    fn transport(&self) -> Transport {
        self.transport
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Path {
    Open,
    /// Nothing comes back.
    Silent,
    Refusing,
    /// The first answer takes so long.
    Slow(u64),
}

struct Network {
    env: World,
    transport: Transport,
    path: Mutex<Path>,
    /// When it was dialled, in seconds, and where.
    dials: Mutex<Vec<(u64, String)>>,
}

impl Network {
    fn new(env: &World, transport: Transport, path: Path) -> Arc<Network> {
        Arc::new(Network { env: env.clone(), transport, path: Mutex::new(path), dials: Mutex::default() })
    }

    fn becomes(&self, path: Path) {
        *self.path.lock().unwrap() = path;
    }

    fn dials(&self) -> Vec<u64> {
        self.dials.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

#[async_trait]
impl Dialer for Network {
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, NetError> {
        self.dials.lock().unwrap().push((self.env.monotonic().0.as_secs(), address.to_string()));
        let path = *self.path.lock().unwrap();
        match path {
            Path::Open => Ok(Bare::open(self.transport)),
            Path::Refusing => Err(NetError::Refused(format!("not over {}", self.transport.name()))),
            Path::Silent => {
                self.env.sleep(Duration::from_secs(15)).await;
                Err(NetError::Unreachable(format!("{address} by {}", self.transport.name())))
            }
            Path::Slow(seconds) => {
                self.env.sleep(Duration::from_secs(seconds)).await;
                Ok(Bare::open(self.transport))
            }
        }
    }
}

struct Site {
    env: World,
    quic: Arc<Network>,
    tcp: Arc<Network>,
    dialer: FallbackDialer,
}

impl Site {
    fn new(env: &World, quic: Path, tcp: Path) -> Site {
        let (quic, tcp) = (Network::new(env, Transport::Quic, quic), Network::new(env, Transport::Tcp, tcp));
        let dialer = FallbackDialer::new(env.clone(), quic.clone(), tcp.clone());
        Site { env: env.clone(), quic, tcp, dialer }
    }

    async fn dial(&self) -> Result<Arc<dyn Connection>, NetError> {
        self.dialer.dial("hub:6444/443").await
    }

    async fn pass(&self, seconds: u64) {
        self.env.sleep(Duration::from_secs(seconds)).await;
    }

    fn now(&self) -> u64 {
        self.env.monotonic().0.as_secs()
    }
}

#[test]
fn quic_is_taken_where_it_answers() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Slow(3), Path::Open);
        assert_eq!(site.dial().await.unwrap().transport(), Transport::Quic);
        assert_eq!((site.now(), site.tcp.dials()), (3, vec![]));
        // A slow answer over QUIC is better than none over TCP.
        let site = Site::new(&env, Path::Slow(9), Path::Silent);
        assert_eq!(site.dial().await.unwrap().transport(), Transport::Quic);
    });
}

#[test]
fn without_an_answer_over_quic_the_link_goes_over_tcp_and_stays_there() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let connection = site.dial().await.unwrap();
        let settled = (PATIENCE + ONCE_MORE).as_secs();
        assert_eq!((connection.transport(), site.now()), (Transport::Tcp, settled));
        let dialled = |network: &Network| network.dials.lock().unwrap().last().unwrap().1.clone();
        assert_eq!((dialled(&site.quic), dialled(&site.tcp)), ("hub:6444".to_string(), "hub:443".to_string()));
        // What worked is first the next time, at once.
        connection.close("broke");
        assert_eq!(site.dial().await.unwrap().transport(), Transport::Tcp);
        assert_eq!((site.now(), site.quic.dials().len()), (settled, 2));
        // And is left again when it works no longer.
        site.tcp.becomes(Path::Silent);
        site.quic.becomes(Path::Open);
        assert_eq!(site.dial().await.unwrap().transport(), Transport::Quic);
        site.tcp.becomes(Path::Open);
        assert_eq!(site.dial().await.unwrap().transport(), Transport::Quic);
    });
}

#[test]
fn a_path_that_comes_back_while_both_are_dialled_is_used_for_quic() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Slow(5));
        let back = async {
            site.pass(8).await;
            site.quic.becomes(Path::Slow(1));
        };
        let (dialled, ()) = tokio::join!(site.dial(), back);
        assert_eq!((dialled.unwrap().transport(), site.now()), (Transport::Quic, 10));
    });
}

#[test]
fn a_refusal_over_quic_is_an_answer() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Refusing, Path::Open);
        assert_eq!(site.dial().await.err(), Some(NetError::Refused("not over quic".into())));
        assert!(site.tcp.dials().is_empty());
        // A stranger's on the TCP port is none as long as QUIC may answer.
        let site = Site::new(&env, Path::Slow(9), Path::Refusing);
        assert_eq!(site.dial().await.unwrap().transport(), Transport::Quic);
        let site = Site::new(&env, Path::Silent, Path::Refusing);
        assert_eq!(site.dial().await.err(), Some(NetError::Refused("not over tcp".into())));
    });
}

#[test]
fn silence_everywhere_names_both_ways() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Silent);
        let err = site.dial().await.err().unwrap().to_string();
        assert_eq!(err, "hub:6444 by quic, hub:443 by tcp is unreachable");
    });
}

#[test]
fn over_tcp_quic_is_looked_for_seldom_and_gone_back_to() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let connection = site.dial().await.unwrap();
        site.pass(86_400).await;
        let looks = site.quic.dials().len() - 2;
        assert!((140..=150).contains(&looks), "{looks}");
        let after: Vec<u64> = site.quic.dials().windows(2).map(|pair| pair[1] - pair[0]).collect();
        // With the time that an attempt takes, in whole seconds.
        assert_eq!(after[..8], [4, 2 + 5, 30, 61, 121, 303, 601, 601]);

        site.quic.becomes(Path::Open);
        let end = connection.closed().await;
        assert_eq!(end, NetError::Closed("the node goes back to QUIC".into()));
        let dials = site.quic.dials().len();
        // The connection is there already, whichever hub is asked for.
        assert_eq!(site.dialer.dial("other:6444").await.unwrap().transport(), Transport::Quic);
        assert_eq!((site.quic.dials().len(), site.tcp.dials().len()), (dials, 1));
        site.pass(86_400).await;
        assert_eq!(site.quic.dials().len(), dials);
    });
}

#[test]
fn new_dialers_are_looked_with_and_what_worked_stays_known() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let connection = site.dial().await.unwrap();
        let quic = Network::new(&env, Transport::Quic, Path::Open);
        site.dialer.dial_with(quic.clone(), site.tcp.clone());
        assert_eq!(site.dial().await.unwrap().transport(), Transport::Tcp);
        assert!(quic.dials().is_empty());
        let over_tcp = site.dial().await.unwrap();
        over_tcp.closed().await;
        assert_eq!((quic.dials().len(), site.quic.dials().len()), (1, 2));
        drop(connection);
    });
}

#[test]
fn a_long_way_back_is_found_by_a_long_look() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let connection = site.dial().await.unwrap();
        site.quic.becomes(Path::Slow(2));
        connection.closed().await;
        assert_eq!(site.quic.dials().len() - 2, LONG_LOOK_EVERY);
    });
}

#[test]
fn a_return_that_does_not_hold_makes_looking_rarer() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let mut over_tcp = Vec::new();
        for _ in 0..5 {
            let connection = site.dial().await.unwrap();
            let begun = site.now();
            site.quic.becomes(Path::Open);
            connection.closed().await;
            over_tcp.push(site.now() - begun);
            // Handshakes get through, and nothing after them.
            site.dial().await.unwrap().close("timed out");
            site.quic.becomes(Path::Silent);
        }
        assert_eq!(over_tcp, [5, 30, 60, 120, 300]);
        // One that holds begins anew.
        let connection = site.dial().await.unwrap();
        site.quic.becomes(Path::Open);
        connection.closed().await;
        let back = site.dial().await.unwrap();
        site.pass(HELD.as_secs()).await;
        back.close("timed out");
        site.quic.becomes(Path::Silent);
        let connection = site.dial().await.unwrap();
        let begun = site.now();
        site.quic.becomes(Path::Open);
        connection.closed().await;
        assert_eq!(site.now() - begun, 5);
    });
}

#[test]
fn what_was_found_and_has_ended_is_not_handed_out() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let connection = site.dial().await.unwrap();
        site.quic.becomes(Path::Open);
        connection.closed().await;
        let found = lock(&site.dialer.state).ready.clone().unwrap();
        found.close("timed out");
        let next = site.dial().await.unwrap();
        assert!(!Arc::ptr_eq(&next, &found) && next.closed().now_or_never().is_none());
    });
}

#[test]
fn what_old_dialers_found_is_not_handed_out() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let connection = site.dial().await.unwrap();
        site.quic.becomes(Path::Open);
        connection.closed().await;
        let found = Arc::downgrade(lock(&site.dialer.state).ready.as_ref().unwrap());
        let silent = Network::new(&env, Transport::Quic, Path::Silent);
        site.dialer.dial_with(silent.clone(), site.tcp.clone());
        assert!(found.upgrade().is_none());
        // Nor is what a look brings that was under way: it is repeated with the new ones.
        let connection = site.dial().await.unwrap();
        silent.becomes(Path::Slow(1));
        let look = lock(&site.dialer.state).next_look;
        site.env.sleep_until(look).await;
        site.env.sleep(Duration::from_millis(500)).await;
        let before = silent.dials().len();
        let next = Network::new(&env, Transport::Quic, Path::Open);
        site.dialer.dial_with(next.clone(), site.tcp.clone());
        connection.closed().await;
        assert_eq!((silent.dials().len(), next.dials().len()), (before, 1));
    });
}

#[test]
fn looking_neither_holds_a_connection_nor_disturbs_a_join() {
    Virtual::run(async |env| {
        let site = Site::new(&env, Path::Silent, Path::Open);
        let connection = Arc::downgrade(&site.dial().await.unwrap());
        assert!(connection.upgrade().is_none());
        site.pass(1000).await;
        assert_eq!(site.quic.dials().len(), 2);

        let (quic, tcp) = (site.quic.clone(), site.tcp.clone());
        let joins = FallbackDialer::for_joins(env.clone(), quic, tcp);
        let connection = joins.dial("hub:6444").await.unwrap();
        site.quic.becomes(Path::Open);
        site.pass(1000).await;
        assert!(connection.transport() == Transport::Tcp && connection.closed().now_or_never().is_none());
    });
}
