//! The control stream: hello, welcome, session.
//!
//! The hub issues sessions, +1 for each connection of a node, in a store transaction; the node makes its
//! session durable before it uses it. A lower session within the same lineage is a cloned card.

use crate::wire::{Hello, VERSION, VERSION_MIN};
use holdfast_core::{Lineage, Session};

/// The version that both ends speak.
pub fn agree(hello: &Hello) -> Option<u16> {
    let version = hello.version_max.min(VERSION);
    (version >= hello.version_min && version >= VERSION_MIN).then_some(version)
}

/// What the hub makes of the session that a node brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionVerdict {
    /// Issue the next one.
    Next(Session),
    /// The node is behind what this lineage has issued and the node acknowledged: a cloned card, or a disk
    /// that was rolled back.
    Duplicate,
}

/// Judges the session of `hello`. `issued` is the last session that this lineage issued to the node, `ready`
/// the last that the node reported durable.
pub fn judge(lineage: Lineage, issued: Session, ready: Session, hello: &Hello) -> SessionVerdict {
    if hello.lineage == lineage && hello.session < ready {
        return SessionVerdict::Duplicate;
    }
    SessionVerdict::Next(issued.max(hello.session).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(lineage: u128, session: u64) -> Hello {
        Hello {
            version_min: 1,
            version_max: 3,
            node_uid: String::new(),
            node_name: String::new(),
            boot: 0,
            lineage: Lineage(lineage),
            session: Session(session),
            root: 0,
            outbox: holdfast_core::OutboxGen(1),
            clock_micros: 0,
        }
    }

    #[test]
    fn sessions_only_rise_within_a_lineage() {
        let verdict = |h: &Hello| judge(Lineage(7), Session(5), Session(4), h);
        assert_eq!(verdict(&hello(7, 5)), SessionVerdict::Next(Session(6)));
        assert_eq!(verdict(&hello(7, 4)), SessionVerdict::Next(Session(6)), "the welcome may have been lost");
        assert_eq!(verdict(&hello(7, 3)), SessionVerdict::Duplicate);
        assert_eq!(verdict(&hello(6, 3)), SessionVerdict::Next(Session(6)), "another history says nothing");
        assert_eq!(verdict(&hello(6, 9)), SessionVerdict::Next(Session(10)));
        assert_eq!(agree(&hello(7, 0)), Some(VERSION));
        assert_eq!(agree(&Hello { version_max: 1, ..hello(7, 0) }), Some(1), "the release before");
    }
}
