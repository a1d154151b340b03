//! Custom kinds: what CustomResourceDefinitions add to what is served.
//!
//! [`CustomKinds`] keeps a compiled copy of the established definitions, fed by a watch, and tells the API server what is
//! served. Whether a definition's names are free is decided when it is written ([`definition::judge`]), so that it comes into
//! the store established; the write waits until this hub serves it. Task: one, which follows the watch, judges definitions
//! again when names come free, and clears away the objects of one that is being deleted. [`conversion`] takes objects from one
//! version to another, [`view`] is what reads show of what is stored.

mod cleanup;
mod conversion;
pub(crate) mod definition;
mod follow;
mod strategy;
mod view;

pub(crate) use definition::{CRD_KIND, FINALIZER};
pub(crate) use strategy::CustomStrategy;

use crate::engine::Engine;
use conversion::Conversion;
use definition::Definition;
use holdfast_core::{Gvk, Gvr, Json, Revision, Status};
use holdfast_env::Task;
use holdfast_kinds::Kind;
use holdfast_schema::openapi::{CustomDocument, DocumentPart};
use holdfast_schema::structural::Structural;
use holdfast_server::{Documents, KindSet, LiveKinds};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;
use view::Views;

/// A version of a definition.
#[derive(Debug)]
pub(crate) struct CustomKind {
    pub(crate) kind: &'static Kind,
    pub(crate) schema: Arc<Structural>,
    /// Its `openAPIV3Schema` as JSON.
    pub(crate) text: Arc<str>,
    /// Whether it is served. One that is not may be what objects are stored in.
    pub(crate) served: bool,
    /// The definition is going: nothing new may be made.
    pub(crate) terminating: bool,
    /// What who uses it is told, where it is on its way out.
    pub(crate) deprecation: Option<Arc<str>>,
    /// Paths of the subresource `scale`.
    pub(crate) scale: Option<ScalePaths>,
    /// How its objects go to and from the other versions.
    pub(crate) conversion: Arc<Conversion>,
}

impl CustomKind {
    /// Whether clients see the same objects by both.
    fn shows_as(&self, other: &CustomKind) -> bool {
        std::ptr::eq(self.kind, other.kind) && self.conversion.id == other.conversion.id
    }

    /// Drops the fields of an object that neither its schema nor every object's metadata has; returns their paths.
    ///
    /// # Errors
    /// 400 for metadata of another type.
    pub(crate) fn drop_unknown(&self, doc: &mut Json) -> Result<Vec<String>, Status> {
        const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
        let mut unknown = Vec::new();
        if let Some(metadata) = doc.get_mut("metadata").filter(|metadata| !metadata.is_null()) {
            let dropped = holdfast_schema::builtin().check(METADATA, metadata)?;
            unknown.extend(dropped.into_iter().map(|path| format!("metadata.{path}")));
        }
        unknown.extend(self.schema.prune(doc));
        Ok(unknown)
    }
}

/// Where `scale` finds its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: Vec<String>,
    pub(crate) status_replicas: Vec<String>,
    pub(crate) selector: Option<Vec<String>>,
}

/// The definitions at a moment.
#[derive(Default)]
pub(crate) struct Catalogue {
    pub(crate) revision: Revision,
    /// By key in the store.
    pub(crate) definitions: BTreeMap<Arc<str>, Arc<Definition>>,
    served: BTreeMap<Gvr, Arc<CustomKind>>,
}

impl Catalogue {
    fn new(revision: Revision, definitions: BTreeMap<Arc<str>, Arc<Definition>>) -> Catalogue {
        let kinds = definitions.values().filter(|d| d.established).flat_map(|definition| &definition.versions);
        let served = kinds.filter(|kind| kind.served).map(|kind| (kind.kind.gvr(), kind.clone())).collect();
        Catalogue { revision, definitions, served }
    }
}

/// The definitions as they were last read.
pub(crate) struct CustomKinds {
    catalogue: RwLock<Arc<Catalogue>>,
    live: Arc<LiveKinds>,
    /// Up to where definitions are served; `None` while nobody follows them.
    seen: watch::Sender<Option<Revision>>,
    views: Views,
}

impl CustomKinds {
    pub(crate) fn new() -> CustomKinds {
        CustomKinds {
            catalogue: RwLock::default(),
            live: LiveKinds::new(KindSet::new(holdfast_kinds::all())),
            seen: watch::Sender::new(None),
            views: Views::default(),
        }
    }

    /// What is served, for the API server.
    pub(crate) fn live(&self) -> &Arc<LiveKinds> {
        &self.live
    }

    /// The definitions.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The kind at a path.
    pub(crate) fn by_gvr(&self, gvr: &Gvr) -> Option<Arc<CustomKind>> {
        self.catalogue().served.get(gvr).cloned()
    }

    /// A served kind by its name.
    pub(crate) fn by_gvk(&self, gvk: &Gvk) -> Option<Arc<CustomKind>> {
        self.catalogue().served.values().find(|custom| custom.kind.gvk() == *gvk).cloned()
    }

    /// All served versions of a kind.
    pub(crate) fn versions_of(&self, kind: &Kind) -> Vec<Arc<CustomKind>> {
        let catalogue = self.catalogue();
        let same = |other: &&Arc<CustomKind>| (other.kind.group, other.kind.plural) == (kind.group, kind.plural);
        catalogue.served.values().filter(same).cloned().collect()
    }

    /// Waits until the definitions of `revision` are served, if anybody follows them.
    pub(crate) async fn served_since(&self, revision: Revision) {
        // The sender is ours: this cannot fail.
        let _ = self.seen.subscribe().wait_for(|seen| seen.is_none_or(|seen| seen >= revision)).await;
    }

    /// Waits until a kind is not served any more, or shows objects in another way: who watches it has to begin anew.
    pub(crate) async fn replaced(&self, kind: &CustomKind) {
        let differs = |_: &Option<Revision>| self.by_gvr(&kind.kind.gvr()).is_none_or(|now| !now.shows_as(kind));
        // The sender is ours: this cannot fail.
        let _ = self.seen.subscribe().wait_for(differs).await;
    }

    fn publish(&self, catalogue: Catalogue) {
        let revision = catalogue.revision;
        let custom = catalogue.served.values().map(|kind| kind.kind);
        let kinds = KindSet::new(holdfast_kinds::all().iter().chain(custom));
        let mut parts: BTreeMap<(String, String), Vec<DocumentPart>> = BTreeMap::new();
        for kind in catalogue.served.values() {
            let place = (kind.kind.group.to_string(), kind.kind.version.to_string());
            parts.entry(place).or_default().push((kind.kind, kind.text.clone()));
        }
        let before = self.live.now();
        let mut documents = Documents::new();
        for ((group, version), kinds) in parts {
            let document = match before.document(&group, &version).filter(|document| document.is_of(&kinds)) {
                Some(document) => document.clone(),
                None => Arc::new(CustomDocument::new(&group, &version, kinds)),
            };
            documents.insert((group, version), document);
        }
        // First what decodes, then what leads there.
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
        self.live.replace(kinds, documents);
        self.seen.send_replace(Some(revision));
    }
}

/// Reads all definitions and follows their changes.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn start(engine: Arc<Engine>) -> Result<Task, Status> {
    let mut follower = follow::Follower::load(&engine).await?;
    follower.publish(&engine);
    let env = engine.env.clone();
    Ok(env.spawn("custom-kinds", Box::pin(async move { follower.follow(&engine).await })))
}
