//! Who asks, and whether they may: the traits that the chain calls.

mod anonymous;

pub use anonymous::Anonymous;

use async_trait::async_trait;
use holdfast_core::{FieldSelector, LabelSelector, Status, Target, UserInfo};

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

/// Which objects of a collection a request is about: its selectors, as far as they could be read. What could not is left out, so
/// that the question is about more objects and the answer no milder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// By fields.
    pub fields: FieldSelector,
    /// By labels.
    pub labels: LabelSelector,
}

impl Selected {
    /// Reads selectors in their text form.
    pub fn read(fields: &str, labels: &str) -> Selected {
        Selected {
            fields: FieldSelector::parse(fields).unwrap_or_default(),
            labels: LabelSelector::parse(labels).unwrap_or_default(),
        }
    }

    /// Whether only objects are selected whose field `field` has exactly this value.
    pub fn requires(&self, field: &str, value: &str) -> bool {
        self.fields.terms.iter().any(|(name, wanted, equal)| *equal && name == field && wanted == value)
    }
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

    /// The decision about some objects of a collection. One who knows no selectors judges as if all were asked for.
    async fn authorize_selected(&self, attributes: &Attributes<'_>, _selected: &Selected) -> Decision {
        self.authorize(attributes).await
    }

    /// Why a request is allowed, for those who ask about rights; empty where there is nothing to tell.
    async fn reason(&self, _attributes: &Attributes<'_>) -> String {
        String::new()
    }
}
