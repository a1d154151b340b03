//! Blocks of headers (SPDY/3.1, 2.6.10): names and values behind lengths, all blocks of one direction compressed as one
//! zlib stream over a dictionary that both ends know.

use super::frame::SpdyError;
use crate::limits;
use flate2::{Decompress, FlushDecompress};

/// Names of the dictionary; each stands there behind its length as a 32-bit number.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade user-agent \
vary via warning www-authenticate method get status 200\u{a0}OK version HTTP/1.1 url public set-cookie keep-alive origin";
/// What follows them, without lengths.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec \
00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,\
utf-,*,enq=0.";
/// The dictionary's Adler-32, by which a zlib stream names it.
const DICTIONARY_ID: [u8; 4] = 0xe3c6_a7c2_u32.to_be_bytes();
/// Head of a zlib stream: deflate with a window of 32 KiB, over a dictionary.
const ZLIB_HEAD: [u8; 2] = [0x78, 0x20];
/// An empty stored block: makes a reader hand out what it has.
const FLUSH: [u8; 5] = [0, 0, 0, 0xff, 0xff];

/// Headers in order, names in lower case.
pub type Headers = Vec<(String, String)>;

/// The value of a header.
pub fn header<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS.split(' ') {
        let word = word.replace('\u{a0}', " ");
        bytes.extend_from_slice(&length(word.len()));
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

/// A stored block of deflate that is not the last; longer ones than 64 KiB cannot be.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut block = vec![0];
    block.extend_from_slice(&len.to_le_bytes());
    block.extend_from_slice(&(!len).to_le_bytes());
    block.extend_from_slice(bytes);
    block
}

/// Reads the blocks of one connection, in their order.
pub struct HeaderReader {
    /// `None` until the first block has told how the stream begins.
    inflate: Option<Decompress>,
}

impl Default for HeaderReader {
    fn default() -> HeaderReader {
        HeaderReader::new()
    }
}

impl HeaderReader {
    /// A reader that has seen nothing.
    pub fn new() -> HeaderReader {
        HeaderReader { inflate: None }
    }

    /// Reads a block. After an error nothing of the connection can be read any more.
    ///
    /// # Errors
    /// When it is no continuation of the zlib stream, when it is larger than the bounds, or when the names and values do
    /// not fill it.
    pub fn read(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let plain = self.inflate(block)?;
        parse(&plain).ok_or(SpdyError::Headers("names and values do not fill the block"))
    }

    fn inflate(&mut self, block: &[u8]) -> Result<Vec<u8>, SpdyError> {
        let (inflate, block) = match &mut self.inflate {
            Some(inflate) => (inflate, block),
            None => {
                let (inflate, rest) = begin(block)?;
                (self.inflate.insert(inflate), rest)
            }
        };
        let mut plain = Vec::new();
        run(inflate, block, &mut plain, limits::SPDY_HEADER_BLOCK)?;
        Ok(plain)
    }
}

/// Reads the head of the zlib stream.
///
/// Raw deflate has no way to name a dictionary, so the window is filled by a stored block that holds it, as if the
/// compressor had sent that first. So no particular backend of the inflater is needed.
fn begin(block: &[u8]) -> Result<(Decompress, &[u8]), SpdyError> {
    let Some((head, mut rest)) = block.split_at_checked(2) else {
        return Err(SpdyError::Headers("the zlib stream has no head"));
    };
    let check = u16::from_be_bytes([head[0], head[1]]);
    if head[0] & 0x0f != 8 || head[0] >> 4 > 7 || check % 31 != 0 {
        return Err(SpdyError::Headers("this is no zlib stream"));
    }
    let mut inflate = Decompress::new(false);
    if head[1] & 0x20 != 0 {
        rest = rest.strip_prefix(&DICTIONARY_ID).ok_or(SpdyError::Headers("another dictionary than SPDY's"))?;
        let dictionary = dictionary();
        run(&mut inflate, &stored(&dictionary), &mut Vec::new(), dictionary.len())?;
    }
    Ok((inflate, rest))
}

fn run(inflate: &mut Decompress, mut input: &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), SpdyError> {
    let mut chunk = [0; 2048];
    loop {
        let (read, written) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(input, &mut chunk, FlushDecompress::Sync)
            .map_err(|_| SpdyError::Headers("the zlib stream is damaged"))?;
        let read = usize::try_from(inflate.total_in() - read).unwrap_or(usize::MAX);
        let written = usize::try_from(inflate.total_out() - written).unwrap_or(usize::MAX);
        input = input.get(read..).unwrap_or_default();
        out.extend_from_slice(chunk.get(..written).unwrap_or_default());
        if out.len() > most {
            return Err(SpdyError::Headers("the block is larger than is allowed"));
        }
        if status == flate2::Status::StreamEnd {
            return Err(SpdyError::Headers("the zlib stream ends within the connection"));
        }
        if written < chunk.len() && (input.is_empty() || read == 0) {
            return Ok(());
        }
    }
}

fn parse(plain: &[u8]) -> Option<Headers> {
    let (count, mut rest) = number(plain)?;
    if count > limits::SPDY_HEADERS {
        return None;
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let (name, value);
        (name, rest) = text(rest)?;
        (value, rest) = text(rest)?;
        headers.push((name.to_ascii_lowercase(), value));
    }
    rest.is_empty().then_some(headers)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_be_bytes(*head)).ok()?, rest))
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (len, rest) = number(bytes)?;
    let (text, rest) = rest.split_at_checked(len)?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}

/// Writes blocks. What we say is a handful of bytes, so it is stored rather than compressed, which every inflater reads.
#[derive(Debug, Default)]
pub struct HeaderWriter {
    begun: bool,
}

impl HeaderWriter {
    /// The next block of the connection.
    pub fn block(&mut self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = length(headers.len()).to_vec();
        for part in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&length(part.len()));
            plain.extend_from_slice(part.as_bytes());
        }
        let mut block = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            block.extend_from_slice(&ZLIB_HEAD);
            block.extend_from_slice(&DICTIONARY_ID);
        }
        block.extend(stored(&plain));
        block.extend_from_slice(&FLUSH);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length and checksum as the draft's dictionary has them.
    #[test]
    fn the_dictionary_is_the_drafts() {
        let bytes = dictionary();
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in &bytes {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((bytes.len(), (b << 16 | a).to_be_bytes()), (1423, DICTIONARY_ID));
        assert_eq!(u16::from_be_bytes(ZLIB_HEAD) % 31, 0);
    }

    #[test]
    fn blocks_are_read_as_they_were_written() {
        let (mut writer, mut reader) = (HeaderWriter::default(), HeaderReader::new());
        for headers in [&[("streamtype", "data"), ("port", "80")][..], &[], &[("requestid", "7")]] {
            let owned: Headers = headers.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            assert_eq!(reader.read(&writer.block(headers)).unwrap(), owned);
        }
    }

    /// Two blocks as Go's compressor writes them (zlib at its best level over the dictionary, flushed after each).
    #[test]
    fn compressed_blocks_are_read_one_after_the_other() {
        let mut reader = HeaderReader::new();
        let blocks = [FIRST, SECOND].map(unhex);
        let first = reader.read(&blocks[0]).unwrap();
        assert_eq!(header(&first, "streamtype"), Some("error"));
        assert_eq!((header(&first, "port"), header(&first, "requestid")), (Some("8080"), Some("0")));
        let second = reader.read(&blocks[1]).unwrap();
        assert_eq!(header(&second, "streamtype"), Some("data"));
    }

    const FIRST: &str =
        "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c0600000000ffff";
    const SECOND: &str = "c2aa19540e2512d60b000000ffff";

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |b: u8| char::from(b).to_digit(16).unwrap() as u8;
        text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn what_is_no_block_is_refused() {
        let read = |bytes: &[u8]| HeaderReader::new().read(bytes).unwrap_err().to_string();
        assert!(read(b"").contains("no head"));
        assert!(read(b"\x79\x01").contains("no zlib"));
        assert!(read(&[0x78, 0x20, 1, 2, 3, 4]).contains("another dictionary"));
        let mut bomb = vec![0x78, 0x01];
        for _ in 0..3 {
            bomb.extend(stored(&[0; 60_000]));
        }
        assert!(read(&bomb).contains("larger than is allowed"));
        let mut claims = vec![0x78, 0x01];
        claims.extend(stored(&[0xff; 8]));
        assert!(read(&claims).contains("do not fill"));
        let ends = [0x78, 0x01, 0x01, 0x00, 0x00, 0xff, 0xff];
        assert!(read(&ends).contains("ends within"));
    }
}
