//! A hub of the bench.

use crate::client::{Admin, Client};
use crate::process::Process;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const START: Duration = Duration::from_secs(20);
/// How often `/readyz` is asked: the resolution of the time to start.
const ASK: Duration = Duration::from_millis(2);

pub(crate) struct Hub {
    pub(crate) process: Process,
    pub(crate) admin: Admin,
    pub(crate) link_address: String,
    /// Of the API, and of the link.
    pub(crate) ports: [u16; 2],
    pub(crate) data_dir: PathBuf,
    /// From the start of the process to the first 200 of `/readyz`.
    pub(crate) ready_after: Duration,
}

/// Starts a hub over a folder, which may hold a store, and waits for `/readyz`.
pub(crate) fn start(runtime: &Runtime, bin_dir: &Path, data_dir: &Path) -> Result<Hub> {
    start_at(runtime, bin_dir, data_dir, [free_port()?, free_port()?])
}

/// The same on given ports: of the API, and of the link.
pub(crate) fn start_at(runtime: &Runtime, bin_dir: &Path, data_dir: &Path, ports: [u16; 2]) -> Result<Hub> {
    let [api, link] = ports;
    let link_address = format!("127.0.0.1:{link}");
    let kubeconfig = data_dir.join("admin.kubeconfig");
    // The port is another one: the old file must not be read.
    let _ = std::fs::remove_file(&kubeconfig);
    let mut serve = Command::new(bin_dir.join("holdfast-hub"));
    serve.arg("serve").arg("--data-dir").arg(data_dir).args(["--listen", &format!("127.0.0.1:{api}")]);
    serve.args(["--link-listen", &link_address, "--advertise", "127.0.0.1"]);
    let began = Instant::now();
    let mut process = Process::spawn(&mut serve, &data_dir.with_extension("log"))?;
    let admin = runtime.block_on(ready(&kubeconfig, &mut process))?;
    let ready_after = began.elapsed();
    Ok(Hub { process, admin, link_address, ports, data_dir: data_dir.to_owned(), ready_after })
}

async fn ready(kubeconfig: &Path, process: &mut Process) -> Result<Admin> {
    let deadline = Instant::now() + START;
    let mut client: Option<(Admin, Client)> = None;
    let mut why = "it wrote no admin.kubeconfig".to_owned();
    loop {
        if client.is_none()
            && let Ok(admin) = Admin::read(kubeconfig)
        {
            match admin.connect().await {
                Ok(connected) => client = Some((admin, connected)),
                Err(err) => why = format!("{err:#}"),
            }
        }
        if let Some((admin, mut connected)) = client.take() {
            match connected.send(Method::GET, "/readyz", Bytes::new()).await {
                Ok((StatusCode::OK, _)) => return Ok(admin),
                Ok((status, body)) => {
                    why = format!("{status}: {}", String::from_utf8_lossy(&body));
                    client = Some((admin, connected));
                }
                Err(err) => why = format!("{err:#}"),
            }
        }
        process.check()?;
        if Instant::now() >= deadline {
            bail!("the hub is not ready after {} s: {why} ({})", START.as_secs(), process.log_tail());
        }
        tokio::time::sleep(ASK).await;
    }
}

impl Hub {
    /// A token by which a node joins.
    pub(crate) fn join_token(&self, bin_dir: &Path) -> Result<String> {
        let mut create = Command::new(bin_dir.join("holdfast-hub"));
        let said = create.args(["token", "create", "--data-dir"]).arg(&self.data_dir).output()?;
        let text = String::from_utf8_lossy(&said.stdout);
        let token = text.lines().map(str::trim).find(|line| line.split('.').count() == 3);
        let why = || format!("no token: {text} {}", String::from_utf8_lossy(&said.stderr));
        token.map(str::to_owned).with_context(why)
    }
}

/// Free at this moment; nothing else runs in our network namespace.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
