//! Server-side apply against a slow model that knows nothing of its code: documents are flattened to a map from path to
//! value, and managers own sets of paths. What the model says is what the documentation says
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/>): an applier owns what it says; what it does not
//! say any more goes unless somebody else owns it; who changes another's value meets a conflict, or takes it over.

#![allow(clippy::unwrap_used, reason = "a test may; its helpers are not seen as tests")]

use holdfast_core::{Json, Timestamp};
use holdfast_schema::apply::{
    ApplyError, Below, FieldSet, Managers, Structure, Typing, Versions, Write, apply, update,
};
use proptest::prelude::*;
use serde_json::{Map, json};
use std::collections::{BTreeMap, BTreeSet};

/// A type of random documents.
#[derive(Clone, Debug)]
enum Ty {
    Scalar,
    Atomic,
    Struct(BTreeMap<String, Ty>),
    Map(Box<Ty>),
    Set,
    /// Elements are structs with a key `k`.
    Keyed(Box<Ty>),
}

fn ty() -> impl Strategy<Value = Ty> {
    let leaf = prop_oneof![Just(Ty::Scalar), Just(Ty::Atomic), Just(Ty::Set)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let fields = prop::collection::btree_map("[a-c]", inner.clone(), 1..4);
        prop_oneof![
            fields.clone().prop_map(Ty::Struct),
            inner.prop_map(|values| Ty::Map(Box::new(values))),
            fields.prop_map(|mut fields| {
                fields.insert("k".into(), Ty::Scalar);
                Ty::Keyed(Box::new(Ty::Struct(fields)))
            }),
        ]
    })
}

/// A root: a struct.
fn root() -> impl Strategy<Value = Ty> {
    prop::collection::btree_map("[a-d]", ty(), 1..5).prop_map(Ty::Struct)
}

/// A document of a type. `bits` choose; the same bits make the same document. Lists are not empty: Go leaves empty ones
/// out, and where one is said nonetheless it is nobody's, which makes rules of its own.
fn document(ty: &Ty, bits: &mut impl Iterator<Item = u8>) -> Json {
    let mut draw = || bits.next().unwrap_or(0);
    match ty {
        Ty::Scalar => json!(draw() % 3),
        Ty::Atomic => match draw() % 3 {
            0 => json!([draw() % 2]),
            1 => json!({"x": draw() % 2}),
            _ => json!([]),
        },
        Ty::Set => {
            let chosen = not_none(draw());
            let mut values: Vec<u8> = (0..3).filter(|value| chosen & (1 << value) != 0).collect();
            if chosen & 8 != 0 {
                values.reverse();
            }
            json!(values)
        }
        Ty::Struct(fields) => Json::Object(some(fields, &[], bits)),
        Ty::Map(values) => {
            let chosen = draw();
            let keys = ["p", "q"].iter().enumerate().filter(|(at, _)| chosen & (1 << at) != 0);
            Json::Object(keys.map(|(_, key)| ((*key).to_string(), document(values, bits))).collect())
        }
        Ty::Keyed(element) => {
            let Ty::Struct(fields) = &**element else { unreachable!("elements are structs") };
            let chosen = not_none(draw());
            let mut keys: Vec<u8> = (0..3).filter(|key| chosen & (1 << key) != 0).collect();
            if chosen & 8 != 0 {
                keys.reverse();
            }
            let item = |key: u8, bits: &mut _| {
                let mut item = some(fields, &["k"], bits);
                item.insert("k".into(), json!(key));
                Json::Object(item)
            };
            Json::Array(keys.into_iter().map(|key| item(key, bits)).collect())
        }
    }
}

fn not_none(chosen: u8) -> u8 {
    if chosen & 7 == 0 { chosen | 1 } else { chosen }
}

fn some(fields: &BTreeMap<String, Ty>, but: &[&str], bits: &mut impl Iterator<Item = u8>) -> Map<String, Json> {
    let mut map = Map::new();
    for (name, ty) in fields.iter().filter(|(name, _)| !but.contains(&name.as_str())) {
        if bits.next().unwrap_or(0) % 2 == 1 {
            map.insert(name.clone(), document(ty, bits));
        }
    }
    map
}

/// What the code under test is told of a type.
impl Typing for &Ty {
    fn structure(&self, value: Option<&Json>) -> Structure {
        match self {
            Ty::Scalar => Structure::Scalar,
            Ty::Atomic if value.is_some_and(Json::is_object) => Structure::AtomicMap,
            Ty::Atomic => Structure::AtomicList,
            Ty::Struct(_) | Ty::Map(_) => Structure::Map,
            Ty::Set => Structure::Set,
            Ty::Keyed(_) => Structure::Keyed,
        }
    }

    fn below(&self, key: &str) -> Option<Below<Self>> {
        match self {
            Ty::Struct(fields) => fields.get(key).map(|place| Below { place, is_field: true }),
            Ty::Map(place) => Some(Below { place, is_field: false }),
            _ => None,
        }
    }

    fn element(&self) -> Self {
        match self {
            Ty::Keyed(element) => element,
            _ => &Ty::Scalar,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["k"]
    }

    fn key_default(&self, _key: &str) -> Option<Json> {
        None
    }
}

struct OneVersion(Ty);

impl Versions for OneVersion {
    type Place<'s> = &'s Ty;

    fn place(&self, api_version: &str) -> Option<&Ty> {
        (api_version == "v1").then_some(&self.0)
    }

    fn convert(&self, _doc: &Json, _api_version: &str) -> Option<Json> {
        None
    }
}

type Path = Vec<String>;

/// A node of a flattened document.
#[derive(Clone, Debug, PartialEq)]
enum Flat {
    /// A scalar, or what is one value.
    Leaf(Json),
    /// A map or list with something in it.
    Full,
    /// One without.
    Empty,
}

type Doc = BTreeMap<Path, Flat>;

fn step(prefix: &[String], step: String) -> Path {
    prefix.iter().cloned().chain([step]).collect()
}

fn children(ty: &Ty, value: &Json) -> Vec<(String, Ty, Json)> {
    let fields = |map: &Map<String, Json>, ty: &dyn Fn(&str) -> Ty| -> Vec<(String, Ty, Json)> {
        map.iter().map(|(key, value)| (format!("f:{key}"), ty(key), value.clone())).collect()
    };
    match (ty, value) {
        (Ty::Struct(types), Json::Object(map)) => fields(map, &|key| types[key].clone()),
        (Ty::Map(values), Json::Object(map)) => fields(map, &|_| (**values).clone()),
        (Ty::Set, Json::Array(items)) => {
            items.iter().map(|item| (format!("v:{item}"), Ty::Scalar, item.clone())).collect()
        }
        (Ty::Keyed(element), Json::Array(items)) => {
            items.iter().map(|item| (format!("k:{{\"k\":{}}}", item["k"]), (**element).clone(), item.clone())).collect()
        }
        _ => Vec::new(),
    }
}

fn flatten(ty: &Ty, value: &Json) -> Doc {
    fn visit(ty: &Ty, value: &Json, path: &[String], out: &mut Doc) {
        let children = children(ty, value);
        let node = match ty {
            Ty::Scalar | Ty::Atomic => Flat::Leaf(value.clone()),
            _ if children.is_empty() => Flat::Empty,
            _ => Flat::Full,
        };
        out.insert(path.to_vec(), node);
        for (name, ty, value) in children {
            visit(&ty, &value, &step(path, name), out);
        }
    }
    let mut out = Doc::new();
    visit(ty, value, &[], &mut out);
    out.remove(&Vec::new());
    out
}

/// The type at a path.
fn type_at(ty: &Ty, path: &[String]) -> Ty {
    let Some((first, rest)) = path.split_first() else { return ty.clone() };
    let below = match ty {
        Ty::Struct(fields) => fields[&first[2..]].clone(),
        Ty::Map(values) => (**values).clone(),
        Ty::Keyed(element) => (**element).clone(),
        _ => Ty::Scalar,
    };
    type_at(&below, rest)
}

fn is_field(ty: &Ty, path: &[String]) -> bool {
    matches!(type_at(ty, &path[..path.len() - 1]), Ty::Struct(_))
}

/// What an applier owns of its configuration.
fn owned(ty: &Ty, config: &Doc) -> BTreeSet<Path> {
    let owns = |path: &Path, node: &Flat| {
        let is_map = matches!(type_at(ty, path), Ty::Struct(_) | Ty::Map(_));
        matches!(node, Flat::Leaf(_)) || !is_field(ty, path) || (*node == Flat::Empty && is_map)
    };
    config.iter().filter(|(path, node)| owns(path, node)).map(|(path, _)| path.clone()).collect()
}

/// A set, and the struct fields above its members: these are owned through what is in them.
fn with_fields(ty: &Ty, set: &BTreeSet<Path>) -> BTreeSet<Path> {
    let above = set.iter().flat_map(|path| (1..path.len()).map(|len| path[..len].to_vec()));
    set.iter().cloned().chain(above.filter(|path| is_field(ty, path))).collect()
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    doc: Option<Doc>,
    /// By name and operation.
    managers: BTreeMap<(String, String), BTreeSet<Path>>,
}

/// As conflicts show a path.
fn shown(path: &[String]) -> String {
    let step = |step: &String| match step.split_once(':').unwrap() {
        ("f", name) => format!(".{name}"),
        ("v", value) => format!("[={value}]"),
        (_, key) => format!("[k={}]", serde_json::from_str::<Json>(key).unwrap()["k"]),
    };
    path.iter().map(step).collect()
}

struct Changes {
    taken: BTreeSet<Path>,
    removed: BTreeSet<Path>,
}

fn changes(old: &Doc, new: &Doc) -> Changes {
    let differs = |(path, node): &(&Path, &Flat)| match (old.get(*path), node) {
        (None, _) => true,
        (Some(Flat::Leaf(old)), Flat::Leaf(new)) => old != new,
        _ => false,
    };
    Changes {
        taken: new.iter().filter(differs).map(|(path, _)| path.clone()).collect(),
        removed: old.keys().filter(|path| !new.contains_key(*path)).cloned().collect(),
    }
}

/// Marks what has nothing in it any more, and tells what that is.
fn mark_emptied(doc: &mut Doc) -> BTreeSet<Path> {
    let parents: BTreeSet<Path> = doc.keys().map(|path| path[..path.len() - 1].to_vec()).collect();
    let mut emptied = BTreeSet::new();
    for (path, node) in doc {
        if *node == Flat::Full && !parents.contains(path) {
            *node = Flat::Empty;
            emptied.insert(path.clone());
        }
    }
    emptied
}

impl Model {
    fn settle(&mut self, changes: &Changes, but: Option<&(String, String)>) {
        for (manager, set) in &mut self.managers {
            if Some(manager) != but {
                set.retain(|path| !changes.taken.contains(path) && !changes.removed.contains(path));
            }
        }
        self.managers.retain(|_, set| !set.is_empty());
    }

    fn update(&mut self, manager: &str, new: Doc) {
        let untracked = self.managers.is_empty() && self.doc.is_some();
        let old = self.doc.replace(new).unwrap_or_default();
        if untracked {
            return;
        }
        let changes = changes(&old, self.doc.as_ref().unwrap());
        self.settle(&changes, None);
        if !changes.taken.is_empty() {
            self.managers.entry((manager.into(), "Update".into())).or_default().extend(changes.taken);
        }
    }

    /// The conflicts that it met, as `manager: path`.
    fn apply(&mut self, ty: &Ty, manager: &str, config: &Doc, force: bool) -> Result<(), BTreeSet<String>> {
        let live = self.doc.clone().unwrap_or_default();
        let before = self.clone();
        if self.managers.is_empty() && !live.is_empty() {
            self.managers.insert(("before-first-apply".into(), "Update".into()), live.keys().cloned().collect());
        }
        let mut new = live.clone();
        for (path, node) in config {
            let keeps = *node == Flat::Empty && new.contains_key(path);
            if !keeps {
                new.insert(path.clone(), node.clone());
            }
        }
        let me = (manager.to_string(), "Apply".to_string());
        let last = self.managers.insert(me.clone(), owned(ty, config)).unwrap_or_default();
        let wanted: BTreeSet<Path> = self.managers.values().flatten().cloned().collect();
        let wanted = with_fields(ty, &wanted);
        let gone: Vec<Path> = with_fields(ty, &last).into_iter().filter(|path| !wanted.contains(path)).collect();
        new.retain(|path, _| !gone.iter().any(|gone| path.starts_with(gone)));
        let emptied = mark_emptied(&mut new);

        let changes = changes(&live, &new);
        let others = self.managers.iter().filter(|(other, _)| **other != me);
        let conflicts: BTreeSet<String> = others
            .flat_map(|((name, operation), set)| {
                let using = if operation == "Update" { " using v1" } else { "" };
                set.intersection(&changes.taken).map(move |path| format!("{name:?}{using}: {}", shown(path)))
            })
            .collect();
        if !force && !conflicts.is_empty() {
            *self = before;
            return Err(conflicts);
        }
        self.settle(&changes, Some(&me));
        // What the decoder does next: a field that has lost everything is not there.
        new.retain(|path, _| !(emptied.contains(path) && is_field(ty, path)));
        mark_emptied(&mut new);
        self.doc = Some(new);
        Ok(())
    }
}

/// `managedFields`, read without the code that wrote them.
fn managers_of(text: &str) -> BTreeMap<(String, String), BTreeSet<Path>> {
    fn paths(map: &Json, path: &[String], out: &mut BTreeSet<Path>) {
        let map = map.as_object().unwrap();
        if map.is_empty() || map.contains_key(".") {
            out.insert(path.to_vec());
        }
        for (key, below) in map.iter().filter(|(key, _)| *key != ".") {
            paths(below, &step(path, key.clone()), out);
        }
    }
    let entries: Vec<Json> = serde_json::from_str(text).unwrap();
    let mut managers = BTreeMap::new();
    for entry in entries {
        assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
        let mut set = BTreeSet::new();
        paths(&entry["fieldsV1"], &[], &mut set);
        let text = |field: &str| entry[field].as_str().unwrap().to_string();
        let twice = managers.insert((text("manager"), text("operation")), set);
        assert!(twice.is_none(), "a manager stands twice: {entry}");
    }
    managers
}

/// What the decoder makes of nulls: a field is not there, a value of a map is empty.
fn decoded(ty: &Ty, value: &Json) -> Json {
    let empty = |ty: &Ty| if matches!(ty, Ty::Set | Ty::Keyed(_)) { json!([]) } else { json!({}) };
    match (ty, value) {
        (Ty::Struct(types), Json::Object(map)) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.clone(), decoded(&types[key], value)))
            .collect(),
        (Ty::Map(values), Json::Object(map)) => {
            map.iter().map(|(key, value)| (key.clone(), decoded(values, value))).collect()
        }
        (Ty::Keyed(element), Json::Array(items)) => items.iter().map(|item| decoded(element, item)).collect(),
        (ty, Json::Null) => empty(ty),
        (_, value) => value.clone(),
    }
}

#[derive(Clone, Debug)]
struct Step {
    manager: &'static str,
    /// `None`: an update; else whether the apply is forced.
    apply: Option<bool>,
    bits: Vec<u8>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        prop::sample::select(vec!["ann", "bob", "cy"]),
        prop_oneof![Just(None), Just(Some(false)), Just(Some(true))],
        prop::collection::vec(any::<u8>(), 40),
    )
        .prop_map(|(manager, apply, bits)| Step { manager, apply, bits });
    prop::collection::vec(step, 1..9)
}

fn check_history(ty: Ty, steps: &[Step]) -> Result<(), TestCaseError> {
    let versions = OneVersion(ty.clone());
    let reset = FieldSet::default();
    let mut model = Model::default();
    let mut live: Option<Json> = None;
    let mut managers = String::new();
    for (at, step) in steps.iter().enumerate() {
        let doc = document(&ty, &mut step.bits.iter().copied());
        let write = Write {
            versions: &versions,
            api_version: "v1",
            manager: step.manager,
            subresource: "",
            reset: &reset,
            now: Timestamp::from_secs(at as i64),
        };
        let parsed = Managers::parse(&managers).unwrap();
        let mut text = Vec::new();
        let new = match step.apply {
            None => {
                update(&write, live.as_ref(), &doc, parsed).unwrap().write(&mut text);
                model.update(step.manager, flatten(&ty, &doc));
                doc.clone()
            }
            Some(force) => {
                let config = flatten(&ty, &doc);
                let real = apply(&write, live.as_ref(), &doc, parsed, force);
                match (model.apply(&ty, step.manager, &config, force), real) {
                    (Ok(()), Ok(applied)) => {
                        applied.managers.write(&mut text);
                        decoded(&ty, &applied.object)
                    }
                    (Err(expected), Err(ApplyError::Conflicts(found))) => {
                        let found: BTreeSet<String> =
                            found.iter().map(|found| format!("{}: {}", found.manager, found.path)).collect();
                        prop_assert_eq!(expected, found);
                        continue;
                    }
                    (expected, found) => {
                        return Err(TestCaseError::fail(format!("step {at}: {expected:?}, but {found:?}")));
                    }
                }
            }
        };
        managers = String::from_utf8(text).unwrap();
        prop_assert_eq!(&flatten(&ty, &new), model.doc.as_ref().unwrap(), "document after step {}: {}", at, new);
        prop_assert_eq!(&managers_of(&managers), &model.managers, "managers after step {}: {}", at, managers);
        live = Some(new);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_comes_out_as_the_model_says(ty in root(), steps in steps()) {
        check_history(ty, &steps)?;
    }

    /// Whoever applies the same twice changes nothing by it.
    #[test]
    fn applying_again_changes_nothing(ty in root(), first in any::<[u8; 40]>(), second in any::<[u8; 40]>()) {
        let versions = OneVersion(ty.clone());
        let reset = FieldSet::default();
        let write = |now: i64| Write {
            versions: &versions, api_version: "v1", manager: "ann", subresource: "", reset: &reset,
            now: Timestamp::from_secs(now),
        };
        let (live, config) = (document(&ty, &mut first.into_iter()), document(&ty, &mut second.into_iter()));
        let managers = update(&write(1), None, &live, Managers::default()).unwrap();
        let once = apply(&write(2), Some(&live), &config, managers, true).unwrap();
        // Of an object without managers the next apply begins to keep track.
        prop_assume!(!once.managers.is_empty());
        let object = decoded(&ty, &once.object);
        let twice = apply(&write(3), Some(&object), &config, once.managers.clone(), false).unwrap();
        prop_assert_eq!(&twice.object, &object);
        prop_assert_eq!(twice.managers, once.managers, "with their times");
    }

    /// Lists that both have are in the order of the configuration; the others keep theirs.
    #[test]
    fn lists_are_merged_in_order(live in Just(vec![0, 1, 2, 3, 4, 5]).prop_shuffle(), config in Just(vec![3, 4, 5, 6, 7]).prop_shuffle()) {
        let merged = holdfast_schema::apply::merge(&&Ty::Set, &json!(live), &json!(config)).unwrap();
        let merged: Vec<i64> = merged.as_array().unwrap().iter().map(|item| item.as_i64().unwrap()).collect();
        let only = |wanted: &dyn Fn(i64) -> bool| merged.iter().copied().filter(|item| wanted(*item)).collect::<Vec<i64>>();
        prop_assert_eq!(only(&|item| config.contains(&item)), config.clone());
        prop_assert_eq!(only(&|item| !config.contains(&item)), live.iter().copied().filter(|i| !config.contains(i)).collect::<Vec<i64>>());
        prop_assert_eq!(merged.len(), 8);
    }

    #[test]
    fn sets_survive_being_written_and_read(paths in prop::collection::vec(prop::collection::vec(0..6_u8, 1..5), 0..12)) {
        use holdfast_schema::apply::Element;
        let element = |n: &u8| match n {
            0 => Element::field("a"),
            1 => Element::field("b \"\\\u{1}ä"),
            2 => Element::Key(vec![("k".into(), json!("x\"y")), ("n".into(), json!(1))]),
            3 => Element::Value(json!("v")),
            4 => Element::Value(json!(true)),
            _ => Element::Index(7),
        };
        let paths: Vec<Vec<Element<'_>>> = paths.iter().map(|path| path.iter().map(element).collect()).collect();
        let mut set = FieldSet::default();
        paths.iter().for_each(|path| set.insert(path));
        let mut text = Vec::new();
        set.write(&mut text);
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(&FieldSet::parse(&text).unwrap(), &set, "{}", text);
        let members: BTreeSet<String> = set.paths().iter().map(|path| format!("{path:?}")).collect();
        let expected: BTreeSet<String> = paths.iter().map(|path| format!("{path:?}")).collect();
        prop_assert_eq!(members, expected);
        prop_assert!(paths.iter().all(|path| set.contains(path)));
    }
}
