//! Expressions: any text compiles or is refused, and what compiles is estimated and evaluated within its budget.

use anyhow::{Result, ensure};
use holdfast_cel::{
    Bindings, Budget, Declarations, ObjectTypes, Type, Types, UnknownSizes, Value, compile, normal_form,
};
use serde_json::{Value as Json, json};
use std::sync::{Arc, LazyLock};

/// The expressions of the crate's own tests are the corpus.
const SOURCES: [&str; 3] = [
    include_str!("../../../api/cel/tests/it/language.rs"),
    include_str!("../../../api/cel/tests/it/kubernetes.rs"),
    include_str!("../../../api/cel/tests/it/objects.rs"),
];
/// Shorter texts between quotes are names.
const SHORTEST: usize = 8;
/// Small, so that many inputs fit into a second.
const COST: u64 = 20_000;

static DECLARATIONS: LazyLock<Arc<Declarations>> = LazyLock::new(|| {
    let mut types = ObjectTypes::default();
    types.add(
        "Spec",
        [
            ("name", Type::String),
            ("replicas", Type::Int),
            ("list", Type::list(Type::String)),
            ("labels", Type::map(Type::String, Type::String)),
            ("inner", Type::object("Spec")),
            ("any", Type::Dyn),
        ],
    );
    let declarations = Declarations::new(Types::of(Arc::new(types)));
    Arc::new(declarations.with("self", Type::object("Spec")).with("object", Type::Dyn).with("x", Type::Int))
});
static DOCUMENT: LazyLock<Json> = LazyLock::new(|| {
    json!({"name": "näme", "replicas": 3, "list": ["a", "b"], "labels": {"k": "v"}, "inner": {"replicas": 1},
           "any": {"deep": [1, 2.5, null, {"x": true}]}})
});

/// Expressions to begin with.
pub(crate) fn corpus() -> Vec<&'static str> {
    let texts = SOURCES.iter().flat_map(|source| source.split('"'));
    texts.filter(|text| text.len() > SHORTEST && !text.contains("fn ")).collect()
}

pub(crate) fn take(input: &[u8]) -> Result<()> {
    let source = String::from_utf8_lossy(input);
    if let Ok(printed) = normal_form(&source) {
        let again =
            normal_form(&printed).map_err(|issues| anyhow::anyhow!("{printed:?} does not parse: {issues:?}"))?;
        ensure!(again == printed, "{printed:?} is printed as {again:?}");
    }
    let Ok(program) = compile(&DECLARATIONS, &source) else { return Ok(()) };
    let cost = program.cost(&UnknownSizes);
    ensure!(cost.min <= cost.max, "{source:?} costs {} at least and {} at most", cost.min, cost.max);
    let mut bindings = Bindings::new(&DECLARATIONS);
    bindings.set_json("self", &DOCUMENT)?;
    bindings.set_json("object", &DOCUMENT)?;
    bindings.set("x", Value::Int(7));
    let mut budget = Budget::new(COST, COST);
    let first = program.evaluate(&bindings, &mut budget).map(|value| value.to_json());
    let spent = budget.spent();
    let second = program.evaluate(&bindings, &mut budget).map(|value| value.to_json());
    ensure!(budget.last() == spent && first == second, "{source:?} is not the same twice");
    ensure!(first.is_err() || spent <= COST, "{source:?} cost {spent} and was not stopped");
    Ok(())
}
