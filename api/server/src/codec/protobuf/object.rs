//! Objects, lists and documents as bodies: the envelope, and which message is whose.

use super::MAGIC;
use super::encode::Writer;
use super::table::TABLE;
use super::wire::{put_bytes, put_head, wrap};
use crate::codec::accept::Shape;
use holdfast_core::{Gvk, Json, Object, Revision, Status};

/// The field of a list that holds its metadata.
const METADATA: u64 = 1;
/// The field of a list that holds its items.
pub(super) const ITEMS: u64 = 2;
/// The field of the envelope that holds the message.
const RAW: u64 = 2;

/// Bytes of the length of an event.
const LENGTH_BYTES: usize = 4;

/// What every body ends with: the encoding and the type of the content, which nobody sets.
pub const TAIL: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// The type as which metadata alone is shown.
const PARTIAL: (&str, &str) = ("meta.k8s.io/v1", "PartialObjectMetadata");

/// Whether objects of this kind can be written.
pub fn describes(gvk: &Gvk) -> bool {
    TABLE.kind(&gvk.api_version(), &gvk.kind).is_some()
}

/// Writes objects in one shape. Its buffers are used again and again.
pub struct ObjectWriter {
    writer: Writer,
    metadata_only: bool,
    /// What the last object was.
    of: Option<Described>,
}

struct Described {
    gvk: Gvk,
    message: usize,
    /// What the envelope says.
    api_version: String,
    kind: String,
}

impl ObjectWriter {
    /// A writer of objects as they are or, for [`Shape::Metadata`], of their metadata.
    pub fn new(shape: Shape) -> ObjectWriter {
        ObjectWriter { writer: Writer::new(&TABLE), metadata_only: shape == Shape::Metadata, of: None }
    }

    fn describe(&mut self, gvk: &Gvk) -> Result<usize, Status> {
        if let Some(known) = self.of.as_ref().filter(|known| known.gvk == *gvk) {
            return Ok(known.message);
        }
        let (api_version, kind) = match self.metadata_only {
            true => (PARTIAL.0.to_string(), PARTIAL.1.to_string()),
            false => (gvk.api_version(), gvk.kind.clone()),
        };
        let message = message_of(&api_version, &kind)?;
        self.of = Some(Described { gvk: gvk.clone(), message, api_version, kind });
        Ok(message)
    }

    /// An object without its envelope, as lists have it.
    ///
    /// # Errors
    /// 500 where the object is not what its kind says.
    pub fn bare(&mut self, object: &Object) -> Result<&[u8], Status> {
        let message = self.describe(&object.gvk)?;
        // Of what is there, a message has only what its type knows: metadata, if that is all of it.
        self.writer.write(message, object.body(), object.revision).map_err(|err| undescribed(&object.gvk.kind, &err))
    }

    /// Appends an object with its envelope.
    ///
    /// # Errors
    /// As [`ObjectWriter::bare`].
    pub fn write(&mut self, object: &Object, out: &mut Vec<u8>) -> Result<(), Status> {
        self.bare(object)?;
        if let Some(Described { api_version, kind, .. }) = &self.of {
            envelope(api_version, kind, self.writer.written(), out);
        }
        Ok(())
    }
}

fn message_of(api_version: &str, kind: &str) -> Result<usize, Status> {
    TABLE.kind(api_version, kind).ok_or_else(|| Status::internal(format!("{api_version} {kind} is not described")))
}

fn undescribed(kind: &str, err: &str) -> Status {
    Status::internal(format!("a {kind} does not encode: {err}"))
}

/// Appends a message in its envelope.
fn envelope(api_version: &str, kind: &str, message: &[u8], out: &mut Vec<u8>) {
    begin(api_version, kind, message.len(), out);
    out.extend_from_slice(message);
    out.extend_from_slice(TAIL);
}

/// Appends what stands before a message of this length.
fn begin(api_version: &str, kind: &str, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(MAGIC);
    let start = out.len();
    put_bytes(out, 1, api_version.as_bytes());
    put_bytes(out, 2, kind.as_bytes());
    wrap(out, start, 1);
    put_head(out, RAW, length);
}

/// A document that is no stored object, such as a Status.
///
/// # Errors
/// 500 for a kind that is not described.
pub fn document(document: &Json) -> Result<Vec<u8>, Status> {
    let text = |name: &str| document.get(name).and_then(Json::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let json = serde_json::to_vec(document).map_err(Status::internal)?;
    let mut writer = Writer::new(&TABLE);
    let message = message_of(api_version, kind)?;
    let written = writer.write(message, &json, Revision(0)).map_err(|err| undescribed(kind, &err))?;
    let mut out = Vec::with_capacity(written.len() + 64);
    envelope(api_version, kind, written, &mut out);
    Ok(out)
}

/// The beginning of a list whose items take `items` bytes; [`TAIL`] is its end.
///
/// # Errors
/// 500 for metadata that are none.
pub fn list_head(api_version: &str, kind: &str, metadata: &Json, items: usize) -> Result<Vec<u8>, Status> {
    let mut writer = Writer::new(&TABLE);
    let list_meta = TABLE.message("meta.ListMeta").ok_or_else(|| Status::internal("lists are not described"))?;
    let json = serde_json::to_vec(metadata).map_err(Status::internal)?;
    let mut front = Vec::new();
    let written = writer.write(list_meta, &json, Revision(0)).map_err(|err| undescribed(kind, &err))?;
    put_bytes(&mut front, METADATA, written);
    let mut out = Vec::new();
    begin(api_version, kind, front.len() + items, &mut out);
    out.extend_from_slice(&front);
    Ok(out)
}

/// Appends an event of a watch: its length in four bytes, then a message whose object `write` appends.
///
/// # Errors
/// What `write` says; nothing is appended then.
pub fn event(
    event_type: &str,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Status>,
) -> Result<(), Status> {
    let frame = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    put_bytes(out, 1, event_type.as_bytes());
    let object = out.len();
    if let Err(status) = write(out) {
        out.truncate(frame);
        return Err(status);
    }
    // The object is bytes of a message of its own, as any type may stand there.
    wrap(out, object, 1);
    wrap(out, object, 2);
    let length = out.len() - frame - LENGTH_BYTES;
    let length = u32::try_from(length).map_err(|_| Status::internal("an event is longer than 4 GiB"))?;
    out[frame..frame + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// The messages of a frame of events.
pub fn events(mut frame: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some((head, rest)) = frame.split_first_chunk::<LENGTH_BYTES>() {
        let Some((event, others)) = rest.split_at_checked(u32::from_be_bytes(*head) as usize) else { break };
        found.push(event);
        frame = others;
    }
    found
}
