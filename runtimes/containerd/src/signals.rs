//! Signals by name or number, as images and pods write them.

/// The number of a signal: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub(crate) fn parse(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+').map(|n| 34 + n).filter(|n| *n <= 64);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-').and_then(|n| 64u32.checked_sub(n)).filter(|n| *n >= 34);
    }
    let signal: nix::sys::signal::Signal = format!("SIG{name}").parse().ok()?;
    u32::try_from(signal as i32).ok()
}

fn offset(rest: &str, sign: char) -> Option<u32> {
    if rest.is_empty() { Some(0) } else { rest.strip_prefix(sign)?.parse().ok() }
}

/// SIGKILL.
pub(crate) const KILL: u32 = 9;
/// SIGTERM.
pub(crate) const TERM: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read() {
        let cases = [("SIGTERM", 15), ("int", 2), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("SIGRTMIN", 34)];
        for (text, number) in cases {
            assert_eq!(parse(text), Some(number), "{text}");
        }
        for bad in ["", "SIGFOO", "0", "65", "RTMIN+99", "RTMAX-99"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
