//! Assembly of the API server, its identities and the in-process client.

pub mod pki;
