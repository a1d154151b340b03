//! The `channel.k8s.io` protocols: a byte that names the channel, then the bytes; in their base64 form a digit, then the
//! bytes as base64 in a text message. Sans-IO.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use holdfast_core::{Json, Status};
use holdfast_env::session::{StreamInput, StreamOutput, TerminalSize};
use serde_json::json;

/// Channel of standard input.
pub const STDIN: u8 = 0;
/// Channel of standard output.
pub const STDOUT: u8 = 1;
/// Channel of standard error.
pub const STDERR: u8 = 2;
/// Channel of the final word.
pub const ERROR: u8 = 3;
/// Channel of terminal sizes.
pub const RESIZE: u8 = 4;
/// v5: the next byte names a channel that the sender has closed.
pub const CLOSE: u8 = 255;

/// The protocols of exec and attach, best first; the last is that of clients that name none.
pub const NAMES: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];

/// How the messages of one of them are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Messages are text.
    pub base64: bool,
    /// Standard input can be closed.
    closes: bool,
    /// The final word is a Status, and is said of a success too.
    pub statuses: bool,
}

impl Protocol {
    /// By name.
    pub fn of(name: &str) -> Protocol {
        let newer = name.starts_with("v4.") || name.starts_with("v5.");
        Protocol { base64: name.contains("base64."), closes: name.starts_with("v5."), statuses: newer }
    }
}

/// Splits a message; `None` for an empty or malformed one.
pub fn split(base64: bool, mut message: Bytes) -> Option<(u8, Bytes)> {
    if message.is_empty() {
        return None;
    }
    let channel = message.split_to(1)[0];
    if !base64 {
        return Some((channel, message));
    }
    Some((channel.checked_sub(b'0')?, STANDARD.decode(&message).ok()?.into()))
}

/// A message of one channel. In base64 only channels below 10 have a digit.
pub fn encode(base64: bool, channel: u8, bytes: &[u8]) -> Bytes {
    if base64 {
        return format!("{}{}", char::from(b'0'.saturating_add(channel)), STANDARD.encode(bytes)).into();
    }
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    message.into()
}

/// What a client's message says to a process; `None` for what is to be ignored.
pub fn decode(protocol: Protocol, message: Bytes) -> Option<StreamInput> {
    let (channel, message) = split(protocol.base64, message)?;
    match channel {
        STDIN if !message.is_empty() => Some(StreamInput::Stdin(message)),
        RESIZE => terminal_size(&serde_json::from_slice(&message).ok()?).map(StreamInput::Resize),
        CLOSE if protocol.closes && message.first() == Some(&STDIN) => Some(StreamInput::StdinClosed),
        _ => None,
    }
}

/// A terminal's size, as clients write it.
pub fn terminal_size(size: &Json) -> Option<TerminalSize> {
    let side = |name: &str| size.get(name).and_then(Json::as_u64).and_then(|n| u16::try_from(n).ok());
    Some(TerminalSize { width: side("Width")?, height: side("Height")? })
}

/// The Status that ends a session; `None` where the output is not its end.
pub fn outcome(output: &StreamOutput) -> Option<Json> {
    match output {
        StreamOutput::Exited(0) => Some(json!({"metadata": {}, "status": "Success"})),
        StreamOutput::Exited(code) => Some(json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        })),
        StreamOutput::Failed(why) => {
            let status = Status::internal(why);
            serde_json::to_value(status).ok()
        }
        StreamOutput::Stdout(_) | StreamOutput::Stderr(_) => None,
    }
}

/// The final word as the protocol has it: a Status, or in older ones a text that only failures have.
pub fn last_word(statuses: bool, output: &StreamOutput) -> Option<String> {
    let status = outcome(output)?;
    if statuses {
        return Some(status.to_string());
    }
    let failed = status["status"] != "Success";
    failed.then(|| status["message"].as_str().unwrap_or_default().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(protocol: &str, bytes: &'static [u8]) -> Option<StreamInput> {
        decode(Protocol::of(protocol), Bytes::from_static(bytes))
    }

    const V4: &str = "v4.channel.k8s.io";
    const V5: &str = "v5.channel.k8s.io";

    #[test]
    fn messages_are_read() {
        let hi = Some(StreamInput::Stdin(Bytes::from_static(b"hi")));
        for protocol in [V5, V4, "channel.k8s.io", ""] {
            assert_eq!(read(protocol, b"\0hi"), hi, "{protocol}");
        }
        for protocol in ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"] {
            assert_eq!(read(protocol, b"0aGk="), hi, "{protocol}");
            assert_eq!(read(protocol, b"0aGk"), None, "{protocol}");
            assert_eq!(read(protocol, b"\0aGk="), None, "{protocol}");
        }
        assert_eq!(read(V5, b"\xff\0"), Some(StreamInput::StdinClosed));
        let size = TerminalSize { width: 80, height: 24 };
        assert_eq!(read(V4, b"\x04{\"Width\":80,\"Height\":24}"), Some(StreamInput::Resize(size)));
        for ignored in
            [&b""[..], b"\0", b"\x01out", b"\xff", b"\xff\x01", b"\x04{", b"\x04{\"Width\":70000,\"Height\":1}"]
        {
            assert_eq!(read(V5, ignored), None, "{ignored:?}");
        }
        assert_eq!(read(V4, b"\xff\0"), None);
    }

    #[test]
    fn exit_codes_are_told_as_kubectl_reads_them() {
        assert_eq!(outcome(&StreamOutput::Exited(0)).unwrap()["status"], "Success");
        let failed = outcome(&StreamOutput::Exited(42)).unwrap();
        assert_eq!(
            (&failed["reason"], &failed["details"]["causes"][0]["message"]),
            (&json!("NonZeroExitCode"), &json!("42"))
        );
        assert_eq!(outcome(&StreamOutput::Failed("gone".into())).unwrap()["status"], "Failure");
        assert_eq!(last_word(false, &StreamOutput::Exited(0)), None);
        let text = "command terminated with non-zero exit code: exit status 42";
        assert_eq!(last_word(false, &StreamOutput::Exited(42)).as_deref(), Some(text));
    }

    proptest! {
        #[test]
        fn any_message_is_taken_and_what_was_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..200), channel in 0_u8..10, base64: bool) {
            for name in NAMES {
                decode(Protocol::of(name), bytes.clone().into());
            }
            let message = encode(base64, channel, &bytes);
            prop_assert_eq!(split(base64, message), Some((channel, Bytes::from(bytes))));
        }
    }
}
