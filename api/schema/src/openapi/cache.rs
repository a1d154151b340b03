//! Documents, made once and kept compressed.

use super::{CustomDocument, groups, path_of};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use holdfast_core::json::object_at;
use holdfast_core::{Json, Status};
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{LazyLock, OnceLock};

/// Bytes that are kept under gzip.
#[derive(Debug)]
pub struct Packed {
    gzip: Bytes,
    len: usize,
}

impl Packed {
    fn of(bytes: &[u8]) -> Packed {
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        // Writing into memory does not fail.
        let _ = packer.write_all(bytes);
        Packed { gzip: Bytes::from(packer.finish().unwrap_or_default()), len: bytes.len() }
    }

    /// The bytes under gzip, for clients that accept it (kubectl and client-go do).
    pub fn gzip(&self) -> &Bytes {
        &self.gzip
    }

    /// The bytes.
    ///
    /// # Errors
    /// 500 when what is kept is broken.
    pub fn bytes(&self) -> Result<Bytes, Status> {
        let mut bytes = Vec::with_capacity(self.len);
        GzDecoder::new(&*self.gzip).read_to_end(&mut bytes).map_err(Status::internal)?;
        Ok(Bytes::from(bytes))
    }
}

/// A document as servers send it.
#[derive(Debug)]
pub struct Document {
    hash: String,
    json: Packed,
    /// The same in the other encoding that clients ask for, from when one did.
    protobuf: OnceLock<Packed>,
}

impl Document {
    pub(super) fn of(document: &Json) -> Document {
        let mut packer =
            Packer { hash: Sha256::new(), gzip: GzEncoder::new(Vec::new(), Compression::default()), len: 0 };
        // Writing into memory does not fail; if it ever did, the hash would still tell the documents apart.
        let _ = serde_json::to_writer(&mut packer, document);
        let hash = packer.hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
        let gzip = Bytes::from(packer.gzip.finish().unwrap_or_default());
        Document { hash, json: Packed { gzip, len: packer.len }, protobuf: OnceLock::new() }
    }

    /// Hash of the content, in upper-case hex: the `hash` parameter of its URL and, in each encoding, its `ETag`.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The document as JSON.
    pub fn json(&self) -> &Packed {
        &self.json
    }

    /// The document in protobuf, which `encode` makes of its JSON when it is first wanted.
    ///
    /// # Errors
    /// 500 when what is kept is broken, or what `encode` says.
    pub fn protobuf(&self, encode: impl FnOnce(&[u8]) -> Result<Vec<u8>, Status>) -> Result<&Packed, Status> {
        if let Some(made) = self.protobuf.get() {
            return Ok(made);
        }
        let made = Packed::of(&encode(&self.json.bytes()?)?);
        Ok(self.protobuf.get_or_init(|| made))
    }
}

struct Packer {
    hash: Sha256,
    gzip: GzEncoder<Vec<u8>>,
    len: usize,
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.gzip.write_all(bytes)?;
        self.hash.update(bytes);
        self.len += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A document that is made when it is first wanted.
struct Slot {
    group: &'static str,
    version: &'static str,
    document: OnceLock<Document>,
}

impl Slot {
    fn get(&self) -> &Document {
        self.document.get_or_init(|| Document::of(&crate::builtin().openapi_v3(self.group, self.version)))
    }
}

/// By path (`api/v1`).
static V3: LazyLock<BTreeMap<String, Slot>> = LazyLock::new(|| {
    let slot = |(group, version)| (path_of(group, version), Slot { group, version, document: OnceLock::new() });
    groups().into_iter().map(slot).collect()
});

/// The OpenAPI v3 document of a group and version, if it is served. The first call takes some tens of
/// milliseconds.
pub fn document(group: &str, version: &str) -> Option<&'static Document> {
    V3.get(&path_of(group, version)).map(Slot::get)
}

/// The body of `/openapi/v3`: where the documents are, each with the hash of its content. Makes all of them. `others` are
/// documents that are not of the table, by path.
pub fn openapi_v3_index<'d>(others: impl IntoIterator<Item = (String, &'d Document)>) -> Json {
    let built_in = V3.iter().map(|(path, slot)| (path.clone(), slot.get()));
    let by_path: BTreeMap<String, &Document> = built_in.chain(others).collect();
    let paths: Map<String, Json> = by_path
        .into_iter()
        .map(|(path, document)| {
            let url = format!("/openapi/v3/{path}?hash={}", document.hash());
            (path, json!({ "serverRelativeURL": url }))
        })
        .collect();
    json!({ "paths": paths })
}

/// The OpenAPI v2 document as a tree. Made anew by each call.
pub fn openapi_v2() -> Json {
    crate::builtin().openapi_v2()
}

/// The OpenAPI v2 document.
pub fn openapi_v2_document() -> &'static Document {
    static V2: OnceLock<Document> = OnceLock::new();
    V2.get_or_init(|| Document::of(&openapi_v2()))
}

/// The OpenAPI v2 document with these kinds beside the built-in ones. Made anew by each call, which takes some hundred
/// milliseconds; servers keep it.
pub fn openapi_v2_with<'d>(customs: impl IntoIterator<Item = &'d CustomDocument>) -> Document {
    let mut document = openapi_v2();
    for custom in customs {
        custom.add_to_v2(&mut document);
    }
    for part in ["paths", "definitions"] {
        object_at(&mut document, &[part]).sort_keys();
    }
    Document::of(&document)
}
