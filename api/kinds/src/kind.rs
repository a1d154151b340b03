//! The entry of a kind.

use crate::custom::Custom;
use holdfast_core::{Gvk, Gvr, Json, Timestamp};
use std::borrow::Cow;

/// How much of a kind the hub knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Defaulted and validated as upstream does.
    Full,
    /// Decoded against its schema and stored; no semantic validation.
    StoredOnly,
}

/// A column of a Table (`meta/v1 TableColumnDefinition`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string`, `integer`, `date`, …
    pub column_type: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    /// Explanation.
    pub description: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
}

/// A subresource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subresource {
    /// Last part of the path.
    pub name: &'static str,
    /// Group of the document that it takes and gives.
    pub group: &'static str,
    /// Version of that document.
    pub version: &'static str,
    /// Kind of that document.
    pub kind: &'static str,
    /// Verbs of discovery.
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// The `status` of a kind.
    pub(crate) const fn status(group: &'static str, kind: &'static str) -> Subresource {
        Subresource { name: "status", group, version: "v1", kind, verbs: GET_PATCH_UPDATE }
    }
}

/// `scale`, the same for every kind.
pub(crate) const SCALE: Subresource =
    Subresource { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: GET_PATCH_UPDATE };

/// An object that another one names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Its resource.
    pub gvr: Gvr,
    /// Its namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// One kind.
#[derive(Clone, Copy)]
pub struct Kind {
    /// API group; empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural, as in paths.
    pub plural: &'static str,
    /// Singular.
    pub singular: &'static str,
    /// Short names of kubectl.
    pub short_names: &'static [&'static str],
    /// Categories such as `all`.
    pub categories: &'static [&'static str],
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Verbs of discovery.
    pub verbs: &'static [&'static str],
    /// Subresources.
    pub subresources: &'static [Subresource],
    /// Name of the type in OpenAPI, for example `io.k8s.api.core.v1.Pod`.
    pub schema: &'static str,
    /// Columns of a Table.
    pub columns: &'static [Column],
    /// The cells of an object's row, for built-in kinds; see [`Kind::cells`].
    pub row: fn(&Json, Timestamp) -> Vec<Json>,
    /// Field selectors beside `metadata.name` and `metadata.namespace`.
    pub field_selectors: &'static [&'static str],
    /// The value of a selectable field, for built-in kinds; see [`Kind::value_of`].
    pub field: fn(&Json, &str) -> String,
    /// What an object names that its user needs.
    pub references: fn(&Json) -> Vec<Reference>,
    /// Whether a deletion answers with the object, as upstream's does for some kinds, instead of a Status.
    pub returns_deleted: bool,
    /// How much the hub knows of it.
    pub support: Support,
    /// There for a kind that a CustomResourceDefinition made.
    pub custom: Option<&'static Custom>,
}

impl Kind {
    /// What most kinds have in common: namespaced, all verbs, the default table, nothing to select or to
    /// reference. Entries name the rest.
    pub(crate) const BASE: Kind = Kind {
        group: "",
        version: "v1",
        kind: "",
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        namespaced: true,
        verbs: VERBS,
        subresources: &[],
        schema: "",
        columns: crate::show::DEFAULT_COLUMNS,
        row: crate::show::default_row,
        field_selectors: &[],
        field: no_field,
        references: no_references,
        returns_deleted: false,
        support: Support::Full,
        custom: None,
    };

    /// The kind of a list of its objects.
    pub fn list_kind(&self) -> Cow<'static, str> {
        match self.custom.map(|custom| custom.list_kind) {
            Some(own) if !own.is_empty() => Cow::Borrowed(own),
            _ => Cow::Owned(format!("{}List", self.kind)),
        }
    }

    /// The cells of an object's row, one for each column.
    pub fn cells(&self, doc: &Json, now: Timestamp) -> Vec<Json> {
        match self.custom {
            Some(custom) => std::iter::once(crate::show::name(doc)).chain(custom.cells(doc, now)).collect(),
            None => (self.row)(doc, now),
        }
    }

    /// The value of a selectable field; empty when unset.
    pub fn value_of(&self, doc: &Json, field: &str) -> String {
        match self.custom {
            Some(custom) => custom.field(doc, field),
            None => (self.field)(doc, field),
        }
    }

    /// Whether objects of this kind are kept; reviews are answered and forgotten, and ComponentStatus is made up.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"create") && self.verbs != CREATE
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> Gvk {
        Gvk { group: self.group.into(), version: self.version.into(), kind: self.kind.into() }
    }

    /// Group, version and resource.
    pub fn gvr(&self) -> Gvr {
        Gvr::new(self.group, self.version, self.plural)
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }
}

/// The verbs of a stored kind.
pub(crate) const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// The verbs of a kind that is only answered.
pub(crate) const CREATE: &[&str] = &["create"];
/// The verbs of a view of an object.
pub(crate) const GET_PATCH_UPDATE: &[&str] = &["get", "patch", "update"];

fn no_field(_: &Json, _: &str) -> String {
    String::new()
}

fn no_references(_: &Json) -> Vec<Reference> {
    Vec::new()
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kind({})", self.gvk())
    }
}
