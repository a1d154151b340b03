//! One lazily connecting channel to containerd, with our namespace, deadlines and errors.

use containerd_client::services::v1 as api;
use containerd_client::tonic::{Code, Request, Response, Status, transport::Channel, transport::Endpoint};
use holdfast_core::Timestamp;
use holdfast_runtime::RuntimeError;
use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// For calls that only look something up or change a record.
pub(crate) const QUICK: Duration = Duration::from_secs(15);
/// For calls that start or end processes.
pub(crate) const SLOW: Duration = Duration::from_secs(120);
/// For one layer to be written or unpacked.
pub(crate) const BULK: Duration = Duration::from_secs(600);
/// How long a forgotten lease keeps its resources.
const LEASE_LIFE: Duration = Duration::from_secs(3600);
/// containerd answers `tasks.list` in one message.
const MAX_MESSAGE: usize = 64 << 20;

/// A failed call.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) operation: &'static str,
    pub(crate) code: Code,
    pub(crate) message: String,
    /// The call never reached containerd, or its answer never came back.
    local: bool,
}

impl CallError {
    pub(crate) fn new(operation: &'static str, status: &Status) -> CallError {
        let cause = std::error::Error::source(status);
        let mut message = status.message().to_string();
        let mut next = cause;
        while let Some(err) = next {
            message = format!("{message}: {err}");
            next = err.source();
        }
        CallError { operation, code: status.code(), message, local: cause.is_some() }
    }

    pub(crate) fn not_found(&self) -> bool {
        self.code == Code::NotFound
    }

    pub(crate) fn exists(&self) -> bool {
        self.code == Code::AlreadyExists
    }
}

impl From<CallError> for RuntimeError {
    fn from(err: CallError) -> RuntimeError {
        if err.local || matches!(err.code, Code::Unavailable | Code::DeadlineExceeded) {
            return RuntimeError::Unavailable { runtime: "containerd", reason: err.message };
        }
        if err.not_found() {
            return RuntimeError::NotFound(err.message);
        }
        RuntimeError::Failed { operation: err.operation, reason: err.message }
    }
}

/// Takes `NotFound` as an answer.
pub(crate) fn optional<T>(result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if err.not_found() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Awaits a call with a deadline.
pub(crate) async fn call<T>(
    operation: &'static str,
    limit: Duration,
    future: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallError::new(operation, &status)),
        Err(_) => Err(CallError {
            operation,
            code: Code::DeadlineExceeded,
            message: format!("{operation}: no answer within {} s", limit.as_secs()),
            local: true,
        }),
    }
}

/// The channel and our namespace; clones share the connection.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
    namespace: String,
}

macro_rules! services {
    ($($name:ident: $client:ty;)*) => {
        $(pub(crate) fn $name(&self) -> $client {
            <$client>::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
        })*
    };
}

impl Client {
    /// Connects at the first call, and again whenever the connection was lost.
    pub(crate) fn new(socket: &Path, namespace: &str) -> Client {
        let uri = format!("unix://{}", socket.display());
        // A `unix:` address is not parsed any further, so this cannot fail.
        let endpoint = Endpoint::from_shared(uri).unwrap_or_else(|_| Endpoint::from_static("unix:///nonexistent"));
        Client { channel: endpoint.connect_lazy(), namespace: namespace.to_string() }
    }

    services! {
        version: api::version_client::VersionClient<Channel>;
        content: api::content_client::ContentClient<Channel>;
        image_service: api::images_client::ImagesClient<Channel>;
        diff: api::diff_client::DiffClient<Channel>;
        leases: api::leases_client::LeasesClient<Channel>;
        snapshots: api::snapshots::snapshots_client::SnapshotsClient<Channel>;
        containers: api::containers_client::ContainersClient<Channel>;
        tasks: api::tasks_client::TasksClient<Channel>;
        events: api::events_client::EventsClient<Channel>;
        introspection: api::introspection_client::IntrospectionClient<Channel>;
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A request in our namespace.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        // A namespace that is no header value goes missing, and containerd says "namespace is required".
        if let Ok(value) = self.namespace.parse() {
            request.metadata_mut().insert("containerd-namespace", value);
        }
        request
    }

    /// A request whose new resources belong to a lease.
    pub(crate) fn leased<T>(&self, lease: &str, message: T) -> Request<T> {
        let mut request = self.request(message);
        if let Ok(value) = lease.parse() {
            request.metadata_mut().insert("containerd-lease", value);
        }
        request
    }

    /// Makes a lease that expires by itself, should [`Client::end_lease`] never be reached.
    pub(crate) async fn begin_lease(&self) -> Result<String, CallError> {
        let id = unique("holdfast");
        let expire = now().after(LEASE_LIFE).to_string();
        let labels = HashMap::from([("containerd.io/gc.expire".to_string(), expire)]);
        let request = self.request(api::CreateRequest { id: id.clone(), labels });
        call("create lease", QUICK, self.leases().create(request)).await?;
        Ok(id)
    }

    /// Ends a lease; what nothing else refers to is collected.
    pub(crate) async fn end_lease(&self, id: &str) {
        let request = self.request(api::DeleteRequest { id: id.to_string(), sync: false });
        if let Err(err) = call("delete lease", QUICK, self.leases().delete(request)).await {
            tracing::debug!(lease = id, err = err.message, "Left a lease to expire");
        }
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_wall(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// A name that no other call, process or boot has used.
pub(crate) fn unique(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let micros = now().since_epoch().as_micros();
    format!("{prefix}-{micros:x}-{:x}-{count:x}", std::process::id())
}

/// containerd's time as ours.
pub(crate) fn timestamp(time: Option<&prost_types::Timestamp>) -> Timestamp {
    let Some(time) = time else { return Timestamp::default() };
    let secs = u64::try_from(time.seconds).unwrap_or(0);
    Timestamp::from_wall(Duration::new(secs, u32::try_from(time.nanos).unwrap_or(0).min(999_999_999)))
}
