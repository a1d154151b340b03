//! From HTTP to the words of a request, and back.

pub mod accept;
pub mod body;
pub mod decode;
pub mod encode;
pub mod options;
pub mod protobuf;
pub mod query;
#[cfg(test)]
mod samples;
pub mod table;
pub mod watch;
mod yaml;
