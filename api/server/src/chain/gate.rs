//! Where requests wait for their turn: the trait that the chain asks once it knows who wants what, before rights are judged and
//! a body is read. [`super::inflight`] counts them; the hub shares its seats between users.

use super::request_info::Route;
use super::{proxy, resources, streams};
use crate::codec::query::Query;
use async_trait::async_trait;
use holdfast_core::{Status, Target, UserInfo};
use http::{HeaderName, HeaderValue, Method};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// What those are told that are not let in, as upstream says it.
pub const TOO_MANY: &str = "Too many requests, please try again later.";
/// Seconds after which one who was refused may come again, as upstream says.
pub const RETRY_SECONDS: u32 = 1;

/// What is kept for a request as long as something of it lives; it is given back with the last clone.
pub type Place = Arc<dyn Any + Send + Sync>;

/// What sort of request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It changes nothing and ends.
    Read,
    /// It may change something and ends.
    Write,
    /// It goes on once it has begun, and costs little then.
    Watch,
    /// It goes on for as long as its client likes: a log, a session, a proxied request.
    Stream,
}

impl Sort {
    /// Of a request; `watch` when its query asks for one.
    pub(crate) fn of(method: &Method, route: &Route, watch: bool) -> Sort {
        if let Route::Resource { target, watch_prefix } = route {
            if proxy::is_proxy(target) || streams::is_stream(target) {
                return Sort::Stream;
            }
            if resources::verb_of(method, target, *watch_prefix, watch) == Some("watch") {
                return Sort::Watch;
            }
        }
        match *method {
            Method::GET | Method::HEAD | Method::OPTIONS => Sort::Read,
            _ => Sort::Write,
        }
    }
}

/// A request that wants to be let in.
pub struct Seeking<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// The verb as rights have it; for paths the method in small letters.
    pub verb: &'a str,
    /// The resource; `None` for a path that is no resource.
    pub target: Option<&'a Target>,
    /// The path.
    pub path: &'a str,
    /// The parameters.
    pub query: &'a Query,
    /// What sort it is.
    pub sort: Sort,
    /// How long the request may take in all.
    pub time: Duration,
}

/// What a gate says to a request.
pub struct Entered {
    /// What it holds while it is served, if anything; 429 when it is not.
    pub place: Result<Option<Place>, Status>,
    /// What lives as long as the watch that was asked for.
    pub watching: Option<Place>,
    /// What the answer carries besides.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Entered {
    /// Let in, counted nowhere.
    pub fn free() -> Entered {
        Entered { place: Ok(None), watching: None, headers: Vec::new() }
    }

    /// Let in to a place.
    pub fn at(place: Place) -> Entered {
        Entered { place: Ok(Some(place)), ..Entered::free() }
    }

    /// Not let in.
    pub fn refused(status: Status) -> Entered {
        Entered { place: Err(status), ..Entered::free() }
    }
}

/// Decides when requests are served. Implementations: [`super::inflight`], and the hub's priority and fairness.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Comes back once the request is to be served, or refused. Dropping the call ends the wait.
    async fn enter(&self, seeking: &Seeking<'_>) -> Entered;

    /// What it shows of itself at a path, for those who may read that.
    fn page(&self, _path: &str) -> Option<String> {
        None
    }
}
