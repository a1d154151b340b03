//! The package parses, and its worlds ask for and offer what is promised.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use holdfast_plugin_wit::*;
use wit_parser::{PackageId, Resolve, SourceMap, WorldItem, WorldKey};

fn resolve() -> (Resolve, PackageId) {
    let mut sources = SourceMap::new();
    for (name, text) in FILES {
        sources.push_str(name, text);
    }
    let group = sources.parse().unwrap_or_else(|(map, err)| panic!("{}", err.highlight(&map)));
    let mut resolve = Resolve::default();
    let package = resolve.push_group(group).unwrap();
    (resolve, package)
}

fn interfaces<'a>(resolve: &Resolve, items: impl Iterator<Item = (&'a WorldKey, &'a WorldItem)>) -> Vec<String> {
    let name = |(key, _): (&WorldKey, &WorldItem)| match key {
        WorldKey::Interface(id) => resolve.interfaces[*id].name.clone().unwrap(),
        WorldKey::Name(name) => name.clone(),
    };
    items.map(name).collect()
}

#[test]
fn worlds_import_and_export_what_they_promise() {
    let (resolve, package) = resolve();
    assert_eq!(resolve.packages[package].name.to_string(), PACKAGE);
    for (world, imports, exports) in [
        (CONTROLLER, ["client", "configuration", "log", "types"].as_slice(), "reconciler"),
        (ADMISSION, &["configuration", "log", "types"], "admission-handler"),
        (SCHEDULER, &["configuration", "log", "types"], "scheduling"),
    ] {
        let found = &resolve.worlds[resolve.packages[package].worlds[world]];
        let mut names = interfaces(&resolve, found.imports.iter());
        names.sort_unstable();
        assert_eq!(names, imports, "imports of {world}");
        assert_eq!(interfaces(&resolve, found.exports.iter()), [exports], "exports of {world}");
    }
    assert_eq!(resolve.packages[package].worlds.len(), 3);
}

#[test]
fn interfaces_have_their_functions() {
    let (resolve, package) = resolve();
    for (interface, functions) in [
        ("client", ["[method]watcher.next", "create", "delete", "get", "list", "patch", "update", "watch"].as_slice()),
        ("log", &["write"]),
        ("configuration", &["get"]),
        ("reconciler", &["describe", "reconcile"]),
        ("admission-handler", &["review"]),
        ("scheduling", &["filter", "score"]),
    ] {
        let id = resolve.packages[package].interfaces[interface];
        let mut names: Vec<&str> = resolve.interfaces[id].functions.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, functions, "{interface}");
    }
}
