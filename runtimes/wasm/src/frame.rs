//! Frames on a stream: length (4 bytes, little endian), then one postcard record and nothing after it.

use serde::{Serialize, de::DeserializeOwned};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Largest frame in bytes: a list of some 20,000 containers.
pub const MAX_FRAME: usize = 8 << 20;

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// A record as a frame.
///
/// # Errors
/// When it passes [`MAX_FRAME`].
pub fn encode<T: Serialize>(record: &T) -> io::Result<Vec<u8>> {
    let mut frame = postcard::to_extend(record, vec![0; 4]).map_err(|err| invalid(err.to_string()))?;
    let length = frame.len() - 4;
    match u32::try_from(length) {
        Ok(prefix) if length <= MAX_FRAME => {
            frame[..4].copy_from_slice(&prefix.to_le_bytes());
            Ok(frame)
        }
        _ => Err(invalid(format!("a record of {length} bytes is too large"))),
    }
}

/// The record in a frame's body.
///
/// # Errors
/// When the bytes are no such record, or bytes are left over.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(invalid(format!("{} bytes after a record", rest.len()))),
        Err(err) => Err(invalid(format!("damaged record: {err}"))),
    }
}

/// Reads one record; `None` at the end of the stream. Not cancel safe.
///
/// # Errors
/// When the stream breaks, or the frame is too large or damaged.
pub async fn read<T: DeserializeOwned>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let mut prefix = [0; 4];
    match stream.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(err) => return Err(err),
    }
    let length = u32::from_le_bytes(prefix) as usize;
    if length > MAX_FRAME {
        return Err(invalid(format!("a frame of {length} bytes is too large")));
    }
    // Grows as bytes arrive: a length alone makes nobody allocate.
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    decode(&body).map(Some)
}

/// Writes one record. Not cancel safe.
///
/// # Errors
/// When the stream breaks or the record is too large.
pub async fn write<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), record: &T) -> io::Result<()> {
    stream.write_all(&encode(record)?).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn damaged_frames_are_refused() {
        let frame = encode(&(7_u64, "x".to_string())).unwrap();
        let got: Option<(u64, String)> = read(&mut &frame[..]).await.unwrap();
        assert_eq!(got, Some((7, "x".to_string())));
        assert_eq!(read::<u64>(&mut &[][..]).await.unwrap(), None);
        for (bytes, text) in [
            (&frame[..frame.len() - 1], "unexpected end of file"),
            (&[255, 255, 255, 255][..], "a frame of 4294967295 bytes is too large"),
            (&[2, 0, 0, 0, 1, 1][..], "1 bytes after a record"),
            (&[1, 0, 0, 0, 255][..], "damaged record: Hit the end of buffer, expected more data"),
        ] {
            assert_eq!(read::<u64>(&mut &bytes[..]).await.unwrap_err().to_string(), text);
        }
    }
}
