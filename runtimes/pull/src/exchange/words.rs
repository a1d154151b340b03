//! What an exchange is asked for, and what it answers. Plain data.

use crate::hosts::HostTls;
use crate::url::Url;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::time::Duration;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The digest behind a tag.
    Digest {
        /// The tag.
        tag: String,
    },
    /// A manifest or an index.
    Manifest {
        /// Tag or digest.
        reference: String,
    },
    /// A blob.
    Blob {
        /// Its digest.
        digest: String,
        /// Its size in bytes.
        size: u64,
        /// From where on.
        offset: u64,
    },
}

/// A request to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// GET or HEAD; POST for a token server that is shown an identity token.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// Headers, `Host` aside.
    pub headers: Vec<(String, String)>,
    /// What is sent along.
    pub body: Bytes,
    /// How TLS is spoken there.
    pub tls: Arc<HostTls>,
    /// It goes to the host that `tls` is about. Others are only judged by its authorities.
    pub own: bool,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        write!(f, "{} {} {names:?}", self.method, self.url)
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send it, and tell [`super::Exchange::response`] or [`super::Exchange::broken`].
    Send(Box<Request>),
    /// Wait, then call [`super::Exchange::send`].
    Wait(Duration),
    /// It is here.
    Done(Done),
    /// It cannot be had.
    Fail(Failure),
}

/// What to do with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing: drop it.
    Drop(Step),
    /// Read it whole, and tell [`super::Exchange::collected`], or [`super::Exchange::broken`] when it ends early or is longer than `limit`.
    Collect {
        /// Most bytes.
        limit: usize,
    },
    /// Like `Collect`, but of something that goes wrong anyway: what was read by `limit` will do.
    Explain {
        /// Most bytes.
        limit: usize,
    },
    /// Pass it on through [`super::Exchange::piece`], and tell [`super::Exchange::ended`] or [`super::Exchange::broken`].
    Stream,
}

/// What was brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The digest behind the tag; `None` when the registry does not say.
    Digest(Option<String>),
    /// A document.
    Manifest {
        /// As the registry names it.
        content_type: String,
        /// Its digest.
        digest: String,
        /// The content.
        bytes: Bytes,
    },
    /// All bytes were passed on.
    Blob,
}

/// Why it cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody answered, or not usefully: it may be otherwise later.
    #[error("{0}")]
    Unreachable(String),
    /// It is not there, we may not have it, or it makes no sense.
    #[error("{0}")]
    Refused(String),
    /// Content was not what it should be.
    #[error("{reason}")]
    Content {
        /// What was wrong.
        reason: String,
        /// Where the host that sent it has its API.
        host: Url,
    },
}
