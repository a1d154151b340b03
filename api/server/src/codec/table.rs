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

    /// Appends the row of an object.
    fn row(&self, object: &Object, now: Timestamp, out: &mut Vec<u8>) {
        let cells = match self.kind {
            Some(kind) => kind.cells(&object.to_json(), now),
            None => vec![
                object.meta.name.as_str().into(),
                object.meta.creation_timestamp.map_or(Json::Null, |time| time.to_string().into()),
            ],
        };
        out.extend_from_slice(format!("{{\"cells\":{},\"object\":", Json::from(cells)).as_bytes());
        match self.include {
            IncludeObject::None => out.extend_from_slice(b"null"),
            IncludeObject::Metadata => write_partial(object, out),
            IncludeObject::Object => object.write_json(out),
        }
        out.push(b'}');
    }

    /// Appends a table as JSON.
    pub fn write<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Object>,
        metadata: &Json,
        with_columns: bool,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) {
        let columns = if with_columns { self.columns() } else { json!([]) };
        let head = format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{metadata},\"columnDefinitions\":{columns},\"rows\":"
        );
        out.extend_from_slice(head.as_bytes());
        write_list(objects, out, |object, out| self.row(object, now, out));
        out.push(b'}');
    }
}

/// Appends an object's metadata as `PartialObjectMetadata`.
pub fn write_partial(object: &Object, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    object.write_metadata(out);
    out.push(b'}');
}

/// Appends a JSON list of what `one` appends for each object.
pub fn write_list<'a>(
    objects: impl IntoIterator<Item = &'a Object>,
    out: &mut Vec<u8>,
    one: impl Fn(&'a Object, &mut Vec<u8>),
) {
    out.push(b'[');
    for (index, object) in objects.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        one(object, out);
    }
    out.push(b']');
}
