//! For tests of controllers, here and in other crates: a world whose time the test owns, and an API in memory.
//!
//! Both are deterministic: the same seed gives the same run.

mod api;
mod world;

pub use api::MemoryApi;
pub use world::FakeWorld;
