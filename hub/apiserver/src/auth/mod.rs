//! Who a request is from: client certificates and bootstrap tokens. ServiceAccount tokens are the registry's.

pub mod bootstrap;
pub mod certificates;

pub use bootstrap::BootstrapTokens;
pub use certificates::Certificates;
