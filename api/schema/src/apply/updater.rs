//! What a write does to an object's managers, and an apply to the object.

use super::compare::{Comparison, compare};
use super::conflict::Conflict;
use super::element::same_value;
use super::last_applied;
use super::managers::{Entry, Managers, Operation};
use super::merge::merge;
use super::named::{reconciled, with_named_fields};
use super::remove::remove;
use super::set::FieldSet;
use super::typing::Versions;
use super::walk::set_of;
use holdfast_core::json::str_at;
use holdfast_core::{Json, Timestamp};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Entries of updates that an object may have; the oldest beyond are joined, as upstream does.
const MAX_UPDATERS: usize = 10;
/// Who the joined entries are of.
const JOINED: &str = "ancient-changes";
/// Who owned the fields of an object of which nobody kept track when it was first applied to.
const BEFORE: &str = "before-first-apply";
/// The manager of `kubectl apply --server-side`, which takes over from `kubectl apply`.
const KUBECTL: &str = "kubectl";
/// The manager of a write that names none.
const UNKNOWN: &str = "unknown";

/// A write.
#[derive(Clone, Copy)]
pub struct Write<'w, V> {
    /// The versions of the kind.
    pub versions: &'w V,
    /// The version in which the documents of this write are.
    pub api_version: &'w str,
    /// Who writes; empty for nobody in particular.
    pub manager: &'w str,
    /// Through which subresource; empty for the object itself.
    pub subresource: &'w str,
    /// Fields that such a write does not change, whatever it says: nobody comes to own them by it.
    pub reset: &'w FieldSet<'w>,
    /// The wall clock.
    pub now: Timestamp,
}

/// What an apply came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Applied<'a> {
    /// The object. Where a map or list lost all that it had, null.
    pub object: Json,
    /// Its managers.
    pub managers: Managers<'a>,
}

/// Why an apply came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// Fields are others', and it was not forced.
    Conflicts(Vec<Conflict>),
    /// The documents do not fit the schema: why.
    Invalid(String),
}

impl From<String> for ApplyError {
    fn from(why: String) -> ApplyError {
        ApplyError::Invalid(why)
    }
}

static NOTHING: LazyLock<Json> = LazyLock::new(|| Json::Object(serde_json::Map::new()));

/// The managers after a write other than apply: whoever changes a field owns it, and nobody else.
///
/// # Errors
/// Why the documents cannot be compared. A write goes on nonetheless, with its managers as they were.
pub fn update<'a, V: Versions>(
    write: &Write<'_, V>,
    live: Option<&'a Json>,
    new: &'a Json,
    managers: Managers<'a>,
) -> Result<Managers<'a>, String> {
    // Of an object without managers nobody keeps track until somebody applies to it.
    if managers.is_empty() && live.is_some() {
        return Ok(managers);
    }
    updated(write, write.manager, live.unwrap_or(&NOTHING), new, managers)
}

/// The object and its managers after `config` was applied to `live` (`None`: to nothing). The applier owns all that
/// `config` says; what it said before and does not say now goes, unless it is somebody else's, too.
///
/// # Errors
/// See [`ApplyError`].
pub fn apply<'a, V: Versions>(
    write: &Write<'_, V>,
    live: Option<&'a Json>,
    config: &'a Json,
    managers: Managers<'a>,
    force: bool,
) -> Result<Applied<'a>, ApplyError> {
    let live = live.unwrap_or(&NOTHING);
    let managers = if managers.is_empty() { updated(write, BEFORE, &NOTHING, live, managers)? } else { managers };
    let mut applied = match applied(write, live, config, managers.clone(), force) {
        Err(Failure::Conflicts(found)) if write.manager == KUBECTL => take_over(write, live, config, managers, found)?,
        other => other?,
    };
    if write.manager == KUBECTL {
        last_applied::record(&mut applied.object, config);
    }
    Ok(applied)
}

/// Fields in conflict, by their managers' entries as they were.
type Conflicts<'a> = Vec<(Entry<'a>, FieldSet<'a>)>;

enum Failure<'a> {
    Conflicts(Conflicts<'a>),
    Invalid(String),
}

impl From<String> for Failure<'_> {
    fn from(why: String) -> Self {
        Failure::Invalid(why)
    }
}

impl From<Failure<'_>> for ApplyError {
    fn from(failure: Failure<'_>) -> ApplyError {
        match failure {
            Failure::Invalid(why) => ApplyError::Invalid(why),
            Failure::Conflicts(mut conflicts) => {
                conflicts.sort_by(|(a, _), (b, _)| a.identity().cmp(&b.identity()));
                let all = conflicts.iter().flat_map(|(entry, fields)| Conflict::all(entry, fields));
                ApplyError::Conflicts(all.collect())
            }
        }
    }
}

/// kubectl may take over what it applied itself, without `--server-side`, and nobody has changed since.
fn take_over<'a, V: Versions>(
    write: &Write<'_, V>,
    live: &'a Json,
    config: &'a Json,
    managers: Managers<'a>,
    conflicts: Conflicts<'a>,
) -> Result<Applied<'a>, ApplyError> {
    let last = last_applied::last_applied(live, write.api_version);
    let place = write.versions.place(write.api_version);
    let allowed = match (&last, &place) {
        (Some(last), Some(place)) => last_applied::still_applied(place, last, live),
        _ => None,
    };
    let Some(allowed) = allowed else { return Err(Failure::Conflicts(conflicts).into()) };
    let left: Conflicts<'a> = conflicts
        .into_iter()
        .map(|(entry, fields)| (entry, fields.difference(&allowed)))
        .filter(|(_, fields)| !fields.is_empty())
        .collect();
    if !left.is_empty() {
        return Err(Failure::Conflicts(left).into());
    }
    Ok(applied(write, live, config, managers, true)?)
}

/// [`update`] as `manager`.
fn updated<'a, V: Versions>(
    write: &Write<'_, V>,
    manager: &str,
    live: &'a Json,
    new: &'a Json,
    managers: Managers<'a>,
) -> Result<Managers<'a>, String> {
    let managers = with_present_schema(write.versions, managers);
    let (mut managers, taken) = match settled(write, live, new, managers, None, true) {
        Ok(settled) => settled,
        Err(Failure::Invalid(why)) => return Err(why),
        Err(Failure::Conflicts(_)) => unreachable!("a forced write has no conflicts"),
    };
    let fields = taken.difference(&SERVERS);
    if !fields.is_empty() {
        let mut entry = entry(write, manager, Operation::Update, fields);
        entry.time = Some(write.now);
        managers.join(entry);
    }
    join_oldest(&mut managers);
    Ok(managers)
}

fn applied<'a, V: Versions>(
    write: &Write<'_, V>,
    live: &'a Json,
    config: &'a Json,
    managers: Managers<'a>,
    force: bool,
) -> Result<Applied<'a>, Failure<'a>> {
    let place = write.versions.place(write.api_version).ok_or_else(|| not_served(write.api_version))?;
    let mut managers = with_present_schema(write.versions, managers);
    let merged = merge(&place, live, config)?;
    let mut entry = entry(write, write.manager, Operation::Apply, set_of(&place, config)?.without(write.reset));
    let last = managers.find(entry.identity()).map(|at| managers.entries[at].clone());
    entry.time = last.as_ref().and_then(|last| last.time);
    managers.put(entry.clone());
    let object = match last.filter(|last| !last.fields.is_empty()) {
        Some(last) => pruned(write, merged, &managers, &last)?,
        None => merged,
    };
    let (mut managers, _) = settled(write, live, &object, managers, Some(&entry), force)?;
    let changed = !same_value(live, &object);
    if let Some(at) = managers.find(entry.identity()) {
        let entry = &mut managers.entries[at];
        entry.fields = std::mem::take(&mut entry.fields).difference(&SERVERS);
        if changed {
            entry.time = Some(write.now);
        }
        if entry.fields.is_empty() {
            managers.entries.remove(at);
        }
    }
    let object = if changed { object } else { live.clone() };
    Ok(Applied { object, managers })
}

fn entry<'a, V>(write: &Write<'_, V>, manager: &str, operation: Operation, fields: FieldSet<'a>) -> Entry<'a> {
    let manager = if manager.is_empty() { UNKNOWN } else { manager };
    Entry {
        manager: Cow::Owned(manager.to_string()),
        operation,
        api_version: Cow::Owned(write.api_version.to_string()),
        subresource: Cow::Owned(write.subresource.to_string()),
        time: None,
        fields,
    }
}

fn not_served(api_version: &str) -> String {
    format!("no corresponding type for {api_version}")
}

/// Fields of the server, which nobody owns.
static SERVERS: LazyLock<FieldSet<'static>> = LazyLock::new(|| {
    let mut set = FieldSet::default();
    for field in ["apiVersion", "kind", "metadata"] {
        set.insert(&[super::Element::field(field)]);
    }
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        set.insert(&[super::Element::field("metadata"), super::Element::field(field)]);
    }
    set
});

/// Managers of versions that are not served any more are forgotten.
fn with_present_schema<'a, V: Versions>(versions: &V, managers: Managers<'a>) -> Managers<'a> {
    let entries = managers.entries.into_iter().filter_map(|mut entry| {
        let place = versions.place(&entry.api_version)?;
        entry.fields = reconciled(&entry.fields, &place);
        Some(entry)
    });
    Managers { entries: entries.collect() }
}

/// The document in another version; `None` when that is not served.
fn in_version<'d, V: Versions>(versions: &V, doc: &'d Json, api_version: &str) -> Option<Cow<'d, Json>> {
    if str_at(doc, &["apiVersion"]).is_none_or(|present| present == api_version) {
        return Some(Cow::Borrowed(doc));
    }
    versions.convert(doc, api_version).map(Cow::Owned)
}

/// What a change did in one version.
struct Changes<'d> {
    /// What is new or different.
    taken: FieldSet<'d>,
    removed: FieldSet<'d>,
}

impl<'d> Changes<'d> {
    fn of<V: Versions>(write: &Write<'_, V>, version: &str, live: &'d Json, new: &'d Json) -> Result<Self, String> {
        let place = write.versions.place(version).ok_or_else(|| not_served(version))?;
        let Comparison { removed, modified, added } = compare(&place, live, new)?.without(write.reset);
        Ok(Changes { taken: modified.union(added), removed })
    }
}

/// Takes from all managers but `own` what the change from `live` to `new` took or changed. Also tells what it took.
fn settled<'a, 'd, V: Versions>(
    write: &Write<'_, V>,
    live: &'d Json,
    new: &'d Json,
    mut managers: Managers<'a>,
    own: Option<&Entry<'a>>,
    force: bool,
) -> Result<(Managers<'a>, FieldSet<'d>), Failure<'a>> {
    let changes = Changes::of(write, write.api_version, live, new)?;
    let others: BTreeSet<Cow<'a, str>> = managers
        .entries
        .iter()
        .map(|entry| entry.api_version.clone())
        .filter(|version| *version != write.api_version)
        .collect();
    let mut converted = BTreeMap::new();
    for version in others {
        let (Some(live), Some(new)) =
            (in_version(write.versions, live, &version), in_version(write.versions, new, &version))
        else {
            managers.entries.retain(|entry| entry.api_version != version);
            continue;
        };
        converted.insert(version, (live, new));
    }
    let mut compared = BTreeMap::new();
    for (version, (live, new)) in &converted {
        compared.insert(&**version, Changes::of(write, version, live, new)?);
    }

    let mut conflicts = Vec::new();
    let mut entries = Vec::with_capacity(managers.entries.len());
    for mut entry in managers.entries {
        if own.is_none_or(|own| own.identity() != entry.identity()) {
            let changes = compared.get(&*entry.api_version).unwrap_or(&changes);
            if !force {
                let lost = entry.fields.intersection(&changes.taken);
                if !lost.is_empty() {
                    conflicts.push((entry.clone(), lost));
                }
            }
            entry.fields = entry.fields.difference(&changes.taken).difference(&changes.removed);
        }
        entries.push(entry);
    }
    if !conflicts.is_empty() {
        return Err(Failure::Conflicts(conflicts));
    }
    entries.retain(|entry| !entry.fields.is_empty());
    Ok((Managers { entries }, changes.taken))
}

/// `merged` without what the applier said the last time (`last`), does not say now, and nobody else owns.
fn pruned<V: Versions>(
    write: &Write<'_, V>,
    merged: Json,
    managers: &Managers<'_>,
    last: &Entry<'_>,
) -> Result<Json, String> {
    let versions = write.versions;
    let Some(start) = in_version(versions, &merged, &last.api_version) else { return Ok(merged) };
    let Some(place) = versions.place(&last.api_version) else { return Ok(merged) };
    let last_fields = with_named_fields(&last.fields, Some(&place));
    let mut pruned = remove(&place, &start, &last_fields);

    // What any manager owns comes back, in its own version; first in the version of `last`, as what is missing there
    // may be needed to convert.
    let mut owned: BTreeMap<(bool, &str), FieldSet<'_>> = BTreeMap::new();
    for entry in &managers.entries {
        let fields = owned.entry((entry.api_version != last.api_version, &entry.api_version)).or_default();
        *fields = std::mem::take(fields).union(entry.fields.clone());
    }
    let mut whole = start.clone().into_owned();
    for ((_, version), fields) in owned {
        let (Some(there), Some(left), Some(place)) = (
            in_version(versions, &whole, version).map(Cow::into_owned),
            in_version(versions, &pruned, version).map(Cow::into_owned),
            versions.place(version),
        ) else {
            continue;
        };
        let named = |set: &FieldSet<'_>| with_named_fields(set, Some(&place)).into_owned();
        let keep = named(&set_of(&place, &left)?).union(named(&fields));
        let gone = named(&set_of(&place, &there)?).difference(&keep);
        pruned = remove(&place, &there, &gone);
        whole = there;
    }

    // And what the applier did not own before never was its to remove.
    let Some(left) = in_version(versions, &pruned, &last.api_version) else { return Ok(start.into_owned()) };
    let named = |set: &FieldSet<'_>| with_named_fields(set, Some(&place)).into_owned();
    let gone = named(&set_of(&place, &start)?).difference(&named(&set_of(&place, &left)?));
    let object = remove(&place, &start, &gone.intersection(&last_fields));
    match in_version(versions, &object, write.api_version) {
        Some(object) => Ok(object.into_owned()),
        None => Err(not_served(write.api_version)),
    }
}

/// Joins the oldest entries of updates until there are at most [`MAX_UPDATERS`].
fn join_oldest(managers: &mut Managers<'_>) {
    let is_update = |entry: &Entry<'_>| entry.operation == Operation::Update;
    let mut count = managers.entries.iter().filter(|entry| is_update(entry)).count();
    if count <= MAX_UPDATERS {
        return;
    }
    let (mut updates, mut entries): (Vec<_>, Vec<_>) =
        std::mem::take(&mut managers.entries).into_iter().partition(is_update);
    updates.sort_by(|a, b| (a.seconds(), a.identity()).cmp(&(b.seconds(), b.identity())));
    // Of each version the first stays as it is until a second has to go.
    let mut joined: Vec<Entry<'_>> = Vec::new();
    for entry in updates {
        let same = joined.iter_mut().find(|first| first.api_version == entry.api_version);
        match same {
            Some(first) if count > MAX_UPDATERS => {
                count -= 1;
                first.manager = Cow::Borrowed(JOINED);
                first.subresource = Cow::Borrowed("");
                first.time = entry.time;
                first.fields = std::mem::take(&mut first.fields).union(entry.fields);
            }
            None if count > MAX_UPDATERS => joined.push(entry),
            _ => entries.push(entry),
        }
    }
    *managers = Managers { entries };
    // An older entry of the joined may have stayed among those that did not have to go.
    joined.into_iter().for_each(|entry| managers.join(entry));
}
