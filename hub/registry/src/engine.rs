//! What all parts of the registry share: store, world, schema, and reading of objects.

use crate::admission::dynamic;
use crate::admission::resource_quota::Turns;
use crate::admission::timing::Timing;
use crate::config::HubRegistryConfig;
use crate::custom::{CustomKinds, CustomStrategy};
use crate::keys;
use crate::services_ip::ServiceAddresses;
use crate::strategy::{Rules, strategy_of};
use crate::tokens::TokenIssuer;
use holdfast_core::{Gvr, Lineage, Object, Reason, Revision, Status, Target, Timestamp, names};
use holdfast_env::World;
use holdfast_kinds::Kind;
use holdfast_schema::Schema;
use holdfast_server::{Authenticator, Authorizer, NodeCalls, WebhookCalls};
use holdfast_store::{Record, Store, StoreError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The shared parts.
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) env: World,
    pub(crate) schema: &'static Schema,
    pub(crate) lineage: Lineage,
    pub(crate) eviction_after: Duration,
    pub(crate) services: ServiceAddresses,
    pub(crate) tokens: Arc<dyn TokenIssuer>,
    /// Of tokens that are no ServiceAccount's.
    pub(crate) token_authenticators: OnceLock<Vec<Arc<dyn Authenticator>>>,
    pub(crate) node_calls: OnceLock<Arc<dyn NodeCalls>>,
    pub(crate) authorizer: OnceLock<Arc<dyn Authorizer>>,
    pub(crate) webhook_calls: OnceLock<Arc<dyn WebhookCalls>>,
    pub(crate) configurations: dynamic::Cache,
    pub(crate) customs: CustomKinds,
    pub(crate) quota_turns: Turns,
    pub(crate) timing: Timing,
}

/// A target whose kind is known.
pub(crate) struct Resource<'a> {
    pub(crate) kind: &'static Kind,
    pub(crate) strategy: Rules,
    pub(crate) gvr: &'a Gvr,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Resource<'_> {
    pub(crate) fn key(&self) -> String {
        keys::object(self.kind, self.namespace, self.name)
    }

    pub(crate) fn not_found(&self) -> Status {
        Status::not_found(self.gvr, self.name)
    }
}

impl Engine {
    pub(crate) fn new(config: HubRegistryConfig) -> Engine {
        Engine {
            services: ServiceAddresses::new(config.service_cidr),
            store: config.store,
            env: config.env,
            schema: holdfast_schema::builtin(),
            lineage: config.lineage,
            eviction_after: config.eviction_after,
            tokens: config.token_issuer,
            token_authenticators: OnceLock::new(),
            node_calls: OnceLock::new(),
            authorizer: OnceLock::new(),
            webhook_calls: OnceLock::new(),
            configurations: dynamic::Cache::default(),
            customs: CustomKinds::new(),
            quota_turns: Turns::new(),
            timing: Timing::new(),
        }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_wall(self.env.wall().0)
    }

    /// What reaches into nodes.
    ///
    /// # Errors
    /// 503 before the hub has links.
    pub(crate) fn node_calls(&self) -> Result<&Arc<dyn NodeCalls>, Status> {
        self.node_calls.get().ok_or_else(|| Status::unavailable("the hub's links are not up yet", 1))
    }

    /// The kind behind a target.
    ///
    /// # Errors
    /// 404 for what is not served; 400 when the namespace does not fit the kind's scope.
    pub(crate) fn resource<'a>(&self, at: &'a Target) -> Result<Resource<'a>, Status> {
        let (kind, strategy) = self.find_kind(&at.gvr).ok_or_else(Status::no_such_path)?;
        if !kind.namespaced && at.namespace.is_some() {
            return Err(Status::no_such_path());
        }
        if kind.namespaced && at.namespace.is_none() && at.name.is_some() {
            return Err(Status::bad_request("namespace is required"));
        }
        let problems = names::path_segment(at.name());
        if !problems.is_empty() {
            return Err(Status::bad_request(format!(
                "Name parameter invalid: {:?}: {}",
                at.name(),
                problems.join(";")
            )));
        }
        Ok(Resource { kind, strategy, gvr: &at.gvr, namespace: at.namespace(), name: at.name() })
    }

    /// The entry and the rules of what is served at a path.
    pub(crate) fn find_kind(&self, gvr: &Gvr) -> Option<(&'static Kind, Rules)> {
        if let Some(kind) = lookup(gvr) {
            return Some((kind, Rules::BuiltIn(strategy_of(kind))));
        }
        let custom = self.customs.by_gvr(gvr)?;
        Some((custom.kind, Rules::Custom(CustomStrategy(custom))))
    }

    /// Waits until reads show what was committed before, by this hub or another on the same store: what Kubernetes calls
    /// the most recent. Before a write looks at what it changes, too: a conflict must be one.
    ///
    /// # Errors
    /// 503 while that cannot be found out.
    pub(crate) async fn sync(&self) -> Result<Revision, Status> {
        self.store.sync().await.map_err(store_error)
    }

    /// Waits until reads are no older than `wanted`, which another hub may have told.
    ///
    /// # Errors
    /// 504 for a revision that is yet to come; as [`Engine::sync`].
    pub(crate) async fn not_older_than(&self, wanted: Revision) -> Result<(), Status> {
        if wanted <= self.store.revision() {
            return Ok(());
        }
        let current = self.sync().await?;
        if wanted <= current { Ok(()) } else { Err(store_error(StoreError::Future { requested: wanted, current })) }
    }

    /// The object of a target.
    ///
    /// # Errors
    /// 404 when it does not exist.
    pub(crate) async fn read(&self, resource: &Resource<'_>) -> Result<Arc<Object>, Status> {
        match self.store.get(&resource.key()).await.map_err(store_error)? {
            Some(record) => decode(&record),
            None => Err(resource.not_found()),
        }
    }

    /// An object of a built-in kind.
    pub(crate) async fn find(&self, gvr: &Gvr, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Status> {
        let kind = known(gvr)?;
        let record = self.store.get(&keys::object(kind, namespace, name)).await.map_err(store_error)?;
        record.as_deref().map(decode).transpose()
    }

    /// All objects of a built-in kind in a namespace, or everywhere.
    pub(crate) async fn find_all(&self, gvr: &Gvr, namespace: &str) -> Result<Vec<Arc<Object>>, Status> {
        let request =
            holdfast_store::RangeRequest { prefix: keys::scope(known(gvr)?, namespace), ..Default::default() };
        let range = self.store.range(request).await.map_err(store_error)?;
        range.records.iter().map(|record| decode(record)).collect()
    }

    /// A short random suffix of upstream's alphabet, without vowels and look-alikes.
    pub(crate) fn random_suffix(&self, length: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut bytes = vec![0; length];
        self.env.fill_random(&mut bytes);
        bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
    }
}

fn lookup(gvr: &Gvr) -> Option<&'static Kind> {
    holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource)
}

/// The entry of a kind that we rely on ourselves.
pub(crate) fn known(gvr: &Gvr) -> Result<&'static Kind, Status> {
    lookup(gvr).ok_or_else(|| Status::internal(format!("no kind is served as {gvr}")))
}

/// The object of a record; parsed once a version, shared by all readers.
pub(crate) fn decode(record: &Record) -> Result<Arc<Object>, Status> {
    record.decoded(|record| Object::from_stored(record.value.clone(), record.modified)).map_err(Status::internal)
}

/// Upstream's answer to a store's error.
pub(crate) fn store_error(err: StoreError) -> Status {
    match err {
        StoreError::Compacted { .. } => Status::expired("The resourceVersion for the provided list is too old."),
        StoreError::Future { requested, current } => {
            // Clients look for the cause, and list anew.
            Status::timeout(format!("Too large resource version: {requested}, current: {current}"))
                .with_cause("ResourceVersionTooLarge", "Too large resource version")
                .with_retry_after(1)
        }
        StoreError::Full => Status::unavailable(err.to_string(), 30),
        StoreError::Slow => Status::expired("too old resource version: the watch fell behind"),
        StoreError::TooLarge(_) => Status::failure(413, Reason::RequestEntityTooLarge, err.to_string()),
        StoreError::Closed | StoreError::Unavailable(_) => Status::unavailable(err.to_string(), 1),
        // No `Retry-After`: a client that repeats a write by itself must not repeat one that was perhaps done.
        StoreError::Unknown(_) | StoreError::Failed(_) | StoreError::Invalid(_) => Status::internal(err),
    }
}
