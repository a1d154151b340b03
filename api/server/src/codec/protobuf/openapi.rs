//! OpenAPI documents as gnostic's messages, which clients older than OpenAPI in JSON ask for, and kubectl to this day.

use super::encode::Writer;
use super::table::Table;
use holdfast_core::{Revision, Status};
use std::sync::LazyLock;

/// A version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 2.0.
    V2,
    /// 3.0.
    V3,
}

static V2: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("openapi_v2.txt")));
static V3: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("openapi_v3.txt")));

impl Version {
    /// The media types by which clients ask, the one of the answer first. The other is no valid media type, and is what
    /// everybody asks for.
    pub fn media_types(self) -> [&'static str; 2] {
        match self {
            Version::V2 => [
                "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
                "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            ],
            Version::V3 => [
                "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
                "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
            ],
        }
    }

    fn table(self) -> &'static Table {
        match self {
            Version::V2 => &V2,
            Version::V3 => &V3,
        }
    }

    /// A document of this version as a message. These have no envelope.
    ///
    /// # Errors
    /// 500 for a document with what no OpenAPI document has.
    pub fn encode(self, json: &[u8]) -> Result<Vec<u8>, Status> {
        let table = self.table();
        let document = table.message("Document").ok_or_else(|| Status::internal("documents are not described"))?;
        let mut writer = Writer::new(table);
        let written = writer.write(document, json, Revision(0)).map(<[u8]>::to_vec);
        written.map_err(|err| Status::internal(format!("an OpenAPI document does not encode: {err}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_understood() {
        for (table, text) in [(&V2, include_str!("openapi_v2.txt")), (&V3, include_str!("openapi_v3.txt"))] {
            let words: usize =
                text.lines().filter(|line| !line.starts_with('#')).map(|l| l.split(' ').count() - 1).sum();
            assert_eq!(table.messages.iter().map(|message| message.fields.len()).sum::<usize>(), words);
        }
    }

    #[test]
    fn a_small_document_is_written_as_protoc_would() {
        let json = br#"{"swagger": "2.0", "paths": {"/a": {"get": {"deprecated": true}}},
            "definitions": {"x": {"type": "object", "additionalProperties": {"$ref": "r"}, "x-y": [1]}}}"#;
        // Paths { path { name: "/a" value { get { deprecated: true } } } }
        let paths = [0x42, 0x0c, 0x12, 0x0a, 0x0a, 2, b'/', b'a', 0x12, 4, 0x12, 2, 0x58, 1];
        let any = [&[0xfa, 1, 0x0c, 0x0a, 3][..], b"x-y", &[0x12, 5, 0x12, 3], b"[1]"].concat();
        let referred = [0xaa, 1, 5, 0x0a, 3, 0x0a, 1, b'r'];
        let typed = [&[0xb2, 1, 8, 0x0a, 6][..], b"object"].concat();
        let schema = [&referred[..], &typed, &any].concat();
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let named = [&[0x0a, 1, b'x', 0x12, length(&schema)][..], &schema].concat();
        let definitions = [&[0x4a, length(&named) + 2, 0x0a, length(&named)][..], &named].concat();
        let wanted = [&[0x0a, 3][..], b"2.0", &paths, &definitions].concat();
        assert_eq!(Version::V2.encode(json).unwrap(), wanted);
    }

    #[test]
    fn parameters_are_told_apart_by_what_they_say() {
        let encode = |parameter: &str| {
            let json = format!(r#"{{"paths": {{"/": {{"parameters": [{parameter}]}}}}}}"#);
            let bytes = Version::V2.encode(json.as_bytes()).unwrap();
            // Behind document, paths, path, name, path item and list: the message of the parameter.
            bytes[bytes.iter().position(|byte| *byte == 0x4a).unwrap() + 2..].to_vec()
        };
        assert_eq!(encode(r#"{"$ref": "r"}"#), [0x12, 3, 0x0a, 1, b'r']);
        assert_eq!(encode(r#"{"in": "body", "name": "b"}"#)[..4], [0x0a, 11, 0x0a, 9]);
        assert_eq!(encode(r#"{"in": "query", "name": "b"}"#)[..6], [0x0a, 14, 0x12, 12, 0x1a, 10]);
        assert_eq!(encode(r#"{"in": "path", "name": "b"}"#)[..6], [0x0a, 13, 0x12, 11, 0x22, 9]);
    }
}
