//! Objects that expressions make, for patches
//! (<https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>).

use holdfast_cel::{Bindings, Budget, Declarations, Field, Type, TypeProvider, Types, compile, display};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// `Object` and what is below it take any field, `Patch` two.
struct Made;

impl TypeProvider for Made {
    fn has_object(&self, object: &str) -> bool {
        self.is_made(object)
    }

    fn field(&self, _: &str, _: &str) -> Option<&Field> {
        None
    }

    fn property(&self, _: &str, _: &str) -> Option<&Field> {
        None
    }

    fn is_made(&self, object: &str) -> bool {
        matches!(object, "Object" | "JSONPatch") || object.starts_with("Object.")
    }

    fn made_field(&self, object: &str, field: &str) -> Option<Type> {
        match (object, field) {
            ("JSONPatch", "op" | "path" | "from") => Some(Type::String),
            ("JSONPatch", "value") => Some(Type::Dyn),
            ("JSONPatch", _) => None,
            _ => Some(Type::Dyn),
        }
    }
}

/// The type and the value of an expression, its names checked; or what is wrong with it.
fn made(source: &str) -> Result<(String, Json), String> {
    let declarations = Arc::new(Declarations::new(Types::of(Arc::new(Made))).with("object", Type::Dyn));
    let program = compile(&declarations, source).map_err(|issues| display(&issues))?;
    let doc = json!({ "spec": { "replicas": 2 } });
    let mut bindings = Bindings::new(&declarations);
    bindings.set_json("object", &doc).unwrap();
    let mut budget = Budget::default();
    let value = program.evaluate(&bindings, &mut budget).map_err(|err| err.to_string())?;
    let json = value.to_json().map_err(|err| err.to_string())?;
    value.check_names()?;
    Ok((program.output_type().to_string(), json))
}

#[test]
fn objects_are_made_of_any_fields() {
    let source = "Object{spec: Object.spec{replicas: object.spec.replicas + 1, ?paused: optional.none(),
        template: Object.spec.template{labels: {'a': 'b'}}, list: [Object.spec.list{name: 'x'}]}}";
    let doc = json!({ "spec": { "replicas": 3, "template": { "labels": { "a": "b" } }, "list": [{ "name": "x" }] } });
    assert_eq!(made(source).unwrap(), ("Object".into(), doc));
    assert_eq!(made("Object{}").unwrap(), ("Object".into(), json!({})));
    let some = made("Object{a: true ? Object.a{?b: optional.of(1)} : Object.a{}}").unwrap();
    assert_eq!(some.1, json!({ "a": { "b": 1 } }));
    assert_eq!(made("Object{a: 1}.a == 1 && has(Object{a: 1}.a) && !has(Object{}.a)").unwrap().1, json!(true));
}

#[test]
fn patches_are_lists_of_operations() {
    let source = "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a.b/c~d'),
        value: Object.metadata.labels{x: 'y'}}] + (has(object.spec) ? [JSONPatch{op: 'remove', path: '/spec'}] : [])";
    let patch = json!([
        { "op": "add", "path": "/metadata/labels/a.b~1c~0d", "value": { "x": "y" } },
        { "op": "remove", "path": "/spec" },
    ]);
    assert_eq!(made(source).unwrap(), ("list(JSONPatch)".into(), patch));
}

#[test]
fn what_cannot_be_made_is_told() {
    for (source, text) in [
        ("Other{a: 1}", "undeclared reference to 'Other' (in container '')"),
        ("Object.spec{a: nothing}", "undeclared reference to 'nothing' (in container '')"),
        ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
        ("JSONPatch{verb: 'add'}", "undefined field 'verb'"),
        ("Object{?a: 1}", "expected type 'optional_type(int)' but found 'int'"),
    ] {
        let wrong = made(source).unwrap_err();
        assert!(wrong.contains(text), "{source}: {wrong}");
    }
    assert_eq!(
        made("Object{spec: Object.wrong{}}").unwrap_err(),
        "unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name path from root Object type"
    );
    let plain = Arc::new(Declarations::default());
    for source in ["Object{}", "jsonpatch.escapeKey('a')"] {
        assert!(display(&compile(&plain, source).unwrap_err()).contains("undeclared reference to"), "{source}");
    }
}
