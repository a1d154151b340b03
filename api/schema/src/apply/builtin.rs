//! [`Typing`] by the schema table.

use super::typing::{Below, Standing, Structure, Typing};
use crate::facts::ListType;
use crate::table::{Named, Schema, Shape, Type};
use holdfast_core::Json;

/// A place of a document of a built-in kind.
#[derive(Clone, Copy, Debug)]
pub struct Place<'s> {
    schema: &'s Schema,
    value: Value<'s>,
    listing: ListType,
    is_atomic: bool,
}

#[derive(Clone, Copy, Debug)]
enum Value<'s> {
    Named(&'s Named),
    Typed(&'s Type),
    /// Kept as it is, as one value.
    Unknown,
}

impl Schema {
    /// The root of documents of the type `schema_name`.
    pub fn place(&self, schema_name: &str) -> Option<Place<'_>> {
        self.find(schema_name).map(|named| Place::whole(self, Value::Named(named)))
    }
}

impl<'s> Place<'s> {
    fn whole(schema: &'s Schema, value: Value<'s>) -> Place<'s> {
        Place { schema, value, listing: ListType::Untyped, is_atomic: false }
    }

    fn of_type(schema: &'s Schema, value: &'s Type) -> Place<'s> {
        let value = match value {
            Type::Named(at) => Value::Named(schema.named(*at)),
            Type::Any => Value::Unknown,
            other => Value::Typed(other),
        };
        Place::whole(schema, value)
    }
}

impl<'s> Typing for Place<'s> {
    fn structure(&self, value: Option<&Json>) -> Structure {
        let map = |is_atomic: bool| if is_atomic { Structure::AtomicMap } else { Structure::Map };
        match self.value {
            Value::Named(Named { shape: Shape::Struct(_), is_atomic, .. }) => map(*is_atomic || self.is_atomic),
            Value::Named(Named { shape: Shape::Opaque, .. }) | Value::Unknown => match value {
                Some(Json::Object(_)) => Structure::AtomicMap,
                Some(Json::Array(_)) => Structure::AtomicList,
                _ => Structure::Scalar,
            },
            Value::Typed(Type::Map(_)) => map(self.is_atomic),
            Value::Typed(Type::List(_)) => match self.listing {
                ListType::Untyped | ListType::Atomic => Structure::AtomicList,
                ListType::Set => Structure::Set,
                ListType::Map(_) | ListType::Keyed(_) => Structure::Keyed,
            },
            Value::Named(_) | Value::Typed(_) => Structure::Scalar,
        }
    }

    fn below(&self, key: &str) -> Option<Below<Place<'s>>> {
        match self.value {
            Value::Named(named) => {
                let field = named.field(key)?;
                let place = Place {
                    listing: field.listing,
                    is_atomic: field.is_atomic,
                    ..Place::of_type(self.schema, &field.value)
                };
                Some(Below { place, is_field: true })
            }
            Value::Typed(Type::Map(values)) => {
                Some(Below { place: Place::of_type(self.schema, values), is_field: false })
            }
            _ => None,
        }
    }

    fn element(&self) -> Place<'s> {
        match self.value {
            Value::Typed(Type::List(element)) => Place::of_type(self.schema, element),
            _ => Place::whole(self.schema, Value::Unknown),
        }
    }

    fn keys(&self) -> Vec<&str> {
        match self.listing {
            ListType::Map(key) => vec![key],
            ListType::Keyed(keys) => keys.to_vec(),
            _ => Vec::new(),
        }
    }

    fn key_default(&self, key: &str) -> Option<Json> {
        match self.element().value {
            Value::Named(named) => crate::facts::default(&named.name, key),
            _ => None,
        }
    }

    fn standing(&self) -> &[Standing] {
        match self.value {
            Value::Named(named) => &named.standing,
            _ => &[],
        }
    }
}
