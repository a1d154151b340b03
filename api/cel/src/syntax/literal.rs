//! Escapes in strings and bytes.

/// What is between the quotes, its escapes resolved. In bytes `\x` and octal escapes are bytes, in strings code points.
pub(super) fn unescape(body: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "unable to unescape string";
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            push(&mut out, c);
            continue;
        }
        let escape = chars.next().ok_or("unable to unescape string, found '\\' as last character")?;
        let plain = match escape {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => escape,
            'x' | 'X' | 'u' | 'U' | '0'..='3' => {
                let (digits, radix) = match escape {
                    'x' | 'X' => (2, 16),
                    'u' => (4, 16),
                    'U' => (8, 16),
                    _ => (2, 8),
                };
                if bytes && matches!(escape, 'u' | 'U') {
                    return Err(WRONG);
                }
                let mut number = if radix == 8 { escape.to_digit(8).ok_or(WRONG)? } else { 0 };
                for _ in 0..digits {
                    let digit = chars.next().and_then(|c| c.to_digit(radix)).ok_or(WRONG)?;
                    number = number.checked_mul(radix).and_then(|n| n.checked_add(digit)).ok_or(WRONG)?;
                }
                if bytes {
                    out.push(u8::try_from(number).map_err(|_| WRONG)?);
                    continue;
                }
                char::from_u32(number).ok_or(WRONG)?
            }
            _ => return Err(WRONG),
        };
        push(&mut out, plain);
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
