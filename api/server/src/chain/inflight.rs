//! How many requests are answered at once: so many that read and so many that write, whoever asks. A further one is told to
//! come again, as upstream has it without priority and fairness (`--max-requests-inflight`,
//! `--max-mutating-requests-inflight`).
//!
//! What goes on for as long as its client likes does not count, nor does the question whether the server lives: who asks that
//! would restart it. `system:masters` are let in whatever there is, so that a flood can be ended.

use super::request_info::Route;
use super::{paths, proxy, resources, streams};
use holdfast_core::user::MASTERS;
use holdfast_core::{Status, UserInfo};
use http::Method;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Seconds after which one who was refused may come again, as upstream says.
const RETRY_SECONDS: u32 = 1;

/// How many requests are answered at once; 0 for any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Those that change nothing.
    pub reads: usize,
    /// Those that change something.
    pub writes: usize,
}

impl Default for InFlight {
    fn default() -> InFlight {
        InFlight { reads: crate::limits::READS_AT_ONCE, writes: crate::limits::WRITES_AT_ONCE }
    }
}

/// The place of a request among those that are answered; it is given back with the last clone.
pub type Place = Arc<OwnedSemaphorePermit>;

/// Which bound a request counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Read,
    Write,
    /// None.
    Free,
}

impl Lane {
    /// Of a request; `watch` when its query asks for one.
    pub(crate) fn of(method: &Method, route: &Route, path: &str, watch: bool) -> Lane {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let counted = match route {
            Route::Resource { target, watch_prefix } => {
                let goes_on = proxy::is_proxy(target)
                    || streams::is_stream(target)
                    || resources::verb_of(method, target, *watch_prefix, watch) == Some("watch");
                !goes_on
            }
            Route::Path => !paths::ALWAYS_ALLOWED.contains(&path),
            Route::Nowhere => true,
        };
        match (counted, reads) {
            (false, _) => Lane::Free,
            (true, true) => Lane::Read,
            (true, false) => Lane::Write,
        }
    }
}

/// The places that there are.
pub(crate) struct Places {
    reads: Option<Arc<Semaphore>>,
    writes: Option<Arc<Semaphore>>,
}

impl Places {
    pub(crate) fn new(bounds: InFlight) -> Places {
        let places = |bound: usize| (bound > 0).then(|| Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS))));
        Places { reads: places(bounds.reads), writes: places(bounds.writes) }
    }

    /// A place for a request of `user`; `None` where it needs none.
    ///
    /// # Errors
    /// 429 when there is none left.
    pub(crate) fn take(&self, lane: Lane, user: &UserInfo) -> Result<Option<Place>, Status> {
        let places = match lane {
            Lane::Read => &self.reads,
            Lane::Write => &self.writes,
            Lane::Free => &None,
        };
        let Some(places) = places else { return Ok(None) };
        match places.clone().try_acquire_owned() {
            Ok(place) => Ok(Some(Arc::new(place))),
            Err(_) if user.is_in(MASTERS) => Ok(None),
            Err(_) => Err(Status::too_many_requests("Too many requests, please try again later.", RETRY_SECONDS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request_info::route;
    use super::*;

    fn lane(method: Method, path: &str, watch: bool) -> Lane {
        Lane::of(&method, &route(path), path, watch)
    }

    #[test]
    fn what_goes_on_and_what_asks_for_health_is_not_counted() {
        for path in ["/api/v1/pods", "/api/v1/namespaces/a/pods/x", "/version", "/metrics", "/api/v1//pods"] {
            assert_eq!(lane(Method::GET, path, false), Lane::Read, "{path}");
            assert_eq!(lane(Method::POST, path, false), Lane::Write, "{path}");
        }
        assert_eq!(lane(Method::DELETE, "/api/v1/namespaces/a/pods", true), Lane::Write);
        let free = ["log", "exec", "attach", "portforward", "proxy/x"];
        for path in free.map(|part| format!("/api/v1/namespaces/a/pods/x/{part}")) {
            assert_eq!(lane(Method::GET, &path, false), Lane::Free, "{path}");
        }
        for path in ["/api/v1/pods", "/api/v1/watch/pods", "/api/v1/watch/namespaces/a/pods/x"] {
            assert_eq!(lane(Method::GET, path, true), Lane::Free, "{path}");
        }
        for path in ["/healthz", "/livez", "/readyz"] {
            assert_eq!(lane(Method::GET, path, false), Lane::Free, "{path}");
        }
        // A watch of one object by its path is none.
        assert_eq!(lane(Method::GET, "/api/v1/namespaces/a/pods/x", true), Lane::Read);
    }

    #[test]
    fn a_place_comes_back_with_its_last_holder() {
        let places = Places::new(InFlight { reads: 1, writes: 0 });
        let (bob, admin) = (UserInfo::new("bob", &[]), UserInfo::new("admin", &[MASTERS]));
        let place = places.take(Lane::Read, &bob).unwrap().unwrap();
        let refused = places.take(Lane::Read, &bob).unwrap_err();
        assert_eq!((refused.code(), refused.details().unwrap().retry_after_seconds), (429, Some(1)));
        assert!(places.take(Lane::Read, &admin).unwrap().is_none());
        assert!(places.take(Lane::Write, &bob).unwrap().is_none() && places.take(Lane::Free, &bob).unwrap().is_none());
        let also = place.clone();
        drop(place);
        assert!(places.take(Lane::Read, &bob).is_err());
        drop(also);
        assert!(places.take(Lane::Read, &bob).unwrap().is_some());
    }
}
