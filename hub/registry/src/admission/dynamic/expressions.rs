//! What expressions of admission may name, and how they are compiled and evaluated.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>, and
//! `k8s.io/apiserver/pkg/admission/plugin/cel` for the texts.)
//!
//! Variables of a policy are evaluated for what an expression names of them: those behind an `||` that does not come to
//! them as well, which upstream leaves out of the cost.

use holdfast_cel::kubernetes::authorizer::{self, authorizer_type, resource_check_type};
use holdfast_cel::limits::{BUDGET, MATCH_CONDITIONS_BUDGET, PER_CALL_COST};
use holdfast_cel::{
    Bindings, Budget, Declarations, EvalError, Field, ObjectTypes, Program, Type, TypeProvider, Types, Value, compile,
    display,
};
use holdfast_core::Json;
use holdfast_core::json::{items_at, str_at};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const REQUEST: &str = "kubernetes.AdmissionRequest";
const NAMESPACE: &str = "kubernetes.Namespace";
const VARIABLES: &str = "kubernetes.variables";
/// What upstream says when all expressions together cost too much.
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

type Fields = BTreeMap<Box<str>, Field>;

/// Object types, by name. Their fields are named as they are: upstream escapes those of schemas alone.
#[derive(Default)]
struct Objects(BTreeMap<&'static str, Fields>);

impl Objects {
    fn add(&mut self, object: &'static str, fields: impl IntoIterator<Item = (&'static str, Type)>) {
        let fields = fields.into_iter().map(|(name, ty)| (name.into(), Field { ty, property: name.into() }));
        self.0.insert(object, fields.collect());
    }
}

/// The object types of every expression of admission.
static OBJECTS: LazyLock<Objects> = LazyLock::new(|| {
    let (object, text) = (Type::object, Type::String);
    let texts = || Type::list(Type::String);
    let map = || Type::map(Type::String, Type::String);
    let mut types = Objects::default();
    let (gvk, gvr) = ("kubernetes.GroupVersionKind", "kubernetes.GroupVersionResource");
    types.add(gvk, ["group", "version", "kind"].map(|field| (field, text.clone())));
    types.add(gvr, ["group", "version", "resource"].map(|field| (field, text.clone())));
    types.add(
        "kubernetes.UserInfo",
        [
            ("username", text.clone()),
            ("uid", text.clone()),
            ("groups", texts()),
            ("extra", Type::map(Type::String, texts())),
        ],
    );
    types.add(
        REQUEST,
        [
            ("kind", object(gvk)),
            ("resource", object(gvr)),
            ("subResource", text.clone()),
            ("requestKind", object(gvk)),
            ("requestResource", object(gvr)),
            ("requestSubResource", text.clone()),
            ("name", text.clone()),
            ("namespace", text.clone()),
            ("operation", text.clone()),
            ("userInfo", object("kubernetes.UserInfo")),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    );
    types.add(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text.clone()),
            ("generateName", text.clone()),
            ("namespace", text.clone()),
            ("labels", map()),
            ("annotations", map()),
            ("UID", text.clone()),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", text.clone()),
            ("finalizers", texts()),
        ],
    );
    types.add("kubernetes.NamespaceSpec", [("finalizers", texts())]);
    types.add(
        "kubernetes.NamespaceCondition",
        [
            ("status", text.clone()),
            ("type", text.clone()),
            ("lastTransitionTime", Type::Timestamp),
            ("message", text.clone()),
            ("reason", text.clone()),
        ],
    );
    let conditions = Type::list(object("kubernetes.NamespaceCondition"));
    types.add("kubernetes.NamespaceStatus", [("conditions", conditions), ("phase", text)]);
    types.add(
        NAMESPACE,
        [
            ("metadata", object("kubernetes.NamespaceMetadata")),
            ("spec", object("kubernetes.NamespaceSpec")),
            ("status", object("kubernetes.NamespaceStatus")),
        ],
    );
    types
});

/// The object that a configuration is, and those below it, after their fields: `Object.spec.template`.
const OBJECT: &str = "Object";
/// An operation of a JSON patch.
const PATCH: &str = "JSONPatch";

/// The types of every expression, and those of a policy's variables.
struct Known {
    variables: Fields,
    /// Whether the objects of patches can be made.
    patches: bool,
    /// Those of documents, where they are known.
    documents: Arc<ObjectTypes>,
}

/// What documents are, where that is known.
#[derive(Clone)]
pub(super) struct Documented {
    pub(super) object: Type,
    pub(super) params: Type,
    /// The object types of both.
    pub(super) types: Arc<ObjectTypes>,
}

impl Default for Documented {
    fn default() -> Documented {
        Documented { object: Type::Dyn, params: Type::Dyn, types: Arc::default() }
    }
}

impl TypeProvider for Known {
    fn has_object(&self, object: &str) -> bool {
        object == VARIABLES
            || OBJECTS.0.contains_key(object)
            || self.is_made(object)
            || self.documents.has_object(object)
    }

    fn field(&self, object: &str, name: &str) -> Option<&Field> {
        if object == VARIABLES {
            return self.variables.get(name);
        }
        match OBJECTS.0.get(object) {
            Some(fields) => fields.get(name),
            None => self.documents.field(object, name),
        }
    }

    fn property(&self, object: &str, property: &str) -> Option<&Field> {
        self.field(object, property)
    }

    fn is_made(&self, object: &str) -> bool {
        let below = |rest: &str| rest.is_empty() || rest.starts_with('.');
        self.patches && (object == PATCH || object.strip_prefix(OBJECT).is_some_and(below))
    }

    /// Nothing is known of the fields of objects.
    fn made_field(&self, object: &str, field: &str) -> Option<Type> {
        match (object, field) {
            (PATCH, "op" | "path" | "from") => Some(Type::String),
            (PATCH, "value") => Some(Type::Dyn),
            (PATCH, _) => None,
            _ => Some(Type::Dyn),
        }
    }
}

/// What an expression may name beside the objects and the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) params: bool,
    pub(crate) authorizer: bool,
}

impl Scope {
    /// Without variables.
    pub(crate) fn declare(self) -> Arc<Declarations> {
        self.declare_with(None, false, &Documented::default())
    }

    fn declare_with(self, variables: Option<&[Variable]>, patches: bool, documented: &Documented) -> Arc<Declarations> {
        let fields = variables.unwrap_or_default().iter().map(|variable| {
            let ty = variable.program.as_ref().map_or(Type::Dyn, |program| program.output_type().clone());
            (variable.name.clone(), Field { ty, property: variable.name.clone() })
        });
        let types =
            Types::of(Arc::new(Known { variables: fields.collect(), patches, documents: documented.types.clone() }));
        let mut declarations = Declarations::new(types)
            .with("object", documented.object.clone())
            .with("oldObject", documented.object.clone())
            .with("namespaceObject", Type::object(NAMESPACE))
            .with("request", Type::object(REQUEST));
        if self.params {
            declarations = declarations.with("params", documented.params.clone());
        }
        if self.authorizer {
            declarations = declarations
                .with("authorizer", authorizer_type())
                .with("authorizer.requestResource", resource_check_type());
        }
        if variables.is_some() {
            declarations = declarations.with("variables", Type::object(VARIABLES));
        }
        Arc::new(declarations)
    }
}

/// What an expression has to yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yields {
    Bool,
    String,
    StringOrNull,
    /// An `Object`.
    Configuration,
    /// A list of `JSONPatch`.
    Patches,
    Anything,
}

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub(crate) fn checked(declarations: &Arc<Declarations>, source: &str, yields: Yields) -> Result<Program, String> {
    let program =
        compile(declarations, source).map_err(|issues| format!("compilation failed: {}", display(&issues)))?;
    let found = program.output_type();
    let wanted = match yields {
        Yields::Bool if *found != Type::Bool => "bool",
        Yields::String if *found != Type::String => "string",
        Yields::StringOrNull if !matches!(found, Type::String | Type::Null) => "one of [string null_type]",
        Yields::Configuration if *found != Type::object(OBJECT) => "Object",
        Yields::Patches if *found != Type::list(Type::object(PATCH)) => "list(JSONPatch)",
        _ => return Ok(program),
    };
    Err(format!("must evaluate to {wanted} but got {found}"))
}

/// A variable of a policy.
#[derive(Debug)]
pub(crate) struct Variable {
    name: Box<str>,
    /// Why there is none, for whoever reads the variable.
    program: Result<Program, String>,
    /// Of which it may name those before it.
    declarations: Arc<Declarations>,
}

/// The variables of a policy, compiled in their order. Problems go to `wrong`, by the variable's number.
pub(crate) fn variables(list: &[Json], scope: Scope, wrong: impl FnMut(usize, String)) -> Vec<Variable> {
    variables_of(list, scope, &Documented::default(), wrong)
}

fn variables_of(
    list: &[Json],
    scope: Scope,
    documented: &Documented,
    mut wrong: impl FnMut(usize, String),
) -> Vec<Variable> {
    let mut variables: Vec<Variable> = Vec::new();
    for (index, variable) in list.iter().enumerate() {
        let text = |field: &str| str_at(variable, &[field]).unwrap_or_default();
        let declarations = scope.declare_with(Some(&variables), false, documented);
        let program = checked(&declarations, text("expression"), Yields::Anything);
        if let Err(why) = &program {
            wrong(index, why.clone());
        }
        variables.push(Variable { name: text("name").into(), program, declarations });
    }
    variables
}

/// What expressions of a policy may name, its variables included if it has any.
pub(crate) fn declarations(scope: Scope, variables: &[Variable]) -> Arc<Declarations> {
    scope.declare_with((!variables.is_empty()).then_some(variables), false, &Documented::default())
}

/// What the expressions of mutations may name, and make.
pub(crate) fn declarations_of_mutations(scope: Scope, variables: &[Variable]) -> Arc<Declarations> {
    scope.declare_with((!variables.is_empty()).then_some(variables), true, &Documented::default())
}

/// What the expressions of a policy may name, where it is known what documents are. A variable that is wrong is anything.
pub(super) fn declarations_of_types(scope: Scope, list: &[Json], documented: &Documented) -> Arc<Declarations> {
    let variables = variables_of(list, scope, documented, |_, _| {});
    scope.declare_with((!variables.is_empty()).then_some(&variables[..]), false, documented)
}

/// What an expression is evaluated on. `null` for what is not there.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) object: &'a Json,
    pub(crate) old: &'a Json,
    pub(crate) request: &'a Json,
    pub(crate) namespace: &'a Json,
    pub(crate) params: &'a Json,
    pub(crate) asker: Option<&'a Asker>,
}

/// Whom expressions ask about rights, and about what the request itself needs.
pub(crate) struct Asker {
    pub(crate) authorizer: Arc<dyn authorizer::Authorizer>,
    pub(crate) resource: authorizer::Resource,
}

impl<'a> Input<'a> {
    fn bind(&self, declarations: &'a Declarations) -> Result<Bindings<'a>, EvalError> {
        let mut bindings = Bindings::new(declarations);
        bindings.set_json("object", self.object)?;
        bindings.set_json("oldObject", self.old)?;
        bindings.set_json("namespaceObject", self.namespace)?;
        bindings.set_json("request", self.request)?;
        bindings.set_json("params", self.params)?;
        if let Some(Asker { authorizer, resource }) = self.asker {
            bindings.set("authorizer", Value::authorizer(authorizer.clone()));
            bindings.set("authorizer.requestResource", Value::resource_check(authorizer.clone(), resource.clone()));
        }
        Ok(bindings)
    }
}

/// Why an expression has no value.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is wrong; others can still be judged.
    Expression(String),
    /// Nothing further may be evaluated.
    OutOfBudget,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Failure::Expression(why) => why,
            Failure::OutOfBudget => OUT_OF_BUDGET,
        })
    }
}

/// An expression as it stands in its object, compiled.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) source: String,
    declarations: Arc<Declarations>,
    program: Result<Program, String>,
}

impl Compiled {
    pub(crate) fn new(declarations: &Arc<Declarations>, source: &str, yields: Yields) -> Compiled {
        let program = checked(declarations, source, yields);
        Compiled { source: source.to_string(), declarations: declarations.clone(), program }
    }
}

/// Evaluates the expressions of one policy, or one list of conditions, for one request.
pub(crate) struct Evaluation<'a> {
    input: Input<'a>,
    variables: &'a [Variable],
    values: BTreeMap<usize, Result<Value<'a>, EvalError>>,
    budget: Budget,
}

impl<'a> Evaluation<'a> {
    /// With the budget of a policy's expressions.
    pub(crate) fn new(input: Input<'a>, variables: &'a [Variable]) -> Evaluation<'a> {
        Evaluation { input, variables, values: BTreeMap::new(), budget: Budget::new(PER_CALL_COST, BUDGET) }
    }

    /// Begins anew with what may be spent; upstream counts annotations apart.
    pub(crate) fn renew_budget(&mut self) {
        self.budget = Budget::new(PER_CALL_COST, BUDGET);
    }

    /// The value of an expression.
    pub(crate) fn evaluate(&mut self, of: &'a Compiled) -> Result<Value<'a>, Failure> {
        let program = match &of.program {
            Ok(program) => program,
            Err(why) => return Err(Failure::Expression(format!("compilation error: {why}"))),
        };
        let outcome = self.run(program, &of.declarations, self.variables);
        if self.budget.is_exhausted() {
            return Err(Failure::OutOfBudget);
        }
        outcome.map_err(|err| Failure::Expression(format!("expression '{}' resulted in error: {err}", of.source)))
    }

    /// `visible` are the variables that the program may name.
    fn run(
        &mut self,
        program: &'a Program,
        declarations: &'a Declarations,
        visible: &'a [Variable],
    ) -> Result<Value<'a>, EvalError> {
        let mut bindings = self.input.bind(declarations)?;
        if !visible.is_empty() && program.uses("variables") {
            let named: Vec<&'a str> = match program.fields_of("variables") {
                Some(fields) => fields,
                None => visible.iter().map(|variable| &*variable.name).collect(),
            };
            let mut fields = Vec::with_capacity(named.len());
            for name in named {
                fields.push((name, self.variable(name, visible)));
            }
            bindings.set("variables", Value::object(VARIABLES, fields));
        }
        program.evaluate(&bindings, &mut self.budget)
    }

    /// The value of a variable: of several of one name that of the last. One sees those before it alone.
    fn variable(&mut self, name: &str, visible: &'a [Variable]) -> Result<Value<'a>, EvalError> {
        let Some(index) = visible.iter().rposition(|variable| &*variable.name == name) else {
            return Err(EvalError::new(format!("no such key: {name}")));
        };
        if let Some(known) = self.values.get(&index) {
            return known.clone();
        }
        let variable = &visible[index];
        let value = match &variable.program {
            Err(why) => Err(EvalError::new(format!("composited variable \"{name}\" fails to compile: {why}"))),
            Ok(_) if self.budget.is_exhausted() => Err(EvalError::new(OUT_OF_BUDGET)),
            Ok(program) => self
                .run(program, &variable.declarations, &visible[..index])
                .map_err(|err| EvalError::new(format!("composited variable \"{name}\" fails to evaluate: {err}"))),
        };
        self.values.insert(index, value.clone());
        value
    }
}

/// `matchConditions`.
#[derive(Debug)]
pub(crate) struct Conditions(Vec<Compiled>);

impl Conditions {
    pub(crate) fn new(of: &Json, scope: Scope) -> Conditions {
        let list = items_at(of, &["matchConditions"]);
        if list.is_empty() {
            return Conditions(Vec::new());
        }
        let declarations = scope.declare();
        let compiled = |condition: &Json| {
            let source = str_at(condition, &["expression"]).unwrap_or_default().trim();
            Compiled::new(&declarations, source, Yields::Bool)
        };
        Conditions(list.iter().map(compiled).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not decides, whatever is wrong with others.
    ///
    /// # Errors
    /// What is wrong with those that have no value.
    pub(crate) fn hold(&self, input: Input<'_>) -> Result<bool, String> {
        let mut evaluation = Evaluation::new(input, &[]);
        evaluation.budget = Budget::new(PER_CALL_COST, MATCH_CONDITIONS_BUDGET);
        let mut wrong = Vec::new();
        for condition in &self.0 {
            match evaluation.evaluate(condition) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(failure @ Failure::Expression(_)) => wrong.push(failure.to_string()),
                Err(failure @ Failure::OutOfBudget) => return Err(failure.to_string()),
            }
        }
        match &wrong[..] {
            [] => Ok(true),
            [one] => Err(one.clone()),
            _ => Err(format!("[{}]", wrong.join(", "))),
        }
    }
}
