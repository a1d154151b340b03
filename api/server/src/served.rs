//! What a server serves at a moment: kinds, discovery and documents. Definitions change it while the server runs.

use crate::KindSet;
use crate::docs::discovery::Discovery;
use holdfast_core::gvk::api_version;
use holdfast_schema::openapi::{self, CustomDocument, Document};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

/// OpenAPI v3 documents of groups and versions that are not built in, by group and version.
pub type Documents = BTreeMap<(String, String), Arc<CustomDocument>>;

/// What is served at a moment. A request that began with one ends with it.
pub struct Served {
    /// The kinds.
    pub kinds: KindSet,
    pub(crate) discovery: Discovery,
    documents: Documents,
    openapi_v2: OnceLock<Document>,
}

impl Served {
    fn new(kinds: KindSet, documents: Documents) -> Arc<Served> {
        let discovery = Discovery::new(kinds.clone());
        Arc::new(Served { discovery, kinds, documents, openapi_v2: OnceLock::new() })
    }

    /// The OpenAPI v2 document of all kinds. The first call makes it, which takes long enough to be kept off the request
    /// threads.
    pub(crate) fn openapi_v2(&self) -> &Document {
        if self.documents.is_empty() {
            return openapi::openapi_v2_document();
        }
        self.openapi_v2.get_or_init(|| openapi::openapi_v2_with(self.documents.values().map(|custom| &**custom)))
    }

    /// The document of a group and version that is not built in.
    pub fn document(&self, group: &str, version: &str) -> Option<&Arc<CustomDocument>> {
        self.documents.get(&(group.to_string(), version.to_string()))
    }

    /// Those documents by path.
    pub(crate) fn documents(&self) -> impl Iterator<Item = (String, &Document)> {
        self.documents.iter().map(|((group, version), document)| (openapi::path_of(group, version), document.get()))
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let extra: Vec<String> = self.documents.keys().map(|(group, version)| api_version(group, version)).collect();
        write!(f, "Served({} kinds, beside them {extra:?})", self.kinds.iter().count())
    }
}

/// What is served now.
#[derive(Debug)]
pub struct LiveKinds(watch::Sender<Arc<Served>>);

impl LiveKinds {
    /// Serves these kinds, whose documents are built in.
    pub fn new(kinds: KindSet) -> Arc<LiveKinds> {
        Arc::new(LiveKinds(watch::Sender::new(Served::new(kinds, Documents::new()))))
    }

    /// What is served at this moment.
    pub fn now(&self) -> Arc<Served> {
        self.0.borrow().clone()
    }

    /// To hear of changes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Served>> {
        self.0.subscribe()
    }

    /// Serves something else from here on.
    pub fn replace(&self, kinds: KindSet, documents: Documents) {
        self.0.send_replace(Served::new(kinds, documents));
    }
}
