//! Subresources that are more than a part of their object.

pub(crate) mod binding;
pub(crate) mod components;
pub(crate) mod eviction;
pub(crate) mod metrics;
pub(crate) mod proxy;
mod review_selectors;
pub(crate) mod reviews;
pub(crate) mod scale;
pub(crate) mod streams;
pub(crate) mod token;
