//! Documents with schemas (Kubernetes' documentation, "Common Expression Language in Kubernetes", sections "Escaping" and
//! "Equality and concatenation on list types"; "Extend the Kubernetes API with CustomResourceDefinitions", section
//! "Validation rules").

use holdfast_cel::{Bindings, Budget, Declarations, ListKeys, ObjectTypes, Type, Types, Value, compile, display};
use serde_json::{Value as Json, json};
use std::sync::Arc;

fn declarations() -> Arc<Declarations> {
    let mut types = ObjectTypes::default();
    types.add("Port", [("port", Type::Int), ("protocol", Type::String), ("name", Type::String)]);
    let keys = vec!["port".into(), "protocol".into()];
    types.add(
        "Spec",
        [
            ("replicas", Type::Int),
            ("maxReplicas", Type::Int),
            ("ratio", Type::Double),
            ("name", Type::String),
            ("namespace", Type::String),
            ("x-dash", Type::String),
            ("labels", Type::map(Type::String, Type::String)),
            ("set", Type::list_with_keys(Type::String, ListKeys::Set)),
            ("list", Type::list(Type::String)),
            ("ports", Type::list_with_keys(Type::object("Port"), ListKeys::Map(keys))),
            ("when", Type::Timestamp),
            ("day", Type::Timestamp),
            ("span", Type::Duration),
            ("data", Type::Bytes),
            ("any", Type::Dyn),
            ("intOrString", Type::Dyn),
            ("inner", Type::object("Spec")),
        ],
    );
    let types = Types::of(Arc::new(types));
    let spec = Type::object("Spec");
    Arc::new(Declarations::new(types).with("self", spec.clone()).with("oldSelf", spec).with("object", Type::Dyn))
}

fn check(this: &Json, old: &Json, expressions: &[&str]) {
    let declarations = declarations();
    let mut wrong = Vec::new();
    for source in expressions {
        let program = match compile(&declarations, source) {
            Ok(program) => program,
            Err(issues) => {
                wrong.push(display(&issues));
                continue;
            }
        };
        let mut bindings = Bindings::new(&declarations);
        bindings.set_json("self", this).unwrap();
        bindings.set_json("oldSelf", old).unwrap();
        bindings.set_json("object", this).unwrap();
        match program.evaluate(&bindings, &mut Budget::default()) {
            Ok(Value::Bool(true)) => {}
            other => wrong.push(format!("{source}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rules_of_the_documentation_hold() {
    let this = json!({
        "replicas": 2, "maxReplicas": 3, "ratio": 1, "name": "web", "namespace": "ns", "x-dash": "d",
        "labels": {"a": "b", "tier": "x"}, "list": ["a", "b"], "when": "2023-01-01T00:00:00Z", "day": "2023-01-01",
        "span": "1h", "data": "aGk=", "any": {"b": [1, 2.5]}, "intOrString": "50%", "unknown": 1,
        "ports": [{"port": 80, "protocol": "TCP"}], "inner": {"replicas": 1},
    });
    check(
        &this,
        &this,
        &[
            "self.replicas <= self.maxReplicas",
            "self == oldSelf && self.inner != self",
            "self.ratio == 1.0 && type(self.ratio) == double && type(self.replicas) == int",
            "self.__namespace__ == 'ns' && self.x__dash__dash == 'd'",
            "'tier' in self.labels && self.labels.all(k, self.labels[k] != '') && self.labels.a == 'b'",
            "self.list.exists(x, x == 'b') && self.list[0] == 'a' && self.list.size() == 2",
            "has(self.name) && !has(self.set) && has(self.labels.a) && !has(self.labels.x)",
            "self.when == timestamp('2023-01-01T00:00:00Z') && self.day == self.when && self.when.getFullYear() == 2023",
            "self.span == duration('60m') && self.data == b'hi'",
            "self.any.b[0] == 1 && type(self.any.b[1]) == double && self.any.b == [dyn(1), dyn(2.5)]",
            "type(self.intOrString) == int || self.intOrString.endsWith('%')",
            "self.ports.all(p, p.port == 80) && self.ports.map(p, p.protocol) == ['TCP']",
            "self.?set.orValue([]).size() == 0 && self.?name.orValue('') == 'web'",
            "!self.inner.?labels.hasValue() && !self.?inner.labels.a.hasValue()",
            "object.spec.x == 1 || object.name == 'web'",
            "object.namespace == 'ns' || true",
            "self.name.matches('^[a-z]+$') && self.list.map(x, x + self.name) == ['aweb', 'bweb']",
            "dyn(self).replicas == 2 && dyn(self).inner.replicas == 1",
        ],
    );
}

#[test]
fn lists_with_keys_are_sets() {
    let this = json!({
        "set": ["a", "b"], "list": ["a", "b"],
        "ports": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP", "name": "u"}],
    });
    let old = json!({
        "set": ["b", "a"], "list": ["b", "a"],
        "ports": [{"port": 80, "protocol": "UDP", "name": "u"}, {"port": 80, "protocol": "TCP"}],
    });
    check(
        &this,
        &old,
        &[
            "self.set == oldSelf.set && self.list != oldSelf.list && self.ports == oldSelf.ports",
            "self.set + ['b', 'c'] == ['c', 'b', 'a'] && (self.set + ['a']).size() == 2",
            "(self.list + ['a']).size() == 3",
            "(self.ports + oldSelf.ports).size() == 2",
            "self.set.all(x, x in oldSelf.set) && self != oldSelf",
        ],
    );
}

#[test]
fn wrong_documents_and_fields_are_told() {
    let declarations = declarations();
    let issues = compile(&declarations, "self.replica > 1").unwrap_err();
    assert_eq!(display(&issues), "ERROR: <input>:1:5: undefined field 'replica'\n | self.replica > 1\n | ....^");
    let issues = compile(&declarations, "self.name > 1").unwrap_err();
    assert!(display(&issues).contains("found no matching overload for '_>_' applied to '(string, int)'"));

    let this = json!({"replicas": "x", "list": [1], "when": "never"});
    for (source, expected) in [
        ("self.replicas > 1", "invalid data, expected int, got a string"),
        ("self.list[0] == 'a'", "invalid data, expected string, got a number"),
        ("self.when == self.when", "invalid data, expected timestamp, got a string"),
        ("self.name == 'a'", "no such key: name"),
        ("oldSelf.name == 'a'", "no such attribute(s)"),
    ] {
        let program = compile(&declarations, source).unwrap();
        let mut bindings = Bindings::new(&declarations);
        bindings.set_json("self", &this).unwrap();
        let err = program.evaluate(&bindings, &mut Budget::default()).unwrap_err();
        assert_eq!(err.message(), expected, "{source}");
    }
}

#[test]
fn old_self_can_be_optional() {
    let declarations = Arc::new(Declarations::default().with("oldSelf", Type::optional(Type::Int)));
    let program = compile(&declarations, "!oldSelf.hasValue() || oldSelf.value() < 5").unwrap();
    for (old, expected) in [(json!(null), true), (json!(3), true), (json!(7), false)] {
        let mut bindings = Bindings::new(&declarations);
        bindings.set_json("oldSelf", &old).unwrap();
        let outcome = program.evaluate(&bindings, &mut Budget::default());
        assert!(matches!(outcome, Ok(Value::Bool(found)) if found == expected), "{old}: {outcome:?}");
    }
}

#[test]
fn variables_of_a_policy_are_errors_to_their_readers_only() {
    let mut types = ObjectTypes::default();
    types.add("kubernetes.variables", [("good", Type::Int), ("bad", Type::Int)]);
    let variables = Type::object("kubernetes.variables");
    let declarations = Arc::new(Declarations::new(Types::of(Arc::new(types))).with("variables", variables));
    let bad = Err(holdfast_cel::EvalError::new("composited variable \"bad\" fails to evaluate"));
    let fields = [("good", Ok(Value::Int(1))), ("bad", bad)];
    let value = Value::object("kubernetes.variables", fields);
    for (source, expected) in [
        ("variables.good == 1", Ok(true)),
        ("variables.bad == 1 || variables.good == 1", Ok(true)),
        ("has(variables.bad)", Ok(true)),
        ("variables.bad == 1", Err("composited variable \"bad\" fails to evaluate")),
    ] {
        let program = compile(&declarations, source).unwrap();
        let mut bindings = Bindings::new(&declarations);
        bindings.set("variables", value.clone());
        let outcome = program.evaluate(&bindings, &mut Budget::default());
        match (&outcome, expected) {
            (Ok(Value::Bool(found)), Ok(wanted)) if *found == wanted => {}
            (Err(err), Err(text)) if err.message() == text => {}
            _ => panic!("{source}: {outcome:?}"),
        }
    }
}

#[test]
fn a_program_tells_type_and_fields() {
    let declarations = declarations();
    let program = compile(&declarations, "self.list.map(x, x.size() + self.replicas)").unwrap();
    assert_eq!(program.output_type(), &Type::list(Type::Int));
    assert_eq!(program.fields_of("self"), Some(vec!["list", "replicas"]));
    assert_eq!(compile(&declarations, "[self].size()").unwrap().fields_of("self"), None);
    assert!(program.uses("self") && !program.uses("oldSelf"));
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&program);
}
