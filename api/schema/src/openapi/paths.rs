//! Paths of the served kinds.

use super::dialect::{Dialect, ENCODINGS};
use super::operations::{About, META, capitalised, group_name, tag};
use super::parameters::{self, ATTACH, EXEC, LIST, LOG, PORTS, PROXY};
use super::{object, path_of, schema_of};
use holdfast_core::Json;
use holdfast_kinds::{Kind, Subresource};
use serde_json::{Map, json};

/// All paths of these kinds, and the roots of these groups and versions, by path.
pub(super) fn of(dialect: Dialect, kinds: &[&Kind], groups: &[(&str, &str)]) -> Map<String, Json> {
    let mut paths: Vec<(String, Json)> = Vec::new();
    for (group, version) in groups {
        paths.push((format!("/{}/", path_of(group, version)), root(dialect, group, version)));
    }
    for kind in kinds {
        collection(dialect, kind, &mut paths);
        if kind.verbs.contains(&"get") {
            item(dialect, kind, &mut paths);
        }
        // Custom kinds answer there too, and upstream does not say so.
        if kind.verbs.contains(&"watch") && kind.custom.is_none() {
            watches(dialect, kind, &mut paths);
        }
        for sub in kind.subresources {
            let path = format!("{}/{{name}}/{}", base(kind, ""), sub.name);
            if sub.name == "proxy" {
                paths.push((format!("{path}/{{path}}"), proxy(dialect, kind, sub, true)));
                paths.push((path, proxy(dialect, kind, sub, false)));
            } else {
                paths.push((path, subresource(dialect, kind, sub)));
            }
        }
    }
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    paths.into_iter().collect()
}

/// The path of a collection, with its namespace where the kind has one. `prefix` stands behind the version.
fn base(kind: &Kind, prefix: &str) -> String {
    let namespace = if kind.namespaced { "namespaces/{namespace}/" } else { "" };
    format!("/{}/{prefix}{namespace}{}", path_of(kind.group, kind.version), kind.plural)
}

/// The list of a group's resources.
fn root(dialect: Dialect, group: &str, version: &str) -> Json {
    let mut get = object([
        ("description", "get available resources".into()),
        ("operationId", format!("get{}APIResources", group_name(group, version)).into()),
        ("tags", json!([tag(group, version)])),
    ]);
    let schema = dialect.reference(&format!("{META}APIResourceList"));
    if dialect == Dialect::V2 {
        get.insert("consumes".into(), ENCODINGS.into());
    }
    dialect.add_answers(&mut get, &schema, &[("200", "OK")], ENCODINGS);
    json!({ "get": get })
}

fn collection(dialect: Dialect, kind: &Kind, paths: &mut Vec<(String, Json)>) {
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let subject = format!("{scope}{}", kind.kind);
    let about = about(dialect, kind, &subject);
    let mut item = Map::new();
    for verb in kind.verbs {
        match *verb {
            "list" => item.insert("get".into(), about.list()),
            "create" => item.insert("post".into(), about.create()),
            "deletecollection" => item.insert("delete".into(), about.delete_collection()),
            _ => None,
        };
    }
    item.insert("parameters".into(), parameters::common(dialect, kind.kind, false, kind.namespaced).into());
    paths.push((base(kind, ""), item.into()));
    if kind.namespaced && kind.verbs.contains(&"list") {
        let subject = format!("{}ForAllNamespaces", kind.kind);
        let list = self::about(dialect, kind, &subject).list();
        let item = json!({"get": list, "parameters": parameters::common(dialect, kind.kind, false, false)});
        paths.push((format!("/{}/{}", path_of(kind.group, kind.version), kind.plural), item));
    }
}

fn item(dialect: Dialect, kind: &Kind, paths: &mut Vec<(String, Json)>) {
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let subject = format!("{scope}{}", kind.kind);
    let mut item = verbs(&about(dialect, kind, &subject), kind.verbs);
    item.insert("parameters".into(), parameters::common(dialect, kind.kind, true, kind.namespaced).into());
    paths.push((format!("{}/{{name}}", base(kind, "")), item.into()));
}

/// The paths of watches from before `watch` was a parameter of lists.
fn watches(dialect: Dialect, kind: &Kind, paths: &mut Vec<(String, Json)>) {
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let mut add = |path: String, subject: String, named: bool, namespaced: bool| {
        let get = about(dialect, kind, &subject).watch(named);
        let mut parameters = parameters::common(dialect, kind.kind, named, namespaced);
        parameters.extend(parameters::query(dialect, LIST));
        parameters.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
        paths.push((path, json!({"get": get, "parameters": parameters})));
    };
    let base = base(kind, "watch/");
    if kind.verbs.contains(&"get") {
        add(format!("{base}/{{name}}"), format!("{scope}{}", kind.kind), true, kind.namespaced);
    }
    add(base, format!("{scope}{}List", kind.kind), false, kind.namespaced);
    if kind.namespaced {
        let path = format!("/{}/watch/{}", path_of(kind.group, kind.version), kind.plural);
        add(path, format!("{}ListForAllNamespaces", kind.kind), false, false);
    }
}

/// The operations on one object or on a view of it.
fn verbs(about: &About<'_>, verbs: &[&str]) -> Map<String, Json> {
    let mut item = Map::new();
    for verb in verbs {
        match *verb {
            "get" => item.insert("get".into(), about.read()),
            "update" => item.insert("put".into(), about.replace()),
            "patch" => item.insert("patch".into(), about.patch()),
            "delete" => item.insert("delete".into(), about.delete()),
            _ => None,
        };
    }
    item
}

fn subresource(dialect: Dialect, kind: &Kind, sub: &Subresource) -> Json {
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let subject = format!("{scope}{}{}", kind.kind, capitalised(sub.name));
    let gvk = (sub.group, sub.version, sub.kind);
    // The status of a custom kind is of that kind, which no table knows.
    let schema = if gvk == (kind.group, kind.version, kind.kind) {
        kind.schema.to_string()
    } else {
        schema_of(sub.group, sub.version, sub.kind)
    };
    let about = About { dialect, kind, schema: &schema, gvk, subject: &subject };
    let (mut item, query) = match sub.name {
        "log" => (Map::from_iter([("get".to_string(), about.log())]), LOG),
        "exec" | "attach" | "portforward" => {
            let streams = [("get", "Get"), ("post", "Post")].map(|(at, name)| (at.to_string(), about.connect(name)));
            let query = match sub.name {
                "exec" => EXEC,
                "attach" => ATTACH,
                _ => PORTS,
            };
            (Map::from_iter(streams), query)
        }
        _ => {
            let mut item = verbs(&about, sub.verbs);
            if sub.verbs.contains(&"create") {
                item.insert("post".into(), about.create());
            }
            (item, &[][..])
        }
    };
    let mut common = parameters::common(dialect, sub.kind, true, kind.namespaced);
    if matches!(sub.name, "exec" | "attach" | "portforward") {
        // A stream is no document that could be indented.
        common.retain(|parameter| parameter["name"] != parameters::PRETTY.0);
    }
    common.extend(parameters::query(dialect, query));
    item.insert("parameters".into(), common.into());
    item.into()
}

/// The proxy takes every method, with a path of whatever stands behind it or without.
fn proxy(dialect: Dialect, kind: &Kind, sub: &Subresource, with_path: bool) -> Json {
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let subject = format!("{scope}{}Proxy{}", kind.kind, if with_path { "WithPath" } else { "" });
    let schema = schema_of(sub.group, sub.version, sub.kind);
    let about = About { dialect, kind, schema: &schema, gvk: (sub.group, sub.version, sub.kind), subject: &subject };
    let methods = ["Delete", "Get", "Head", "Options", "Patch", "Post", "Put"];
    let mut item: Map<String, Json> =
        methods.map(|method| (method.to_lowercase(), about.connect(method))).into_iter().collect();
    let mut parameters = parameters::common(dialect, sub.kind, true, kind.namespaced);
    parameters.retain(|parameter| parameter["name"] != parameters::PRETTY.0);
    if with_path {
        parameters.push(parameters::rest(dialect));
    }
    parameters.extend(parameters::query(dialect, PROXY));
    item.insert("parameters".into(), parameters.into());
    item.into()
}

fn about<'a>(dialect: Dialect, kind: &'a Kind, subject: &'a str) -> About<'a> {
    About { dialect, kind, schema: kind.schema, gvk: (kind.group, kind.version, kind.kind), subject }
}
