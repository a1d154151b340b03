//! The engine that serves all kinds: one file a verb. It fixes the order of steps; kinds bring strategies.

pub(crate) mod commit;
pub(crate) mod continue_token;
pub(crate) mod create;
pub(crate) mod decode;
pub(crate) mod delete;
pub(crate) mod delete_collection;
pub(crate) mod list;
pub(crate) mod managers;
pub(crate) mod patch;
pub(crate) mod update;
pub(crate) mod view;
pub(crate) mod watch;
