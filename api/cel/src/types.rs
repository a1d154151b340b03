//! Types of expressions, and who knows the fields of objects.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type as the checker sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Known at evaluation only.
    Dyn,
    /// The type of `null`.
    Null,
    /// `bool`.
    Bool,
    /// `int`, 64 bits.
    Int,
    /// `uint`, 64 bits.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.Duration`.
    Duration,
    /// A list.
    List(Arc<ListType>),
    /// A map.
    Map(Arc<MapType>),
    /// An object with named fields, by its name at the [`TypeProvider`]; also Kubernetes' own, such as
    /// `kubernetes.Quantity`.
    Object(Arc<str>),
    /// A type without fields, such as `net.IP`.
    Opaque(Arc<str>),
    /// `optional_type`.
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Option<Arc<Type>>),
    /// A variable of inference or of an overload.
    Param(u32),
    /// What an erroneous expression has; it fits everything.
    Error,
}

/// Type of a list.
#[derive(Clone, Debug)]
pub struct ListType {
    /// Type of its elements.
    pub element: Type,
    /// How its elements are told apart (`x-kubernetes-list-type`). No matter for the checker.
    pub keys: ListKeys,
}

/// `x-kubernetes-list-type`: it decides `==` and `+` of lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKeys {
    /// By position.
    #[default]
    Atomic,
    /// Each value once, in any order.
    Set,
    /// By these properties, in any order.
    Map(Vec<Box<str>>),
}

/// The checker knows no list types of schemas.
impl PartialEq for ListType {
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element
    }
}

/// Type of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct MapType {
    /// Type of its keys.
    pub key: Type,
    /// Type of its values.
    pub value: Type,
}

impl Type {
    /// A list whose elements go by position.
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(ListType { element, keys: ListKeys::Atomic }))
    }

    /// A list of a schema with `x-kubernetes-list-type`.
    pub fn list_with_keys(element: Type, keys: ListKeys) -> Type {
        Type::List(Arc::new(ListType { element, keys }))
    }

    /// A map.
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(MapType { key, value }))
    }

    /// An object of the [`TypeProvider`].
    pub fn object(name: &str) -> Type {
        Type::Object(name.into())
    }

    /// An optional value.
    pub fn optional(inner: Type) -> Type {
        Type::Optional(Arc::new(inner))
    }

    /// The type of `of`.
    pub fn type_of(of: Type) -> Type {
        Type::Type(Some(Arc::new(of)))
    }

    /// Whether it stands for anything.
    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }

    /// The name that `type(x)` has at evaluation.
    pub(crate) fn runtime_name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::List(_) => "list",
            Type::Map(_) => "map",
            Type::Object(name) | Type::Opaque(name) => name,
            Type::Optional(_) => "optional_type",
            Type::Type(_) => "type",
            Type::Param(_) | Type::Error => "!error!",
        }
    }
}

/// As cel-go writes types in its errors.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(list) => write!(f, "list({})", list.element),
            Type::Map(map) => write!(f, "map({}, {})", map.key, map.value),
            Type::Optional(inner) => write!(f, "optional_type({inner})"),
            Type::Type(Some(of)) => write!(f, "type({of})"),
            Type::Param(number) => write!(f, "_var{number}"),
            plain => f.write_str(plain.runtime_name()),
        }
    }
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its type.
    pub ty: Type,
    /// Its name in JSON, where the name in expressions is an escaped one ([`crate::names::escape`]).
    pub property: Box<str>,
}

/// Knows the fields of object types: a structural schema, an OpenAPI document.
pub trait TypeProvider: Send + Sync {
    /// Whether there is an object type of this name.
    fn has_object(&self, object: &str) -> bool;
    /// The field with this name in expressions.
    fn field(&self, object: &str, name: &str) -> Option<&Field>;
    /// The field with this name in JSON.
    fn property(&self, object: &str, property: &str) -> Option<&Field>;
    /// Whether expressions may make objects of this type, as in `Object.spec{replicas: 1}`.
    fn is_made(&self, _object: &str) -> bool {
        false
    }
    /// The type of a field of an object that expressions may make.
    fn made_field(&self, _object: &str, _field: &str) -> Option<Type> {
        None
    }
}

/// The provider of a program's object types, if it has one.
#[derive(Clone, Default)]
pub struct Types(Option<Arc<dyn TypeProvider>>);

impl Types {
    /// Without object types.
    pub const NONE: Types = Types(None);

    /// The object types of `provider`.
    pub fn of(provider: Arc<dyn TypeProvider>) -> Types {
        Types(Some(provider))
    }

    pub(crate) fn has_object(&self, object: &str) -> bool {
        self.0.as_ref().is_some_and(|p| p.has_object(object))
    }

    pub(crate) fn field(&self, object: &str, name: &str) -> Option<&Field> {
        self.0.as_ref()?.field(object, name)
    }

    pub(crate) fn property(&self, object: &str, property: &str) -> Option<&Field> {
        self.0.as_ref()?.property(object, property)
    }

    pub(crate) fn is_made(&self, object: &str) -> bool {
        self.0.as_ref().is_some_and(|p| p.is_made(object))
    }

    pub(crate) fn made_field(&self, object: &str, field: &str) -> Option<Type> {
        self.0.as_ref()?.made_field(object, field)
    }
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}

/// A table of object types.
#[derive(Clone, Debug, Default)]
pub struct ObjectTypes {
    objects: BTreeMap<Box<str>, BTreeMap<Box<str>, Field>>,
}

impl ObjectTypes {
    /// Adds an object type from properties and their types. Properties whose names cannot be written in expressions
    /// are left out, as upstream does.
    pub fn add<'p>(&mut self, object: &str, properties: impl IntoIterator<Item = (&'p str, Type)>) {
        let fields = properties.into_iter().filter_map(|(property, ty)| {
            let name = crate::names::escape(property)?;
            Some((name.into_owned().into_boxed_str(), Field { ty, property: property.into() }))
        });
        self.objects.insert(object.into(), fields.collect());
    }
}

impl TypeProvider for ObjectTypes {
    fn has_object(&self, object: &str) -> bool {
        self.objects.contains_key(object)
    }

    fn field(&self, object: &str, name: &str) -> Option<&Field> {
        self.objects.get(object)?.get(name)
    }

    fn property(&self, object: &str, property: &str) -> Option<&Field> {
        self.field(object, &crate::names::escape(property)?)
    }
}
