//! Who asks, and whether they may: the traits that the chain calls.

mod anonymous;

pub use anonymous::Anonymous;

use async_trait::async_trait;
use holdfast_core::{Status, Target, UserInfo};

/// What a connection and its headers prove.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// `Authorization: Bearer …`.
    pub bearer: Option<String>,
    /// Verified client certificates as DER, leaf first.
    pub client_certificates: Vec<Vec<u8>>,
}

/// Tells who a request is from.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `None` when these credentials are not this authenticator's to judge.
    ///
    /// # Errors
    /// 401 when they are and they are wrong.
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, Status>;
}

/// What is to be allowed.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; for paths the HTTP verb.
    pub verb: &'a str,
    /// The resource; `None` for a path that is no resource.
    pub target: Option<&'a Target>,
    /// The path, for requests that are no resource's.
    pub path: &'a str,
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No, whatever others say.
    Deny(String),
    /// Not by me; the text says why, for the error.
    NoOpinion(String),
}

/// Decides whether a user may do something.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// The decision.
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// Why a request is allowed, for those who ask about rights; empty where there is nothing to tell.
    async fn reason(&self, _attributes: &Attributes<'_>) -> String {
        String::new()
    }
}
