//! [`Typing`] by a structural schema, and places of documents whose kind may be of either sort.

use super::{Additional, NodeList, NodeType, Structural};
use crate::apply::{Below, Place, Standing, Structure, Typing};
use holdfast_core::Json;

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A place of a document of a built-in or of a custom kind.
#[derive(Clone, Copy, Debug)]
pub enum AnyPlace<'s> {
    /// Of a type of the table.
    BuiltIn(Place<'static>),
    /// A whole object of a custom kind, or one embedded in it.
    Object(&'s Structural),
    /// A part of one.
    Part(&'s Structural),
    /// Where a schema says that it does not know: told by the value, as upstream's deduced types are.
    Open,
    /// Text that every object has.
    Text,
}

impl<'s> AnyPlace<'s> {
    fn of(schema: &'s Structural) -> AnyPlace<'s> {
        if schema.embedded { AnyPlace::Object(schema) } else { AnyPlace::Part(schema) }
    }

    fn schema(&self) -> Option<&'s Structural> {
        match *self {
            AnyPlace::Object(schema) | AnyPlace::Part(schema) => Some(schema),
            _ => None,
        }
    }
}

fn deduced(value: Option<&Json>) -> Structure {
    match value {
        Some(Json::Object(_)) => Structure::Map,
        Some(Json::Array(_)) => Structure::AtomicList,
        _ => Structure::Scalar,
    }
}

impl<'s> Typing for AnyPlace<'s> {
    fn structure(&self, value: Option<&Json>) -> Structure {
        let schema = match self {
            AnyPlace::BuiltIn(place) => return place.structure(value),
            AnyPlace::Object(schema) | AnyPlace::Part(schema) => schema,
            AnyPlace::Open => return deduced(value),
            AnyPlace::Text => return Structure::Scalar,
        };
        match (schema.node_type, &schema.list) {
            (Some(NodeType::Object), _) if schema.atomic => Structure::AtomicMap,
            (Some(NodeType::Object), _) => Structure::Map,
            (Some(NodeType::Array), NodeList::Atomic) => Structure::AtomicList,
            (Some(NodeType::Array), NodeList::Set) => Structure::Set,
            (Some(NodeType::Array), NodeList::Map(_)) => Structure::Keyed,
            (Some(_), _) => Structure::Scalar,
            (None, _) => deduced(value),
        }
    }

    fn below(&self, key: &str) -> Option<Below<AnyPlace<'s>>> {
        let field = |place| Some(Below { place, is_field: true });
        match self {
            AnyPlace::BuiltIn(place) => {
                let Below { place, is_field } = place.below(key)?;
                return Some(Below { place: AnyPlace::BuiltIn(place), is_field });
            }
            AnyPlace::Object(_) => match key {
                "apiVersion" | "kind" => return field(AnyPlace::Text),
                "metadata" => {
                    return crate::builtin().place(METADATA).and_then(|place| field(AnyPlace::BuiltIn(place)));
                }
                _ => {}
            },
            AnyPlace::Part(_) => {}
            AnyPlace::Open => return Some(Below { place: AnyPlace::Open, is_field: false }),
            AnyPlace::Text => return None,
        }
        let schema = self.schema()?;
        if let Some(named) = schema.properties.get(key) {
            return field(AnyPlace::of(named));
        }
        let place = match &schema.additional {
            Additional::Values(values) => AnyPlace::of(values),
            Additional::Any => AnyPlace::Open,
            Additional::None if schema.preserve_unknown || schema.node_type.is_none() => AnyPlace::Open,
            Additional::None => return None,
        };
        Some(Below { place, is_field: false })
    }

    fn element(&self) -> AnyPlace<'s> {
        match self {
            AnyPlace::BuiltIn(place) => AnyPlace::BuiltIn(place.element()),
            _ => self.schema().and_then(|schema| schema.items.as_deref()).map_or(AnyPlace::Open, AnyPlace::of),
        }
    }

    fn keys(&self) -> Vec<&str> {
        match self {
            AnyPlace::BuiltIn(place) => place.keys(),
            AnyPlace::Object(schema) | AnyPlace::Part(schema) => match &schema.list {
                NodeList::Map(keys) => keys.iter().map(String::as_str).collect(),
                _ => Vec::new(),
            },
            AnyPlace::Open | AnyPlace::Text => Vec::new(),
        }
    }

    fn key_default(&self, key: &str) -> Option<Json> {
        match self {
            AnyPlace::BuiltIn(place) => place.key_default(key),
            _ => self.schema()?.items.as_ref()?.properties.get(key)?.default.clone(),
        }
    }

    fn standing(&self) -> &[Standing] {
        match self {
            AnyPlace::BuiltIn(place) => place.standing(),
            _ => &[],
        }
    }
}
