//! How objects of a definition go from one version to another: by their name alone, or through a webhook.
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/>)
//!
//! What is stored stays in the version that was the storage version when it was written, until it is written again. A read
//! ([`super::view`]) and a write convert, and between them a document is in the version that the client asked for. The
//! webhook is asked once for many objects, in calls that [`crate::limits`] bounds, and sees no `managedFields`.

mod review;

use crate::engine::Engine;
use crate::limits::{CONVERSION_TIMEOUT, CONVERTED_BYTES, CONVERTED_OBJECTS};
use crate::webhook::Webhook;
use holdfast_core::gvk::api_version;
use holdfast_core::json::{at, items_at, set, str_at};
use holdfast_core::{Gvk, Json, Reason, Status};
use holdfast_schema::structural::Structural;
use review::Wanted;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, MutexGuard};

/// The conversion of a definition's objects.
#[derive(Debug)]
pub(crate) struct Conversion {
    /// Tells it from all others of this process's life.
    pub(super) id: u64,
    group: String,
    /// The version in which objects are stored.
    stored: String,
    /// The schemas of all versions, served or not.
    schemas: BTreeMap<String, Arc<Structural>>,
    way: Way,
    turn: Mutex<()>,
}

#[derive(Debug, PartialEq)]
enum Way {
    /// Versions differ in nothing but their name.
    ByName,
    Asking {
        webhook: Webhook,
        /// The version of ConversionReview that it takes; `None` when we know none of those.
        review: Option<&'static str>,
    },
}

impl Way {
    fn read(doc: &Json) -> Way {
        let conversion = at(doc, &["spec", "conversion"]).unwrap_or(&Json::Null);
        if str_at(conversion, &["strategy"]) != Some("Webhook") {
            return Way::ByName;
        }
        let hook = at(conversion, &["webhook"]).unwrap_or(&Json::Null);
        let versions = items_at(hook, &["conversionReviewVersions"]).iter().filter_map(Json::as_str);
        Way::Asking {
            webhook: Webhook::read(at(hook, &["clientConfig"]).unwrap_or(&Json::Null)),
            review: versions.filter_map(review::known).next(),
        }
    }
}

/// 500 without a reason, as upstream tells of all that goes wrong between store and client.
fn failed(why: String) -> Status {
    Status::failure(500, Reason::Unknown, why)
}

/// As Go prints a group, version and kind.
fn shown(gvk: &Gvk) -> String {
    format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
}

/// What a document says that it is.
fn gvk_of(doc: &Json) -> Gvk {
    let text = |field: &str| str_at(doc, &[field]).unwrap_or_default();
    Gvk::new(text("apiVersion"), text("kind"))
}

impl Conversion {
    /// Of a definition with these schemas of its versions. `before` is taken over when nothing changed.
    pub(super) fn read(
        doc: &Json,
        stored: &str,
        schemas: BTreeMap<String, Arc<Structural>>,
        before: Option<&Arc<Conversion>>,
    ) -> Arc<Conversion> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let way = Way::read(doc);
        let same = |before: &&Arc<Conversion>| {
            before.way == way
                && before.stored == stored
                && before.schemas.len() == schemas.len()
                && before.schemas.iter().zip(&schemas).all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
        };
        if let Some(before) = before.filter(same) {
            return before.clone();
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = str_at(doc, &["spec", "group"]).unwrap_or_default().to_string();
        Arc::new(Conversion { id, group, stored: stored.to_string(), schemas, way, turn: Mutex::new(()) })
    }

    /// Whether somebody has to be asked, so that a conversion may take time, and fail.
    pub(crate) fn asks(&self) -> bool {
        matches!(self.way, Way::Asking { .. })
    }

    /// Waits for those who want the same things at the same instant, as all watchers of a version do: the first has them
    /// converted for all. Nobody waits longer than a call takes at most.
    pub(crate) async fn turn(&self, engine: &Engine) -> Option<MutexGuard<'_, ()>> {
        match self.asks() {
            true => engine.env.timeout(CONVERSION_TIMEOUT, self.turn.lock()).await,
            false => None,
        }
    }

    /// Brings a stored document to the schema of the version that it is in: what that does not know goes, and what has a
    /// default by now gets it.
    pub(super) fn refresh(&self, doc: &mut Json) {
        if let Some(schema) = self.schemas.get(&gvk_of(doc).version) {
            schema.prune(doc);
            schema.default(doc);
        }
    }

    /// Documents in a version. Those that are in it stay as they are.
    ///
    /// # Errors
    /// 500 for a version that the definition does not have, and for a webhook that fails or answers nonsense.
    pub(crate) async fn convert(&self, engine: &Engine, mut docs: Vec<Json>, to: &str) -> Result<Vec<Json>, Status> {
        let wanted = api_version(&self.group, to);
        let Some(schema) = self.schemas.get(to) else {
            return Err(failed(format!("request to convert CR to an invalid group/version: {wanted}")));
        };
        let mut others: Vec<usize> = Vec::new();
        for (index, doc) in docs.iter().enumerate() {
            let version = str_at(doc, &["apiVersion"]).unwrap_or_default();
            if version == wanted {
                continue;
            }
            if !self.schemas.contains_key(&gvk_of(doc).version) {
                return Err(failed(format!("request to convert CR from an invalid group/version: {version}")));
            }
            others.push(index);
        }
        match &self.way {
            Way::ByName => others.iter().for_each(|index| set(&mut docs[*index], &["apiVersion"], wanted.as_str())),
            Way::Asking { webhook, review } => {
                let mut left = &others[..];
                while !left.is_empty() {
                    let (now, later) = left.split_at(call(&docs, left));
                    let asked: Vec<Json> = now.iter().map(|index| std::mem::take(&mut docs[*index])).collect();
                    let made = ask(engine, webhook, *review, asked, &wanted).await?;
                    now.iter().zip(made).for_each(|(index, made)| docs[*index] = made);
                    left = later;
                }
            }
        }
        for index in others {
            schema.prune(&mut docs[index]);
        }
        Ok(docs)
    }

    /// One document, as [`Conversion::convert`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn convert_one(&self, engine: &Engine, doc: Json, to: &str) -> Result<Json, Status> {
        let mut docs = self.convert(engine, vec![doc], to).await?;
        docs.pop().ok_or_else(|| Status::internal("a document got lost in its conversion"))
    }

    /// A document as it is stored.
    ///
    /// # Errors
    /// As [`Conversion::convert`].
    pub(crate) async fn to_stored(&self, engine: &Engine, doc: Json) -> Result<Json, Status> {
        self.convert_one(engine, doc, &self.stored).await
    }
}

/// How many of the first of `left` fit one call; one at least.
fn call(docs: &[Json], left: &[usize]) -> usize {
    let mut bytes = 0;
    let fit = left.iter().take(CONVERTED_OBJECTS).take_while(|index| {
        bytes += docs[**index].to_string().len();
        bytes <= CONVERTED_BYTES
    });
    fit.count().max(1)
}

async fn ask(
    engine: &Engine,
    webhook: &Webhook,
    review: Option<&'static str>,
    docs: Vec<Json>,
    to: &str,
) -> Result<Vec<Json>, Status> {
    let review = review.ok_or_else(|| failed("no supported conversion review versions".into()))?;
    let first = docs.first().map(gvk_of).unwrap_or_else(|| Gvk::new("", ""));
    let by = format!("conversion webhook for {}", shown(&first));
    let uid = engine.env.random_uuid();
    let wanted = Wanted { review, uid: &uid, to };
    let request = wanted.request(&docs);
    let answer = webhook.post(engine, &request, CONVERSION_TIMEOUT).await;
    let answer = answer
        .and_then(|answer| holdfast_schema::parse_json(&answer).map_err(|status| status.message().to_string()))
        .and_then(|(answer, _)| wanted.objects(answer))
        .map_err(|why| failed(format!("{by} failed: {why}")))?;
    if answer.len() != docs.len() {
        return Err(failed(format!("{by} returned {} objects, expected {}", answer.len(), docs.len())));
    }
    let many = docs.len() > 1;
    let taken = docs.iter().zip(answer).enumerate().map(|(index, (original, converted))| {
        wanted.taken(original, converted).map_err(|fault| failed(format!("{by} {}", fault.told(many, index))))
    });
    taken.collect()
}
