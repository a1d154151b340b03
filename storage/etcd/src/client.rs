//! A small client of etcd: the calls that the store makes, and what an error of one says about whether it was done.
//!
//! It speaks with one member at a time, and goes on to the next when that one is lost. `etcd-client` would do most of it,
//! but turns on tonic's server and router (and with them axum) for the whole workspace, copies each value, and gives away
//! whether a failed call was ever sent, on which the difference between "not written" and "nobody knows" rests.
//!
//! Owns no task of ours; tonic runs two for each connection, which end with it.

use crate::connect::Connector;
use crate::limits::{ANSWER_BYTES, PING, WATCH_REQUESTS};
use crate::wire::{self, WatchAsk, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use futures_util::{Stream, stream};
use holdfast_env::World;
use holdfast_store::StoreError;
use http::uri::PathAndQuery;
use prost::Message;
use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// Asks a member to answer only while it has a leader: without one it would serve old news.
const WITH_LEADER: &str = "hasleader";
/// How a member without a leader says so; it has done nothing then.
const NO_LEADER: &str = "etcdserver: no leader";

/// Why a call failed, by what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It never reached etcd.
    NotSent(String),
    /// etcd said no, and did nothing.
    Refused(Code, String),
    /// It was sent, and may have been done.
    Unclear(String),
}

impl CallError {
    fn of(status: &Status) -> CallError {
        let mut source = status.source();
        let transport = source.is_some();
        let mut root = None;
        let mut connecting = false;
        while let Some(err) = source {
            connecting |= err.is::<ConnectError>();
            root = Some(err);
            source = err.source();
        }
        let text = root.map_or_else(|| status.message().to_owned(), ToString::to_string);
        if connecting || (!transport && status.message() == NO_LEADER) {
            return CallError::NotSent(text);
        }
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Unauthenticated
                if !transport =>
            {
                CallError::Refused(status.code(), text)
            }
            _ => CallError::Unclear(text),
        }
    }

    /// What it means for whoever wanted to write.
    pub(crate) fn of_write(self) -> StoreError {
        match self {
            CallError::NotSent(why) => unavailable(&why),
            CallError::Unclear(why) => StoreError::Unknown(format!("etcd did not answer: {why}")),
            CallError::Refused(code, text) => refused(code, &text),
        }
    }

    /// What it means for whoever wanted to read.
    pub(crate) fn of_read(self) -> StoreError {
        match self {
            CallError::NotSent(why) | CallError::Unclear(why) => unavailable(&why),
            CallError::Refused(code, text) => refused(code, &text),
        }
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(format!("etcd: {why}"))
}

/// etcd's own words say which of its limits it was; the code does not.
fn refused(code: Code, text: &str) -> StoreError {
    let has = |words: &str| text.contains(words);
    if has("request is too large") || has("larger than max") {
        let limit = "etcd takes 1.5 MiB in one request, unless its --max-request-bytes says otherwise";
        return StoreError::TooLarge(format!("{limit} ({text})"));
    }
    if has("too many operations") {
        let limit = "etcd takes 128 operations in one transaction, unless its --max-txn-ops says otherwise";
        return StoreError::TooLarge(format!("{limit} ({text})"));
    }
    if has("database space exceeded") {
        let cure = "etcd's database has reached its quota: compact and defragment it, or raise --quota-backend-bytes, \
                    then disarm its alarm";
        return StoreError::Unavailable(format!("{cure} ({text})"));
    }
    if code == Code::ResourceExhausted {
        return unavailable(text);
    }
    StoreError::Failed(format!("etcd refused: {text}"))
}

/// Which failures of a call are followed by another try at the next member.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// A write: only what was surely not sent.
    Unsent,
    /// A read does no harm twice.
    Any,
}

struct Current {
    member: usize,
    channel: Option<Channel>,
    /// Counts channels, so that one that failed is given up once, by whoever sees it first.
    number: u64,
}

/// The client.
pub(crate) struct Client {
    members: Vec<Endpoint>,
    connector: Connector,
    current: Mutex<Current>,
    env: World,
    deadline: Duration,
}

/// Requests and answers of a watch.
pub(crate) struct WatchStream {
    requests: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
    number: u64,
}

impl Client {
    /// A client of the members at `endpoints` (`http://host:port`), which are of one kind.
    ///
    /// # Errors
    /// As [`Client::check`].
    pub(crate) fn new(
        endpoints: &[String],
        connector: Connector,
        env: World,
        deadline: Duration,
    ) -> Result<Client, String> {
        Client::check(endpoints)?;
        let members = endpoints.iter().map(|url| member(url)).collect::<Result<_, _>>()?;
        let current = Mutex::new(Current { member: 0, channel: None, number: 0 });
        Ok(Client { members, connector, current, env, deadline })
    }

    /// Whether these are endpoints.
    ///
    /// # Errors
    /// Which of them is none, or that none is given.
    pub(crate) fn check(endpoints: &[String]) -> Result<(), String> {
        if endpoints.is_empty() {
            return Err("no endpoint of etcd is given".to_owned());
        }
        endpoints.iter().try_for_each(|url| member(url).map(drop))
    }

    fn channel(&self) -> (u64, Channel) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let member = &self.members[current.member % self.members.len()];
        let connector = self.connector.clone();
        let channel = current.channel.get_or_insert_with(|| member.connect_with_connector_lazy(connector));
        let channel = channel.clone();
        (current.number, channel)
    }

    /// The channel with this number is of no use: the next call goes to the next member.
    pub(crate) fn give_up(&self, number: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.number == number {
            current.number += 1;
            current.member += 1;
            current.channel = None;
        }
    }

    async fn call<Q, A>(&self, path: &'static str, request: &Q, repeat: Repeat) -> Result<A, CallError>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut tries = self.members.len() + 1;
        loop {
            let (number, channel) = self.channel();
            let one = self.env.timeout(self.deadline, unary(channel, path, request.clone(), self.deadline));
            let err = match one.await {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(err)) => err,
                None => CallError::Unclear(format!("no answer within {:?}", self.deadline)),
            };
            let again = match &err {
                CallError::NotSent(_) => true,
                CallError::Unclear(_) => repeat == Repeat::Any,
                CallError::Refused(..) => return Err(err),
            };
            self.give_up(number);
            tries -= 1;
            if !again || tries == 0 {
                return Err(err);
            }
        }
    }

    pub(crate) async fn range(&self, request: &wire::RangeRequest) -> Result<wire::RangeResponse, CallError> {
        self.call(wire::RANGE, request, Repeat::Any).await
    }

    pub(crate) async fn txn(&self, request: &wire::TxnRequest) -> Result<wire::TxnResponse, CallError> {
        self.call(wire::TXN, request, Repeat::Unsent).await
    }

    /// Done twice it is an error that says so, and nothing worse.
    pub(crate) async fn compact(&self, request: &wire::CompactionRequest) -> Result<(), CallError> {
        self.call(wire::COMPACT, request, Repeat::Any).await.map(|_: wire::CompactionResponse| ())
    }

    /// The release of the member that is spoken with.
    pub(crate) async fn version(&self) -> Result<String, CallError> {
        let answer: wire::StatusResponse = self.call(wire::STATUS, &wire::StatusRequest {}, Repeat::Any).await?;
        Ok(answer.version)
    }

    /// Opens a watch; its first answer says whether it began.
    pub(crate) async fn watch(&self, request: WatchCreateRequest) -> Result<WatchStream, CallError> {
        let (requests, mut sent) = mpsc::channel(WATCH_REQUESTS);
        let first = WatchRequest { ask: Some(WatchAsk::Create(request)) };
        requests.try_send(first).map_err(|err| CallError::NotSent(err.to_string()))?;
        let asked = stream::poll_fn(move |cx| sent.poll_recv(cx));
        let (number, channel) = self.channel();
        let opened = match self.env.timeout(self.deadline, streaming(channel, asked)).await {
            Some(opened) => opened,
            None => Err(CallError::Unclear(format!("the watch did not begin within {:?}", self.deadline))),
        };
        match opened {
            Ok(answers) => Ok(WatchStream { requests, answers, number }),
            Err(err) => {
                self.give_up(number);
                Err(err)
            }
        }
    }
}

impl WatchStream {
    /// Of the channel that it came by.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Asks how far the watch has come. Nothing happens while earlier requests are not sent yet.
    pub(crate) fn ask_progress(&self) {
        let _ = self.requests.try_send(WatchRequest { ask: Some(WatchAsk::Progress(WatchProgressRequest {})) });
    }

    /// The next answer. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, CallError> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(CallError::Unclear("etcd ended the watch".to_owned())),
            Err(status) => Err(CallError::of(&status)),
        }
    }
}

fn member(url: &str) -> Result<Endpoint, String> {
    let wrong = || format!("{url:?} is no endpoint of etcd; write for example http://127.0.0.1:2379");
    let uri: http::Uri = url.parse().map_err(|_| wrong())?;
    let plain = uri.path() == "/" && uri.query().is_none() && uri.port_u16().is_some_and(|port| port != 0);
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or_else(wrong)?;
    let authority = uri.authority().filter(|authority| plain && !authority.as_str().contains('@')).ok_or_else(wrong)?;
    // The connector does TLS, so that to tonic all are plain; etcd is told the scheme all the same.
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| wrong())?;
    let origin = format!("{scheme}://{authority}").parse().map_err(|_| wrong())?;
    Ok(endpoint.origin(origin).http2_keep_alive_interval(PING).keep_alive_timeout(PING).keep_alive_while_idle(true))
}

fn marked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(WITH_LEADER, MetadataValue::from_static("true"));
    request
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, CallError> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES);
    grpc.ready().await.map_err(|err| CallError::NotSent(err.to_string()))?;
    Ok(grpc)
}

async fn unary<Q, A>(channel: Channel, path: &'static str, message: Q, deadline: Duration) -> Result<A, CallError>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = ready(channel).await?;
    let mut request = marked(message);
    request.set_timeout(deadline);
    let codec = ProstCodec::<Q, A>::default();
    let answer = grpc.unary(request, PathAndQuery::from_static(path), codec).await;
    answer.map(tonic::Response::into_inner).map_err(|status| CallError::of(&status))
}

async fn streaming(
    channel: Channel,
    asked: impl Stream<Item = WatchRequest> + Send + 'static,
) -> Result<Streaming<WatchResponse>, CallError> {
    let mut grpc = ready(channel).await?;
    let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
    let answer = grpc.streaming(marked(asked), PathAndQuery::from_static(wire::WATCH), codec).await;
    answer.map(tonic::Response::into_inner).map_err(|status| CallError::of(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_refuses_was_not_written_and_says_which_limit_it_was() {
        let refused = |code, text: &str| CallError::of(&Status::new(code, text)).of_write().to_string();
        let too_large = refused(Code::InvalidArgument, "etcdserver: request is too large");
        assert!(too_large.starts_with("the write is too large: etcd takes 1.5 MiB in one request"), "{too_large}");
        let too_large = refused(Code::ResourceExhausted, "grpc: received message larger than max (3 vs. 2)");
        assert!(too_large.contains("larger than max (3 vs. 2)") && too_large.contains("1.5 MiB"), "{too_large}");
        let too_many = refused(Code::InvalidArgument, "etcdserver: too many operations in txn request");
        assert!(too_many.contains("128 operations"), "{too_many}");
        let full = refused(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
        assert!(full.contains("reached its quota"), "{full}");
        let busy = CallError::of(&Status::new(Code::ResourceExhausted, "etcdserver: too many requests")).of_write();
        assert!(matches!(busy, StoreError::Unavailable(_)), "{busy:?}");
        let denied = CallError::of(&Status::new(Code::PermissionDenied, "etcdserver: permission denied")).of_write();
        assert_eq!(denied, StoreError::Failed("etcd refused: etcdserver: permission denied".into()));
    }

    #[test]
    fn what_may_have_been_done_is_never_told_as_not_written() {
        let timeout = Status::new(Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost");
        for status in [timeout, Status::new(Code::Internal, "x"), Status::new(Code::Cancelled, "x")] {
            let err = CallError::of(&status);
            assert!(matches!(err.clone().of_write(), StoreError::Unknown(_)), "{err:?}");
            assert!(matches!(err.of_read(), StoreError::Unavailable(_)));
        }
        // The transport's errors can have any code: only a connection that was not made is sure.
        let mut torn = Status::new(Code::ResourceExhausted, "x");
        torn.set_source(std::sync::Arc::new(std::io::Error::other("the stream was reset")));
        assert_eq!(CallError::of(&torn), CallError::Unclear("the stream was reset".into()));
        let unmade = Status::from_error(Box::new(ConnectError(std::io::Error::other("reach x:1: refused").into())));
        assert_eq!(CallError::of(&unmade), CallError::NotSent("reach x:1: refused".into()));
        let leaderless = Status::new(Code::Unavailable, NO_LEADER);
        assert!(matches!(CallError::of(&leaderless).of_write(), StoreError::Unavailable(_)));
    }

    #[test]
    fn endpoints_are_urls_of_hosts_and_ports() {
        for good in ["http://127.0.0.1:2379", "https://etcd-1.example:2379/", "http://[::1]:2379"] {
            member(good).unwrap();
        }
        for wrong in ["127.0.0.1:2379", "http://etcd", "ftp://a:1", "http://a:1/b", "http://a:0", "http://u@a:1", ""] {
            let said = member(wrong).map(|_| ()).unwrap_err();
            assert!(said.contains("is no endpoint of etcd"), "{said}");
        }
    }
}
