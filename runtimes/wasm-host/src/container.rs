//! A container: what it is, where it stands, and its way from created to ended.

use crate::command::{self, EXIT_KILLED, EXIT_TERMINATED, Outcome};
use crate::guest::GuestSpec;
use crate::host::{Host, blocking, engine_error};
use crate::http::{self, Service};
use crate::images::Image;
use crate::limits::{DEFAULT_MEMORY_BYTES, KILL_WAIT};
use crate::logs::{ContainerLog, now};
use crate::modules::Linked;
use crate::netns;
use crate::records::{ContainerRecord, check_id};
use crate::usage::Meter;
use holdfast_runtime::cri_log::LogStream;
use holdfast_runtime::{ContainerInfo, ContainerSpec, ContainerState, RuntimeError, RuntimeEvent, SandboxSpec};
use holdfast_wasm_client::wire::GuestUsage;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Port of a `wasi:http` container that names none.
const DEFAULT_PORT: u16 = 8080;
/// Exit code of a container that ended with the host process.
const EXIT_LOST: i32 = 255;

/// A container.
#[derive(Debug)]
pub struct Container {
    /// As the agent gave it.
    pub spec: ContainerSpec,
    /// Its pod's sandbox.
    pub sandbox: SandboxSpec,
    /// Digest reference of its image.
    pub image_id: String,
    /// Digest of its module.
    pub module: String,
    /// One change of state at a time.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<ContainerState>,
    linked: Mutex<Option<Arc<Linked>>>,
    /// Counts what it uses.
    pub(crate) meter: Arc<Meter>,
    /// Asks it to stop.
    soft: CancellationToken,
    /// Ends it.
    kill: CancellationToken,
    ended: watch::Sender<bool>,
}

impl Container {
    pub(crate) fn new(record: ContainerRecord, linked: Option<Arc<Linked>>) -> Container {
        let ended = matches!(record.state, ContainerState::Exited { .. } | ContainerState::Unknown);
        Container {
            spec: record.spec,
            sandbox: record.sandbox,
            image_id: record.image_id,
            module: record.module,
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(record.state),
            // An ended container holds no code.
            linked: Mutex::new(linked.filter(|_| !ended)),
            meter: Arc::default(),
            soft: CancellationToken::new(),
            kill: CancellationToken::new(),
            ended: watch::Sender::new(ended),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> ContainerState {
        self.lock_state().clone()
    }

    fn lock_state(&self) -> MutexGuard<'_, ContainerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its code, while it is created or runs.
    pub(crate) fn linked(&self) -> Option<Arc<Linked>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, linked: Option<Arc<Linked>>) {
        *self.linked.lock().unwrap_or_else(PoisonError::into_inner) = linked;
    }

    /// Ends with the container, however that comes about.
    pub(crate) fn killed(&self) -> CancellationToken {
        self.kill.clone()
    }

    pub(crate) fn info(&self) -> ContainerInfo {
        ContainerInfo {
            id: self.spec.id.clone(),
            sandbox_id: self.sandbox.id.clone(),
            name: self.spec.name.clone(),
            attempt: self.spec.attempt,
            image: self.spec.image.clone(),
            image_id: self.image_id.clone(),
            state: self.state(),
        }
    }

    fn record(&self, state: ContainerState) -> ContainerRecord {
        ContainerRecord {
            spec: self.spec.clone(),
            sandbox: self.sandbox.clone(),
            image_id: self.image_id.clone(),
            module: self.module.clone(),
            state,
        }
    }

    async fn wait_ended(&self, limit: Duration) -> bool {
        let mut ended = self.ended.subscribe();
        // The sender lives in `self`, so the only error is the time.
        let waited = timeout(limit, ended.wait_for(|ended| *ended)).await;
        matches!(waited, Ok(Ok(_)))
    }
}

/// A container read at start: what ran has ended with the process that ran it.
pub(crate) fn revive(mut record: ContainerRecord) -> ContainerRecord {
    if let ContainerState::Running { started_at } = record.state {
        record.state = ContainerState::Exited {
            started_at,
            finished_at: now(),
            exit_code: EXIT_LOST,
            reason: "Error".into(),
            message: "the Wasm host process ended while the container ran".into(),
        };
    }
    record
}

/// What each instance of a container is given.
///
/// # Errors
/// [`RuntimeError::Config`] for what cannot be had, such as a mount of what is not there.
pub fn guest_spec(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    image: Option<&Image>,
    scratch: &std::path::Path,
    most_memory: u64,
    log: ContainerLog,
) -> Result<GuestSpec, RuntimeError> {
    let none = Image::default();
    let image = image.unwrap_or(&none);
    let mut args = if spec.command.is_empty() { image.entrypoint.clone() } else { spec.command.clone() };
    if args.is_empty() {
        args.push(spec.name.clone());
    }
    match (spec.args.is_empty(), spec.command.is_empty()) {
        (false, _) => args.extend(spec.args.iter().cloned()),
        (true, true) => args.extend(image.cmd.iter().cloned()),
        (true, false) => {}
    }
    let mut env: Vec<(String, String)> = vec![("HOSTNAME".into(), sandbox.hostname.clone())];
    for (key, value) in image.env.iter().chain(&spec.env) {
        match env.iter_mut().find(|(known, _)| known == key) {
            Some(pair) => pair.1.clone_from(value),
            None => env.push((key.clone(), value.clone())),
        }
    }
    let mut folders = Vec::new();
    for (number, mount) in spec.mounts.iter().enumerate() {
        let host = if mount.host_path.is_empty() {
            let folder = scratch.join(number.to_string());
            std::fs::create_dir_all(&folder).map_err(|err| {
                RuntimeError::Config(format!("cannot make a scratch folder for {}: {err}", mount.container_path))
            })?;
            folder
        } else {
            PathBuf::from(&mount.host_path)
        };
        let meta = std::fs::metadata(&host)
            .map_err(|err| RuntimeError::Config(format!("cannot mount {}: {err}", host.display())))?;
        if meta.is_dir() {
            folders.push((host, mount.container_path.clone(), mount.read_only));
        } else {
            // WASI opens folders to a guest, not files; /etc/hosts and the like have no use without sockets.
            tracing::debug!(path = mount.container_path, "Left out a mount of a single file");
        }
    }
    let wanted = usize::try_from(spec.resources.memory_limit_bytes).unwrap_or(0);
    let memory_bytes = if wanted == 0 { DEFAULT_MEMORY_BYTES } else { wanted };
    Ok(GuestSpec {
        args,
        env,
        folders,
        working_dir: if spec.working_dir.is_empty() { image.working_dir.clone() } else { spec.working_dir.clone() },
        memory_bytes: memory_bytes.min(usize::try_from(most_memory).unwrap_or(usize::MAX)),
        host_network: sandbox.netns_path.is_empty(),
        log,
        meter: Arc::default(),
    })
}

/// Where a `wasi:http` container listens: the pod's first address (or all), on `PORT`, else the first declared
/// TCP port, else 8080.
///
/// # Errors
/// [`RuntimeError::Config`] when address or port is none.
pub fn listen_address(
    spec: &ContainerSpec,
    sandbox: &SandboxSpec,
    env: &[(String, String)],
) -> Result<(IpAddr, u16), RuntimeError> {
    let address = match sandbox.ips.first() {
        Some(ip) => ip.parse().map_err(|_| RuntimeError::Config(format!("{ip:?} is no IP address")))?,
        None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let port = match env.iter().find(|(key, _)| key == "PORT") {
        Some((_, text)) => text
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| RuntimeError::Config(format!("environment variable PORT={text:?} is no port")))?,
        None => spec
            .ports
            .iter()
            .find(|(_, _, protocol)| protocol.is_empty() || protocol == "TCP")
            .map_or(DEFAULT_PORT, |(_, port, _)| *port),
    };
    Ok((address, port))
}

impl Host {
    /// What running containers use.
    pub(crate) fn usage(&self) -> Vec<GuestUsage> {
        let containers: Vec<Arc<Container>> = self.containers().values().cloned().collect();
        let running = containers.iter().filter(|one| matches!(one.state(), ContainerState::Running { .. }));
        let usage = |one: &Arc<Container>| GuestUsage {
            id: one.spec.id.clone(),
            cpu_nanos: one.meter.cpu_nanos(),
            memory_bytes: one.meter.memory_bytes(),
        };
        running.map(usage).collect()
    }

    pub(crate) async fn create_container(&self, sandbox: SandboxSpec, spec: ContainerSpec) -> Result<(), RuntimeError> {
        check_id(&spec.id)?;
        if self.container(&spec.id).is_some() {
            return Ok(());
        }
        if !self.sandboxes().contains_key(&sandbox.id) {
            return Err(RuntimeError::NotFound(format!("sandbox {:?}", sandbox.id)));
        }
        let image =
            self.images.find(&spec.image)?.ok_or_else(|| RuntimeError::NotFound(format!("image {:?}", spec.image)))?;
        let linked = self.load_module(&spec.image, &image.module).await?;
        let record = ContainerRecord {
            spec,
            sandbox,
            image_id: image.digest_reference(),
            module: image.module.clone(),
            state: ContainerState::Created,
        };
        self.write_container(record.clone()).await?;
        let container = Arc::new(Container::new(record, Some(linked)));
        // The same id made twice at once: the first stands.
        self.containers().entry(container.spec.id.clone()).or_insert(container);
        Ok(())
    }

    async fn load_module(&self, image: &str, module: &str) -> Result<Arc<Linked>, RuntimeError> {
        let (modules, path) = (self.modules.clone(), self.images.module_path(module));
        let digest = module.to_string();
        let loaded = tokio::task::spawn_blocking(move || modules.load(&digest, &path)).await;
        match loaded {
            Ok(loaded) => loaded.map_err(|err| engine_error(image, &err)),
            Err(err) => Err(RuntimeError::Failed { operation: "create container", reason: err.to_string() }),
        }
    }

    pub(crate) async fn start_container(self: &Arc<Host>, id: &str) -> Result<(), RuntimeError> {
        let container = self.known(id)?;
        let _turn = container.turn.lock().await;
        match container.state() {
            ContainerState::Created => {}
            ContainerState::Running { .. } => return Ok(()),
            ContainerState::Exited { .. } | ContainerState::Unknown => {
                let reason = format!("container {id:?} has ended");
                return Err(RuntimeError::Failed { operation: "start container", reason });
            }
        }
        let linked = match container.linked() {
            Some(linked) => linked,
            None => self.load_module(&container.spec.image, &container.module).await?,
        };
        container.keep(Some(linked.clone()));
        let guest = self.guest_spec(&container).await?;
        match &*linked {
            Linked::Http(_) => self.start_http(&container, linked, guest).await,
            Linked::Command(_) | Linked::Core(_) => self.start_command(&container, linked, guest).await,
        }
    }

    /// What an instance of this container is given.
    pub(crate) async fn guest_spec(&self, container: &Arc<Container>) -> Result<GuestSpec, RuntimeError> {
        let image = self.images.find(&container.image_id)?;
        let scratch = self.scratch.join(&container.spec.id);
        let most = self.engine.config().memory_reservation_bytes;
        let container = container.clone();
        blocking("start container", move || {
            let log = ContainerLog::open(&container.spec.log_path).map_err(|err| {
                std::io::Error::new(err.kind(), format!("cannot open log {}: {err}", container.spec.log_path))
            })?;
            let guest = guest_spec(&container.spec, &container.sandbox, image.as_deref(), &scratch, most, log);
            Ok(guest.map(|guest| GuestSpec { meter: container.meter.clone(), ..guest }))
        })
        .await?
    }

    async fn start_http(
        self: &Arc<Host>,
        container: &Arc<Container>,
        linked: Arc<Linked>,
        spec: GuestSpec,
    ) -> Result<(), RuntimeError> {
        let (address, port) = listen_address(&container.spec, &container.sandbox, &spec.env)?;
        // Folders are opened for each request; a mistake in them belongs to the start.
        spec.context()?;
        let netns = container.sandbox.netns_path.clone();
        let listener = blocking("start container", move || {
            netns::listen(&netns, address, port).map_err(|err| {
                std::io::Error::new(err.kind(), format!("cannot listen on {address} port {port}: {err}"))
            })
        })
        .await?;
        let failed =
            |err: std::io::Error| RuntimeError::Failed { operation: "start container", reason: err.to_string() };
        let bound = listener.local_addr().map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        spec.log.say(LogStream::Stdout, &format!("Listening on {bound}"));
        let service = Arc::new(Service {
            engine: self.engine.clone(),
            linked,
            spec,
            slots: self.request_slots.clone(),
            request_time: self.request_time,
            idle: self.idle_connection,
        });
        self.run(container, move |soft| async move {
            http::serve(service, listener, soft).await;
            // It was asked to stop and did so in order.
            Outcome::exited(0)
        })
        .await
    }

    async fn start_command(
        self: &Arc<Host>,
        container: &Arc<Container>,
        linked: Arc<Linked>,
        spec: GuestSpec,
    ) -> Result<(), RuntimeError> {
        let context = spec.context()?;
        let slot = self.command_slot()?;
        let engine = self.engine.clone();
        self.run(container, move |soft| async move {
            let outcome = tokio::select! {
                outcome = command::run(&engine, &linked, context, &spec) => outcome,
                () = soft.cancelled() => Outcome::exited(EXIT_TERMINATED),
            };
            drop(slot);
            if !outcome.message.is_empty() {
                spec.log.say(LogStream::Stderr, &format!("holdfast: {}", outcome.message));
            }
            outcome
        })
        .await
    }

    /// Marks the container as running and runs `work` in a task until it ends or is killed.
    async fn run<F, W>(self: &Arc<Host>, container: &Arc<Container>, work: W) -> Result<(), RuntimeError>
    where
        F: Future<Output = Outcome> + Send + 'static,
        W: FnOnce(CancellationToken) -> F,
    {
        let running = ContainerState::Running { started_at: now() };
        self.write_container(container.record(running.clone())).await?;
        *container.lock_state() = running;
        let (host, ours) = (self.clone(), container.clone());
        let work = work(container.soft.clone());
        self.tracker.spawn(async move {
            let outcome = tokio::select! {
                outcome = work => outcome,
                () = ours.kill.cancelled() => Outcome::exited(EXIT_KILLED),
            };
            host.ended(&ours, outcome).await;
        });
        tracing::info!(container = container.spec.id, image = container.spec.image, "Started container");
        Ok(())
    }

    async fn ended(&self, container: &Arc<Container>, outcome: Outcome) {
        let ContainerState::Running { started_at } = container.state() else { return };
        let state = ContainerState::Exited {
            started_at,
            finished_at: now(),
            exit_code: outcome.code,
            reason: outcome.reason.to_string(),
            message: outcome.message,
        };
        // When the host itself stops, the file keeps saying `Running`: the next host then reports it as lost.
        if !self.stopping.is_cancelled()
            && let Err(err) = self.write_container(container.record(state.clone())).await
        {
            tracing::warn!(container = container.spec.id, %err, "Could not write down the end of a container");
        }
        *container.lock_state() = state;
        container.keep(None);
        // Exec sessions end with their container.
        container.kill.cancel();
        container.ended.send_replace(true);
        tracing::info!(container = container.spec.id, exit_code = outcome.code, "Container ended");
        self.tell(RuntimeEvent::Exited { container_id: container.spec.id.clone() });
    }

    pub(crate) async fn stop(
        &self,
        container: &Arc<Container>,
        signal: Option<&str>,
        grace: Duration,
    ) -> Result<(), RuntimeError> {
        {
            let _turn = container.turn.lock().await;
            if !matches!(container.state(), ContainerState::Running { .. }) {
                return Ok(());
            }
        }
        let kill = signal.is_some_and(|name| matches!(name, "SIGKILL" | "KILL" | "9"));
        if !kill {
            container.soft.cancel();
            if container.wait_ended(grace).await {
                return Ok(());
            }
        }
        container.kill.cancel();
        if container.wait_ended(KILL_WAIT).await {
            return Ok(());
        }
        let reason = format!("the guest did not end within {KILL_WAIT:?} of being killed");
        Err(RuntimeError::Failed { operation: "stop container", reason })
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        check_id(id)?;
        let Some(container) = self.container(id) else { return Ok(()) };
        let _turn = container.turn.lock().await;
        if matches!(container.state(), ContainerState::Running { .. }) {
            let reason = format!("container {id:?} is running");
            return Err(RuntimeError::Failed { operation: "stop container", reason });
        }
        let (records, scratch, name) = (self.container_records.clone(), self.scratch.join(id), id.to_string());
        blocking("stop container", move || {
            match std::fs::remove_dir_all(&scratch) {
                Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
            records.remove(&name)
        })
        .await?;
        self.containers().remove(id);
        Ok(())
    }

    async fn write_container(&self, record: ContainerRecord) -> Result<(), RuntimeError> {
        let records = self.container_records.clone();
        blocking("create container", move || records.write(&record.spec.id, &record)).await
    }
}
