//! Objects as rows of a `meta.k8s.io/v1 Table`, and as `PartialObjectMetadata`.

use super::query::Query;
use holdfast_core::{Json, Object, Status, Timestamp};
use holdfast_kinds::{Column, Kind};
use serde_json::json;

/// What a row carries of its object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// Its metadata.
    #[default]
    Metadata,
    /// All of it.
    Object,
}

impl IncludeObject {
    /// Reads `includeObject`.
    ///
    /// # Errors
    /// 400 for a word that is none.
    pub fn parse(query: &Query) -> Result<IncludeObject, Status> {
        match query.get("includeObject") {
            None | Some("Metadata") => Ok(IncludeObject::Metadata),
            Some("None") => Ok(IncludeObject::None),
            Some("Object") => Ok(IncludeObject::Object),
            Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// Columns of what no kind describes.
const FALLBACK: &[Column] = &[
    Column { name: "Name", column_type: "string", format: "name", description: "Name of the object.", priority: 0 },
    Column { name: "Created At", column_type: "date", format: "", description: "When it was created.", priority: 0 },
];

/// Makes tables of one kind.
#[derive(Clone, Copy)]
pub struct TableMaker {
    kind: Option<&'static Kind>,
    include: IncludeObject,
}

impl TableMaker {
    /// For objects of `kind`, or for anything.
    pub fn new(kind: Option<&'static Kind>, include: IncludeObject) -> TableMaker {
        TableMaker { kind: kind.filter(|kind| !kind.columns.is_empty()), include }
    }

    /// `columnDefinitions`.
    pub fn columns(&self) -> Json {
        let columns = self.kind.map_or(FALLBACK, |kind| kind.columns);
        columns
            .iter()
            .map(|column| {
                json!({"name": column.name, "type": column.column_type, "format": column.format,
                    "description": column.description, "priority": column.priority})
            })
            .collect()
    }

    /// The row of an object.
    pub fn row(&self, object: &Object, now: Timestamp) -> Json {
        let document = if self.include == IncludeObject::None { object.to_json() } else { object.to_json_whole() };
        let cells = match self.kind {
            Some(kind) => kind.cells(&document, now),
            None => vec![
                object.meta.name.as_str().into(),
                object.meta.creation_timestamp.map_or(Json::Null, |time| time.to_string().into()),
            ],
        };
        match self.include {
            IncludeObject::None => json!({"cells": cells, "object": null}),
            IncludeObject::Metadata => json!({"cells": cells, "object": partial(document)}),
            IncludeObject::Object => json!({"cells": cells, "object": document}),
        }
    }

    /// A table.
    pub fn table<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Object>,
        metadata: Json,
        with_columns: bool,
        now: Timestamp,
    ) -> Json {
        let rows: Json = objects.into_iter().map(|object| self.row(object, now)).collect();
        let columns = if with_columns { self.columns() } else { json!([]) };
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "columnDefinitions": columns, "rows": rows})
    }
}

/// A document's metadata as `PartialObjectMetadata`.
pub fn partial(mut document: Json) -> Json {
    let metadata = document.get_mut("metadata").map(Json::take).unwrap_or_default();
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
