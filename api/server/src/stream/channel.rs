//! The `channel.k8s.io` protocols: a byte that names the channel, then the bytes. Sans-IO.

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
/// Channel of the final Status.
pub const ERROR: u8 = 3;
/// Channel of terminal sizes.
pub const RESIZE: u8 = 4;
/// v5: the next byte names a channel that the sender has closed.
pub const CLOSE: u8 = 255;

/// The protocols that are spoken, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// With half-close of standard input.
    V5,
    /// Without.
    V4,
}

impl Protocol {
    /// The subprotocol's name.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::V5 => "v5.channel.k8s.io",
            Protocol::V4 => "v4.channel.k8s.io",
        }
    }

    /// The best of those that a client offers.
    pub fn choose<'a>(offered: impl Iterator<Item = &'a str> + Clone) -> Option<Protocol> {
        [Protocol::V5, Protocol::V4].into_iter().find(|protocol| offered.clone().any(|name| name == protocol.name()))
    }
}

/// What a client's message says; `None` for what is to be ignored.
pub fn decode(protocol: Protocol, mut message: Bytes) -> Option<StreamInput> {
    if message.is_empty() {
        return None;
    }
    let channel = message.split_to(1)[0];
    match channel {
        STDIN if !message.is_empty() => Some(StreamInput::Stdin(message)),
        RESIZE => {
            let size: Json = serde_json::from_slice(&message).ok()?;
            let side = |name: &str| size.get(name).and_then(Json::as_u64).and_then(|n| u16::try_from(n).ok());
            Some(StreamInput::Resize(TerminalSize { width: side("Width")?, height: side("Height")? }))
        }
        CLOSE if protocol == Protocol::V5 && message.first() == Some(&STDIN) => Some(StreamInput::StdinClosed),
        _ => None,
    }
}

/// A message of one channel.
pub fn encode(channel: u8, bytes: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    message.into()
}

/// The Status that ends a session.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(protocol: Protocol, bytes: &'static [u8]) -> Option<StreamInput> {
        decode(protocol, Bytes::from_static(bytes))
    }

    #[test]
    fn messages_are_read() {
        use Protocol::{V4, V5};
        assert_eq!(read(V5, b"\0hi"), Some(StreamInput::Stdin(Bytes::from_static(b"hi"))));
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
    fn the_best_protocol_is_chosen() {
        let choose = |offered: &[&str]| Protocol::choose(offered.iter().copied());
        assert_eq!(choose(&["v4.channel.k8s.io", "v5.channel.k8s.io"]), Some(Protocol::V5));
        assert_eq!(choose(&["v4.channel.k8s.io", "x"]), Some(Protocol::V4));
        assert_eq!(choose(&["base64.channel.k8s.io"]), None);
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
    }
}
