//! What a guest sees of the world: arguments, environment, folders, output, and its limits.

use crate::logs::ContainerLog;
use crate::usage::Meter;
use holdfast_runtime::RuntimeError;
use holdfast_runtime::cri_log::LogStream;
use http::{Request, Response};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::cli::{StdinStream, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error as HttpError, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// Elements of a guest's tables; the pool reserves no more.
const MAX_TABLE_ELEMENTS: usize = 20_000;

/// What every instance of a container is given. Made once, at the container's start.
#[derive(Clone, Debug)]
pub struct GuestSpec {
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<(String, String)>,
    /// Folders: on the host, inside, read only.
    pub folders: Vec<(PathBuf, String, bool)>,
    /// Working directory; empty for none.
    pub working_dir: String,
    /// Memory of one instance in bytes.
    pub memory_bytes: usize,
    /// Sockets of the host's own network: only pods with `hostNetwork` have them.
    pub host_network: bool,
    /// Where output goes.
    pub log: ContainerLog,
    /// Counts what is used.
    pub meter: Arc<Meter>,
}

impl GuestSpec {
    /// A context with the container's output.
    ///
    /// # Errors
    /// When a folder cannot be opened.
    pub fn context(&self) -> Result<WasiCtxBuilder, RuntimeError> {
        self.context_with(tokio::io::empty(), self.log.stream(LogStream::Stdout), self.log.stream(LogStream::Stderr))
    }

    /// A context with other streams.
    ///
    /// # Errors
    /// When a folder cannot be opened.
    pub fn context_with(
        &self,
        stdin: impl StdinStream + 'static,
        stdout: impl StdoutStream + 'static,
        stderr: impl StdoutStream + 'static,
    ) -> Result<WasiCtxBuilder, RuntimeError> {
        let mut context = WasiCtxBuilder::new();
        context.args(&self.args).envs(&self.env).stdin(stdin).stdout(stdout).stderr(stderr);
        if !self.working_dir.is_empty() {
            context.initial_cwd(&self.working_dir);
        }
        for (host, inside, read_only) in &self.folders {
            let perms = if *read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            context
                .preopened_dir(host, inside, perms)
                .map_err(|err| RuntimeError::Config(format!("cannot mount {} at {inside}: {err:#}", host.display())))?;
        }
        if self.host_network {
            context.inherit_network().allow_ip_name_lookup(true);
        } else {
            // Sockets would be made in this process's namespace instead of the pod's.
            context.allow_tcp(false).allow_udp(false);
        }
        Ok(context)
    }
}

/// Bounds memory, and remembers that more was asked for.
#[derive(Debug)]
pub struct Limiter {
    used: usize,
    most: usize,
    /// A request for memory was refused.
    pub refused: bool,
    meter: Arc<Meter>,
}

impl Limiter {
    fn new(spec: &GuestSpec) -> Limiter {
        Limiter { used: 0, most: spec.memory_bytes, refused: false, meter: spec.meter.clone() }
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.meter.gone(self.used);
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.most {
            self.refused = true;
            return Ok(false);
        }
        self.meter.grown(used - self.used);
        self.used = used;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}

/// State of a component's instance.
pub struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    outgoing: Outgoing,
    /// Its memory.
    pub limiter: Limiter,
}

impl std::fmt::Debug for Guest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guest({:?})", self.limiter)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

/// State of a core module's instance.
pub struct CoreGuest {
    /// Preview 1.
    pub wasi: WasiP1Ctx,
    /// Its memory.
    pub limiter: Limiter,
}

impl std::fmt::Debug for CoreGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CoreGuest({:?})", self.limiter)
    }
}

/// A store for a component, which gives way to others at each tick so that it can be ended at any time.
pub fn store(engine: &wasmtime::Engine, mut context: WasiCtxBuilder, spec: &GuestSpec) -> Store<Guest> {
    let guest = Guest {
        wasi: context.build(),
        http: WasiHttpCtx::new(),
        table: ResourceTable::new(),
        outgoing: Outgoing { log: spec.log.clone() },
        limiter: Limiter::new(spec),
    };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store.set_epoch_deadline(1);
    store
}

/// The same for a core module.
pub fn core_store(engine: &wasmtime::Engine, mut context: WasiCtxBuilder, spec: &GuestSpec) -> Store<CoreGuest> {
    let guest = CoreGuest { wasi: context.build_p1(), limiter: Limiter::new(spec) };
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store.set_epoch_deadline(1);
    store
}

/// Requests that a guest makes: not built, and refused with a line in the pod's log.
#[derive(Debug)]
struct Outgoing {
    log: ContainerLog,
}

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>), HttpError>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let text = format!("holdfast: refused {} {}: ", request.method(), request.uri());
        self.log.say(LogStream::Stderr, &format!("{text}outgoing HTTP requests of Wasm pods are not implemented"));
        Box::new(std::future::ready(Err(HttpError::HttpRequestDenied)))
    }
}
