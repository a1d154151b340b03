//! The baseline: etcd, asked in the clear by its own protocol (the v3 API's `KV`), on the same disk. An API server over etcd
//! cannot be faster.

use super::load::{gather, millis, pod};
use crate::figure::median;
use crate::process::{Process, wait_for};
use anyhow::{Context, Result, bail};
use http::uri::PathAndQuery;
use prost::Message;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

/// A connection.
struct Client(Grpc<Channel>);

impl Client {
    async fn ask<A, B>(&mut self, path: &'static str, asked: A) -> Result<B>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        self.0.ready().await?;
        let path = PathAndQuery::from_static(path);
        Ok(self.0.unary(tonic::Request::new(asked), path, ProstCodec::default()).await?.into_inner())
    }

    async fn put(&mut self, key: String, value: Vec<u8>) -> Result<()> {
        let asked = PutRequest { key: key.into_bytes(), value };
        self.ask::<_, PutResponse>("/etcdserverpb.KV/Put", asked).await.map(|_| ())
    }

    /// The values from `key` on, up to `range_end`; of `key` alone when that is empty.
    async fn range(&mut self, key: &str, range_end: &str) -> Result<Vec<KeyValue>> {
        let asked = RangeRequest { key: key.into(), range_end: range_end.into() };
        Ok(self.ask::<_, RangeResponse>("/etcdserverpb.KV/Range", asked).await?.kvs)
    }
}

const START: Duration = Duration::from_secs(20);
/// Keys of the list.
const LISTED: &str = "/list/";
/// The first key after them.
const LISTED_END: &str = "/list0";
/// Most bytes of an answer: the list's.
const ANSWER_BYTES: usize = 1 << 30;
/// Puts at a time while the list is made.
const FILLERS: usize = 32;

/// A running etcd.
pub(super) struct Etcd {
    process: Process,
    address: String,
}

impl Etcd {
    pub(super) fn start(runtime: &Runtime, program: &Path, dir: &Path) -> Result<Etcd> {
        let port = || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let (client, peer) = (format!("127.0.0.1:{}", port()?), format!("http://127.0.0.1:{}", port()?));
        let url = format!("http://{client}");
        let mut serve = Command::new(program);
        serve.arg("--data-dir").arg(dir.join("etcd")).args(["--name", "bench", "--log-level", "error"]);
        serve.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        serve.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        serve.args(["--initial-cluster", &format!("bench={peer}"), "--quota-backend-bytes", "4294967296"]);
        let mut process = Process::spawn(&mut serve, &dir.join("etcd.log"))?;
        wait_for("etcd", START, &mut process, || TcpStream::connect(&client).is_ok())?;
        let etcd = Etcd { process, address: client };
        // It listens before it has a leader; the first answer comes after.
        runtime.block_on(async {
            etcd.connect().await?.put("/ready".into(), Vec::new()).await.context("the first put")
        })?;
        Ok(etcd)
    }

    async fn connect(&self) -> Result<Client> {
        let channel = Endpoint::from_shared(format!("http://{}", self.address))?.connect().await?;
        Ok(Client(Grpc::new(channel).max_decoding_message_size(ANSWER_BYTES)))
    }

    /// Puts by so many clients, each on a connection of its own: the milliseconds of each, and how long all took.
    pub(super) fn puts(&self, runtime: &Runtime, clients: usize, time: Duration, row: &str) -> Result<(Vec<f64>, f64)> {
        let row = row.to_owned();
        self.each(runtime, clients, move |mut client, number| {
            let row = row.clone();
            async move {
                let (mut times, began) = (Vec::new(), Instant::now());
                while began.elapsed() < time {
                    let name = format!("of-{clients}-{number}-{}", times.len());
                    let one = Instant::now();
                    client.put(format!("/puts/{row}/{name}"), pod(&name).to_vec()).await?;
                    times.push(millis(one));
                }
                Ok(times)
            }
        })
    }

    /// Gets of one value.
    pub(super) fn gets(&self, runtime: &Runtime, clients: usize, time: Duration) -> Result<(Vec<f64>, f64)> {
        runtime.block_on(async {
            self.connect().await?.put("/one".into(), pod("of-1-0-0").to_vec()).await.context("put")
        })?;
        self.each(runtime, clients, move |mut client, _| async move {
            let (mut times, began) = (Vec::new(), Instant::now());
            while began.elapsed() < time {
                let one = Instant::now();
                client.range("/one", "").await?;
                times.push(millis(one));
            }
            Ok(times)
        })
    }

    /// Ranges over so many values: the median of `runs`, in milliseconds.
    pub(super) fn list(&self, runtime: &Runtime, values: usize, runs: usize) -> Result<f64> {
        self.each(runtime, FILLERS, move |mut client, number| async move {
            for value in (number..values).step_by(FILLERS) {
                let name = format!("pod-{value:07}");
                client.put(format!("{LISTED}{name}"), pod(&name).to_vec()).await?;
            }
            Ok(Vec::new())
        })?;
        runtime.block_on(async {
            let mut client = self.connect().await?;
            let mut times = Vec::new();
            for _ in 0..runs {
                let began = Instant::now();
                let found = client.range(LISTED, LISTED_END).await?;
                times.push(millis(began));
                if found.len() != values {
                    bail!("etcd listed {} values instead of {values}", found.len());
                }
            }
            Ok(median(&times))
        })
    }

    fn each<Work>(
        &self,
        runtime: &Runtime,
        clients: usize,
        work: impl Fn(Client, usize) -> Work,
    ) -> Result<(Vec<f64>, f64)>
    where
        Work: Future<Output = Result<Vec<f64>>> + Send + 'static,
    {
        runtime.block_on(async {
            let mut connected = Vec::new();
            for _ in 0..clients {
                connected.push(self.connect().await?);
            }
            let began = Instant::now();
            let mut tasks = JoinSet::new();
            for (number, client) in connected.into_iter().enumerate() {
                tasks.spawn(work(client, number));
            }
            gather(tasks, began).await
        })
    }

    pub(super) fn stop(self) -> Result<()> {
        self.process.stop()
    }
}
