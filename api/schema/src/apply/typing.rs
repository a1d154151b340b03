//! What a schema has to tell of the places of a document, and how list elements are told apart by it.

use holdfast_core::Json;
use std::sync::LazyLock;

/// How the value of a place belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// One value.
    Scalar,
    /// A list that is one value.
    AtomicList,
    /// A map that is one value.
    AtomicMap,
    /// A list of values that stand once each.
    Set,
    /// A list of maps that are told apart by [`Typing::keys`].
    Keyed,
    /// A map or struct whose values are owned one by one.
    Map,
}

/// What lies under a key of a map.
#[derive(Clone, Debug)]
pub struct Below<T> {
    /// Its place.
    pub place: T,
    /// Whether the schema names it, as it does the fields of a struct.
    pub is_field: bool,
}

/// The type at a place of a document: a handle that borrows from its schema, or owns what it needs.
pub trait Typing: Clone {
    /// How the value of this place belongs together. A place of which the schema knows nothing judges by the value;
    /// `None` then stands for [`Structure::Scalar`].
    fn structure(&self, value: Option<&Json>) -> Structure;

    /// What lies under `key` of this map; `None` when the schema knows no such key.
    fn below(&self, key: &str) -> Option<Below<Self>>;

    /// The elements of this list.
    fn element(&self) -> Self;

    /// What tells the elements of this keyed list apart.
    fn keys(&self) -> Vec<&str>;

    /// What the key field `key` of an element of this list is when the element does not say.
    fn key_default(&self, key: &str) -> Option<Json>;

    /// Fields that each value of this struct has whether it says so or not: upstream's Go types have no other way.
    /// They come and go with the struct only.
    fn standing(&self) -> &[Standing] {
        &[]
    }
}

/// A field that is always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: Box<str>,
    /// What it is when nothing is said.
    pub value: Zero,
}

/// The zero value of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// A struct whose fields are zero.
    Struct,
    /// A list or map that is not there.
    Null,
    /// The empty text.
    Text,
    /// 0.
    Number,
    /// `false`.
    Bool,
    /// The quantity 0, which is text.
    Quantity,
}

impl Zero {
    /// The value itself.
    pub fn json(self) -> &'static Json {
        static STRUCT: LazyLock<Json> = LazyLock::new(|| Json::Object(serde_json::Map::new()));
        static TEXT: Json = Json::String(String::new());
        static QUANTITY: LazyLock<Json> = LazyLock::new(|| Json::from("0"));
        static NUMBER: LazyLock<Json> = LazyLock::new(|| Json::from(0));
        match self {
            Zero::Struct => &STRUCT,
            Zero::Null => &Json::Null,
            Zero::Text => &TEXT,
            Zero::Number => &NUMBER,
            Zero::Bool => &Json::Bool(false),
            Zero::Quantity => &QUANTITY,
        }
    }
}

/// The versions of a kind. A manager's fields are paths in the version in which it wrote.
pub trait Versions {
    /// The handles of this kind's schemas.
    type Place<'s>: Typing
    where
        Self: 's;

    /// The root of an `apiVersion`; `None` when it is not served (any more).
    fn place(&self, api_version: &str) -> Option<Self::Place<'_>>;

    /// A document (its `apiVersion` says in which version it is) in another version; `None` when that is not served.
    fn convert(&self, doc: &Json, api_version: &str) -> Option<Json>;
}
