//! What expressions cost: cel-go's model (`common/cost.go`, `checker/cost.go`, `interpreter/runtimecost.go`) and
//! Kubernetes' (`library/cost.go`).

use holdfast_cel::{
    Bindings, Budget, CostEstimate, Declarations, Node, ObjectTypes, SizeEstimate, SizeEstimator, Type, Types, Value,
    compile, display,
};
use serde_json::json;
use std::sync::Arc;

/// Texts, lists and maps of variables have at most ten code points, elements or entries.
struct Tens;

impl SizeEstimator for Tens {
    fn size(&self, node: Node<'_>) -> Option<SizeEstimate> {
        let sized = matches!(node.ty, Type::String | Type::Bytes | Type::List(_) | Type::Map(_));
        (!node.path.is_empty() && sized).then_some(SizeEstimate { min: 0, max: 10 })
    }
}

fn declarations() -> Arc<Declarations> {
    let mut types = ObjectTypes::default();
    types.add("Self", [("a", Type::Int), ("s", Type::String), ("inner", Type::object("Self"))]);
    Arc::new(
        Declarations::new(Types::of(Arc::new(types)))
            .with("self", Type::object("Self"))
            .with("list", Type::list(Type::Int))
            .with("strings", Type::list(Type::String))
            .with("map", Type::map(Type::String, Type::Int))
            .with("s", Type::String)
            .with("i", Type::Int),
    )
}

/// Least, most, and what it really cost.
fn costs(source: &str) -> (u64, u64, u64) {
    let declarations = declarations();
    let program = compile(&declarations, source).unwrap_or_else(|issues| panic!("{}", display(&issues)));
    let CostEstimate { min, max } = program.cost(&Tens);
    let (this, list, strings) =
        (json!({"a": 1, "s": "0123456789", "inner": {"a": 2}}), json!([1, 2, 3]), json!(["a", "bc"]));
    let (map, text) = (json!({"k": 1, "l": 2}), json!("0123456789"));
    let mut bindings = Bindings::new(&declarations);
    for (name, value) in [("self", &this), ("list", &list), ("strings", &strings), ("map", &map), ("s", &text)] {
        bindings.set_json(name, value).unwrap();
    }
    bindings.set("i", Value::Int(1));
    let mut budget = Budget::default();
    program.evaluate(&bindings, &mut budget).unwrap_or_else(|err| panic!("{source}: {err}"));
    assert_eq!(budget.last(), budget.spent());
    (min, max, budget.last())
}

#[test]
fn costs_follow_the_model() {
    for (source, expected) in [
        ("'literal' == 'literal'", (1, 1, 1)),
        ("i", (1, 1, 1)),
        ("self.a", (2, 2, 2)),
        ("self.inner.a > 1", (4, 4, 4)),
        ("has(self.a)", (1, 1, 1)),
        ("has(self.inner.a)", (2, 2, 2)),
        ("[1, 2, 3]", (10, 10, 0)),
        ("[i, 2]", (11, 11, 11)),
        ("{'a': 1}", (30, 30, 0)),
        ("{'a': i}", (31, 31, 31)),
        ("i + 1 == 2", (3, 3, 3)),
        ("i == 1 && i == 2", (2, 4, 4)),
        ("i == 2 && i == 1", (2, 4, 2)),
        ("i == 1 || i == 2", (2, 4, 2)),
        // A branch that is a chain costs nothing for its base.
        ("i == 1 ? i : i", (3, 3, 2)),
        ("i in [1, 2]", (13, 13, 1)),
        ("i in list", (2, 12, 5)),
        ("'k' in map", (2, 2, 2)),
        ("map['k']", (2, 2, 2)),
        ("list[i]", (3, 3, 2)),
        ("s.size() > 3", (3, 3, 3)),
        ("s.startsWith('01234')", (2, 2, 2)),
        ("s.contains('0123456789a')", (1, 3, 3)),
        ("s.matches('[0-9]*')", (3, 5, 5)),
        ("s + s == ''", (2, 4, 4)),
        ("s < s", (3, 3, 3)),
        ("string(i)", (2, 2, 2)),
        ("int('1')", (1, 1, 0)),
        ("quantity('123456789012').isInteger()", (3, 3, 3)),
        ("list.sum()", (1, 11, 4)),
        ("strings.max()", (1, 21, 1)),
        ("s.lowerAscii()", (1, 2, 2)),
        ("s.replace('0', '1')", (1, 3, 3)),
        ("s.split('1')", (1, 3, 3)),
        ("s.find('[0-9]*')", (3, 5, 5)),
        ("sets.contains(list, list)", (3, 103, 12)),
        ("list.reverse()", (12, 22, 15)),
        ("list.distinct()", (12, 212, 30)),
        ("lists.range(5)", (16, 16, 16)),
        ("dyn(i)", (2, 2, 2)),
        ("url('https://a.example.com/')", (3, 3, 3)),
        ("format.dns1123Label().validate(s)", (2, 34, 18)),
    ] {
        assert_eq!(costs(source), expected, "{source}");
    }
}

#[test]
fn loops_cost_their_steps_by_the_size_of_their_range() {
    for (source, expected) in [
        // Range 1, condition 2 and step 1 + (1 + 1) a turn, result 1.
        ("list.all(x, x > 0)", (2, 52, 17)),
        // The condition negates: 3 a turn.
        ("list.exists(x, x == 3)", (2, 62, 20)),
        ("list.map(x, x)", (12, 142, 41)),
        ("list.filter(x, x > 1)", (12, 162, 34)),
        ("map.all(k, map[k] > 0)", (2, 72, 14)),
    ] {
        assert_eq!(costs(source), expected, "{source}");
    }
}

/// The same shapes as in the table of costs that upstream guards (`celcoststability_test.go`), with its numbers.
#[test]
fn costs_are_those_that_upstream_guards() {
    let mut types = ObjectTypes::default();
    let keys = holdfast_cel::ListKeys::Map(vec!["k".into()]);
    let texts = Type::map(Type::String, Type::String);
    types.add("Item", [("k", Type::String), ("v", Type::String), ("w", Type::String)]);
    types.add(
        "Self",
        [
            ("text", Type::String),
            ("enum", Type::String),
            ("ints", Type::list(Type::Int)),
            ("more", Type::list(Type::Int)),
            ("eight", Type::list(Type::Int)),
            ("map", Type::map(Type::String, Type::Int)),
            ("texts", texts),
            ("any", Type::Dyn),
            ("keyed", Type::list(Type::list_with_keys(Type::object("Item"), keys))),
            ("items", Type::list(Type::object("Item"))),
        ],
    );
    let declarations = Arc::new(Declarations::new(Types::of(Arc::new(types))).with("self", Type::object("Self")));
    let this = json!({
        "text": "Node meets 🌊", "enum": "Connected", "ints": [1, 2, 3], "more": [1, 2, 3], "any": "50%",
        "eight": [1, 2, 2, 3, 4, 4, 5, 6], "map": {"b": 1, "d": 2}, "texts": {"k1": "a", "k2": "b"},
        "keyed": [[{"k": "a", "v": "1"}, {"k": "b", "v": "2"}], [{"k": "b", "v": "2"}, {"k": "a", "v": "1"}]],
        "items": [{"k": "a1", "v": "b1"}, {"k": "a2", "v": "b2"}, {"k": "a3", "v": "b3", "w": "z"}],
    });
    for (source, cost) in [
        ("self.text.startsWith('Node')", 4),
        ("self.text.matches('^[^0-9]*$')", 8),
        ("type(self.text) == string", 4),
        ("self.text.indexOf('o') == 1", 4),
        ("self.text.replace(' ', 'x') == 'Nodexmeetsx🌊'", 7),
        ("self.text.split(' ') == ['Node', 'meets', '🌊']", 6),
        ("self.text.substring(4, 10).trim() == 'meets'", 6),
        ("self.text.lowerAscii() == self.text.lowerAscii()", 10),
        ("'%o %o %o'.format([7, 8, 9]) == '7 10 11'", 2),
        ("self.enum in ['Offline', 'Connected']", 2),
        ("1 in self.ints", 5),
        ("self.more[0] in self.ints", 8),
        ("self.ints + self.more == [1, 2, 3, 1, 2, 3]", 6),
        ("sets.contains(self.ints, [1])", 6),
        ("sets.equivalent(self.ints, [1, 2, 3])", 21),
        ("self.keyed[0] == self.keyed[1]", 7),
        ("self.keyed[0] == [self.keyed[0][1], self.keyed[0][0]]", 22),
        ("self.texts == {'k1': 'a', 'k2': 'b'}", 3),
        ("has(self.any) && has(self.ints)", 2),
        ("self.map.all(k, self.map[k] > 0)", 17),
        ("!self.map.exists(k, self.map[k] == 3)", 20),
        ("self.map.exists_one(k, self.map[k] == 2)", 14),
        ("size(self.map.filter(k, self.map[k] > 1)) == 1", 26),
        ("self.map.all(k, v, v > 0)", 13),
        ("self.map.transformMap(k, v, v > 1, v + 1).size() == 1", 14),
        ("self.map.transformMapEntry(k, v, v > 1, {k + '2': v + 1}).size() == 1", 45),
        ("self.map.transformMapEntry(k, v, {k + '2': v + 1}).size() == 2", 77),
        ("self.items.all(m, m.k.startsWith('a'))", 21),
        ("self.items.exists(m, m.k.endsWith('1'))", 13),
        ("self.items.exists_one(m, m.k == 'a3')", 15),
        ("size(self.items.filter(m, m.k == 'a1')) == 1", 27),
        ("self.items.map(m, m.v).exists(v, v == 'b1')", 55),
        ("self.items.exists(m, has(m.w) && m.w == 'z')", 21),
        ("self.items.map(m, has(m.w) && m.w == 'z', m.w).size() == 1", 25),
        ("self.eight.all(e, e > 0)", 43),
        ("type(self.any) == int ? self.any == 1 : self.any == '50%'", 7),
        ("type(self.any) == string && self.any.matches(r'^\\d+(\\.\\d+)?%$')", 10),
    ] {
        let program = compile(&declarations, source).unwrap_or_else(|issues| panic!("{}", display(&issues)));
        let mut bindings = Bindings::new(&declarations);
        bindings.set_json("self", &this).unwrap();
        let mut budget = Budget::default();
        let value = program.evaluate(&bindings, &mut budget);
        assert!(matches!(value, Ok(Value::Bool(true))), "{source}: {value:?}");
        assert_eq!(budget.last(), cost, "{source}");
    }
}

/// Estimates that upstream guards (`library/cost_test.go`, `schema/cel/compilation_test.go`), with its numbers: lists of
/// requests of three megabytes, of which an element takes two bytes.
#[test]
fn estimates_are_those_that_upstream_guards() {
    struct Largest;
    impl SizeEstimator for Largest {
        fn size(&self, node: Node<'_>) -> Option<SizeEstimate> {
            let max = match node.ty {
                Type::String => 3 * 1024 * 1024 - 2,
                Type::List(_) => (3 * 1024 * 1024 - 2) / 2,
                _ => 0,
            };
            (!node.path.is_empty()).then_some(SizeEstimate { min: 0, max })
        }
    }
    let declarations = Arc::new(
        Declarations::default()
            .with("s", Type::String)
            .with("numbers", Type::list(Type::Double))
            .with("authorizer", holdfast_cel::kubernetes::authorizer::authorizer_type()),
    );
    for (source, min, max) in [
        ("numbers.all(x, true)", 2, 4_718_591),
        ("s.contains('test')", 1, 314_574),
        ("s.startsWith('test')", 2, 2),
        ("s.matches('x')", 2, 314_574),
        ("''.matches('[a-z]([-a-z0-9]*[a-z0-9])')", 7, 7),
        ("s.matches('')", 1, 1),
        ("numbers[1] == 0.0", 2, 2),
        ("url('https://hub.example.com').getHost()", 4, 4),
        ("url('https://hub.example.com') == url('https://hub.example.com')", 7, 9),
        ("'Twenty One Characters'.lowerAscii() == 'twenty one characters'.lowerAscii()", 7, 9),
        ("strings.quote('Twenty One Characters') == strings.quote('Twenty One Characters')", 7, 11),
        ("'one two one two'.replace('', 'x')", 3, 3),
        ("'one two one two'.split(' ', 1)", 3, 3),
        ("'one two one two'.findAll('two', 1)", 2, 2),
        ("quantity('3M') == quantity('0.003G') && quantity('3000k') == quantity('3M')", 3, 6),
        ("quantity('70k').add(30).sub(quantity('5k')).sub(-1).asInteger() > 0", 7, 7),
        ("format.named('dns1123Label').value().validate('edge-01')", 34, 34),
        ("format.named('dns1123Label').value() == format.named('dns1123Label').value()", 5, 11),
        ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29),
        ("sets.equivalent([1, 2, 3], [3, 2, 1])", 39, 39),
        ("!sets.intersects([1], [2])", 23, 23),
        ("authorizer.group('g').resource('r').subresource('s').namespace('ns').name('n')", 6, 6),
        ("authorizer.path('/healthz').check('get').allowed()", 350_003, 350_003),
        (&*format!("authorizer.group('').resource('pods').fieldSelector('a={}')", "x".repeat(69)), 1821, 1821),
    ] {
        let program = compile(&declarations, source).unwrap_or_else(|issues| panic!("{}", display(&issues)));
        assert_eq!(program.cost(&Largest), CostEstimate { min, max }, "{source}");
    }
}

#[test]
fn what_upstream_leaves_to_its_clock_costs_here() {
    let declarations = Arc::new(Declarations::default().with("x", Type::Dyn).with("s", Type::String));
    let wide = json!((0..2000).map(|n| json!({"n": n, "m": [n, n]})).collect::<Vec<_>>());
    for (source, least) in [
        ("x == x", 400),
        ("[x].distinct().size() == 1", 400),
        ("x.indexOf(1) == -1", 400),
        ("(x + x).size() == 4000", 3000),
        ("x.all(y, s.matches(s))", 200_000),
    ] {
        let program = compile(&declarations, source).unwrap();
        let mut bindings = Bindings::new(&declarations);
        bindings.set_json("x", &wide).unwrap();
        bindings.set("s", Value::text("a"));
        let mut budget = Budget::default();
        assert!(matches!(program.evaluate(&bindings, &mut budget), Ok(Value::Bool(true))), "{source}");
        assert!(budget.last() > least, "{source}: {}", budget.last());
    }
}

/// A small value whose parts are shared may have very many.
#[test]
fn shared_parts_are_counted_before_they_are_compared() {
    let doubling = format!("[1]{}", ".map(a, [a, a])".repeat(60));
    let declarations = Arc::new(Declarations::default());
    for source in [
        format!("{doubling} == {doubling}"),
        format!("{doubling} in [{doubling}]"),
        format!("[{doubling}].indexOf({doubling}) == 0"),
        format!("sets.contains([{doubling}], [{doubling}])"),
        format!("[{doubling}, {doubling}].distinct().size() == 1"),
        format!("[dyn({doubling})].flatten(100).size() == 1"),
        format!("optional.of({doubling}) == optional.of({doubling})"),
    ] {
        let program = compile(&declarations, &source).unwrap_or_else(|issues| panic!("{}", display(&issues)));
        let bindings = Bindings::new(&declarations);
        // Not shown: that would take as long.
        let outcome = program.evaluate(&bindings, &mut Budget::default());
        assert!(matches!(outcome, Err(err) if err.is_over_limit()), "{source}");
    }
    let program = compile(&declarations, &doubling).unwrap();
    let bindings = Bindings::new(&declarations);
    let value = program.evaluate(&bindings, &mut Budget::default()).unwrap();
    assert_eq!(value.to_json().unwrap_err().message(), "the value has more than 1000000 parts");
    // Nor do types grow: what can be no key has no type there.
    let keys = format!("[1]{}", ".map(a, {a: a})".repeat(60));
    assert!(compile(&declarations, &keys).is_ok());
}

/// What was learnt of types is not copied for each part.
#[test]
fn compiling_takes_time_in_proportion() {
    let long = format!("[{}].size() > 0", vec!["[1] + [1]"; 8000].join(", "));
    assert!(compile(&Arc::new(Declarations::default()), &long).is_ok());
}

#[test]
fn evaluation_ends_at_the_limit() {
    let declarations = declarations();
    let program = compile(&declarations, "list.all(x, x > 0) || true").unwrap();
    let list = json!([1, 2, 3]);
    let mut bindings = Bindings::new(&declarations);
    bindings.set_json("list", &list).unwrap();
    let mut budget = Budget::new(10, 20);
    for _ in 0..2 {
        let err = program.evaluate(&bindings, &mut budget).unwrap_err();
        assert_eq!(err.message(), "operation cancelled: actual cost limit exceeded");
        assert!(err.is_over_limit());
    }
    assert!(budget.is_exhausted() && budget.spent() > 20);
    assert!(matches!(program.evaluate(&bindings, &mut Budget::new(17, 20)), Ok(Value::Bool(true))));
}

#[test]
fn nested_loops_over_unknown_sizes_have_no_upper_bound() {
    let program = compile(&declarations(), "strings.all(a, strings.all(b, a + b != s))").unwrap();
    assert_eq!(program.cost(&holdfast_cel::UnknownSizes).max, u64::MAX);
    assert!(program.cost(&Tens).max < 10_000);
}
