//! The wire format: keys, varints, lengths. Every read is bounded by the bytes that are there.

/// The wire type of numbers.
const VARINT: u64 = 0;
/// The wire type of floats.
const FIXED64: u64 = 1;
/// The wire type of what has a length.
const LENGTH: u64 = 2;

/// What is wrong with the bytes.
pub(super) const TRUNCATED: &str = "the message ends within a field";

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// Reads fields one after the other.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next field's number and value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| TRUNCATED)?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            wire_type => return Err(format!("wire type {wire_type} is not used by Kubernetes")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number is longer than 64 bits".into())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| TRUNCATED.to_string())
    }
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], String> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(format!("bytes were expected, not {other:?}")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes()?).map_err(|_| "a string is not UTF-8".to_string())
    }

    pub(super) fn number(self) -> Result<i64, String> {
        match self {
            // Negative numbers are written as their two's complement in 64 bits.
            Value::Varint(number) => Ok(number.cast_signed()),
            other => Err(format!("a number was expected, not {other:?}")),
        }
    }
}

fn put_key(out: &mut Vec<u8>, number: u64, wire_type: u64) {
    put_varint(out, number << 3 | wire_type);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Appends a number; negative ones as their two's complement in 64 bits.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64, value: i64) {
    put_key(out, number, VARINT);
    put_varint(out, value.cast_unsigned());
}

/// Appends a float.
pub(super) fn put_float(out: &mut Vec<u8>, number: u64, value: f64) {
    put_key(out, number, FIXED64);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Appends a string, bytes or a finished message.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends what stands before `length` bytes.
pub(super) fn put_head(out: &mut Vec<u8>, number: u64, length: usize) {
    put_key(out, number, LENGTH);
    put_varint(out, length as u64);
}

/// Makes of all that stands from `start` on the value of a field.
pub(super) fn wrap(out: &mut Vec<u8>, start: usize, number: u64) {
    let end = out.len();
    put_head(out, number, end - start);
    let head = out.len() - end;
    out[start..].rotate_right(head);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = b"before".to_vec();
        for value in [0, 1, 127, 128, 300, -1, i64::MAX, i64::MIN] {
            put_number(&mut out, 1, value);
        }
        put_float(&mut out, 2, 0.5);
        put_bytes(&mut out, 20, &[7; 200]);
        wrap(&mut out, 6, 3);
        let mut reader = Reader(&out[6..]);
        let (number, value) = reader.next().unwrap().unwrap();
        assert_eq!((number, reader.next()), (3, Ok(None)));
        let mut reader = Reader(value.bytes().unwrap());
        for wanted in [0, 1, 127, 128, 300, -1, i64::MAX, i64::MIN] {
            let (number, value) = reader.next().unwrap().unwrap();
            assert_eq!((number, value.number()), (1, Ok(wanted)));
        }
        assert_eq!(reader.next(), Ok(Some((2, Value::Fixed64(0.5_f64.to_bits())))));
        assert_eq!(reader.next(), Ok(Some((20, Value::Bytes(&[7; 200])))));
        assert_eq!(reader.next(), Ok(None));
    }
}
