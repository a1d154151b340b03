//! Operations: what each verb takes and gives.

use super::dialect::{
    CUSTOM_ENCODINGS, CUSTOM_PATCHES, CUSTOM_WATCH_ENCODINGS, Dialect, ENCODINGS, PATCHES, WATCH_ENCODINGS,
};
use super::object;
use super::parameters::{self, DELETE, FORCE, LIST, SELECT, WRITE};
use holdfast_core::Json;
use holdfast_kinds::Kind;
use serde_json::{Map, json};

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");

/// What an operation is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) dialect: Dialect,
    pub(super) kind: &'a Kind,
    /// Type of the document, and its group, version and kind: those of a subresource where there is one.
    pub(super) schema: &'a str,
    pub(super) gvk: (&'a str, &'a str, &'a str),
    /// `Namespaced` or empty, the kind, and the subresource: the end of an operation's name.
    pub(super) subject: &'a str,
}

impl About<'_> {
    /// `create`, `CoreV1`, `NamespacedPod`.
    fn id(&self, verb: &str, infix: &str) -> String {
        format!("{verb}{}{infix}{}", group_name(self.kind.group, self.kind.version), self.subject)
    }

    fn start(
        &self,
        verb: &str,
        infix: &str,
        action: &str,
        description: &str,
        parameters: Vec<Json>,
    ) -> Map<String, Json> {
        let (group, version, kind) = self.gvk;
        let mut operation = object([
            ("description", format!("{description} {}", self.kind.kind).into()),
            ("operationId", self.id(verb, infix).into()),
            ("tags", json!([tag(self.kind.group, self.kind.version)])),
            ("x-kubernetes-action", action.into()),
            ("x-kubernetes-group-version-kind", json!({"group": group, "version": version, "kind": kind})),
        ]);
        if !parameters.is_empty() {
            operation.insert("parameters".into(), parameters.into());
        }
        operation
    }

    fn answer(&self, operation: &mut Map<String, Json>, schema: &str, codes: &[(&str, &str)]) {
        let media = if self.kind.custom.is_some() { CUSTOM_ENCODINGS } else { ENCODINGS };
        self.dialect.add_answers(operation, &self.dialect.reference(schema), codes, media);
    }

    pub(super) fn list(&self) -> Json {
        let parameters = parameters::query(self.dialect, LIST);
        let operation = self.start("list", "", "list", "list or watch objects of kind", parameters);
        self.answer_watched(operation, &format!("{}List", self.schema))
    }

    /// A watch by the old path, of one object or of a list. Its parameters stand with the path.
    pub(super) fn watch(&self, named: bool) -> Json {
        let (action, description) = if named {
            ("watch", "deprecated form of a list with watch and fieldSelector=metadata.name: watch one object of kind")
        } else {
            ("watchlist", "deprecated form of a list with watch: watch objects of kind")
        };
        let operation = self.start("watch", "", action, description, Vec::new());
        self.answer_watched(operation, &format!("{META}WatchEvent"))
    }

    fn answer_watched(&self, mut operation: Map<String, Json>, schema: &str) -> Json {
        let media = if self.kind.custom.is_some() { CUSTOM_WATCH_ENCODINGS } else { WATCH_ENCODINGS };
        self.dialect.add_answers(&mut operation, &self.dialect.reference(schema), &[OK], media);
        operation.into()
    }

    pub(super) fn create(&self) -> Json {
        let parameters = parameters::query(self.dialect, WRITE);
        let mut operation = self.start("create", "", "post", "create", parameters);
        self.dialect.add_body(&mut operation, self.schema, &["*/*"], true);
        self.answer(&mut operation, self.schema, &[OK, CREATED, ACCEPTED]);
        operation.into()
    }

    pub(super) fn delete_collection(&self) -> Json {
        let selection = LIST.iter().filter(|(name, ..)| SELECT.contains(name));
        let parameters = parameters::query(self.dialect, DELETE.iter().chain(selection));
        let mut operation = self.start("delete", "Collection", "deletecollection", "delete collection of", parameters);
        self.dialect.add_body(&mut operation, &format!("{META}DeleteOptions"), &["*/*"], false);
        self.answer(&mut operation, &format!("{META}Status"), &[OK]);
        operation.into()
    }

    pub(super) fn read(&self) -> Json {
        let mut operation = self.start("read", "", "get", "read the specified", Vec::new());
        self.answer(&mut operation, self.schema, &[OK]);
        operation.into()
    }

    pub(super) fn replace(&self) -> Json {
        let parameters = parameters::query(self.dialect, WRITE);
        let mut operation = self.start("replace", "", "put", "replace the specified", parameters);
        self.dialect.add_body(&mut operation, self.schema, &["*/*"], true);
        self.answer(&mut operation, self.schema, &[OK, CREATED]);
        operation.into()
    }

    pub(super) fn patch(&self) -> Json {
        let parameters = parameters::query(self.dialect, WRITE.iter().chain([&FORCE]));
        let mut operation = self.start("patch", "", "patch", "partially update the specified", parameters);
        let media = if self.kind.custom.is_some() { CUSTOM_PATCHES } else { PATCHES };
        self.dialect.add_body(&mut operation, &format!("{META}Patch"), media, true);
        self.answer(&mut operation, self.schema, &[OK, CREATED]);
        operation.into()
    }

    pub(super) fn delete(&self) -> Json {
        let parameters = parameters::query(self.dialect, DELETE);
        let mut operation = self.start("delete", "", "delete", "delete", parameters);
        self.dialect.add_body(&mut operation, &format!("{META}DeleteOptions"), &["*/*"], false);
        self.answer(&mut operation, &self.deleted(), &[OK, ACCEPTED]);
        operation.into()
    }

    /// What a deletion answers with.
    fn deleted(&self) -> String {
        if self.kind.returns_deleted { self.schema.to_string() } else { format!("{META}Status") }
    }

    /// A stream: `get` or `create` of exec and attach. `method` is `Get` or `Post`.
    pub(super) fn connect(&self, method: &str) -> Json {
        let description = format!("connect {} requests to {} of", method.to_uppercase(), self.subject);
        let mut operation = self.start("connect", method, "connect", &description, Vec::new());
        self.dialect.add_answers(&mut operation, &json!({"type": "string"}), &[OK], &["*/*"]);
        operation.into()
    }

    /// The log of a pod.
    pub(super) fn log(&self) -> Json {
        let mut operation = self.start("read", "", "get", "read log of the specified", Vec::new());
        let media = ["text/plain", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
        self.dialect.add_answers(&mut operation, &json!({"type": "string"}), &[OK], &media);
        operation.into()
    }
}

/// `CoreV1`, `RbacAuthorizationV1`.
pub(super) fn group_name(group: &str, version: &str) -> String {
    let words = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    words.split('.').chain([version]).map(capitalised).collect()
}

/// `core_v1`, `rbacAuthorization_v1`.
pub(super) fn tag(group: &str, version: &str) -> String {
    let name = group_name(group, "");
    let mut letters = name.chars();
    let first = letters.next().map(|c| c.to_ascii_lowercase()).into_iter();
    format!("{}_{version}", first.chain(letters).collect::<String>())
}

/// With its first letter as a capital.
pub(super) fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect()
}
