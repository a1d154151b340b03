//! How many requests are answered at once: so many that read and so many that write, whoever asks. A further one is told to
//! come again, as upstream has it without priority and fairness (`--max-requests-inflight`,
//! `--max-mutating-requests-inflight`).
//!
//! What goes on for as long as its client likes does not count, nor does the question whether the server lives: who asks that
//! would restart it. `system:masters` are let in whatever there is, so that a flood can be ended.

use super::gate::{Entered, Gate, RETRY_SECONDS, Seeking, Sort, TOO_MANY};
use super::paths;
use async_trait::async_trait;
use holdfast_core::Status;
use holdfast_core::user::MASTERS;
use std::sync::Arc;
use tokio::sync::Semaphore;

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

impl InFlight {
    /// The gate that lets in so many.
    pub fn gate(self) -> Arc<dyn Gate> {
        Arc::new(Places::new(self))
    }
}

/// The places that there are.
struct Places {
    reads: Option<Arc<Semaphore>>,
    writes: Option<Arc<Semaphore>>,
}

impl Places {
    fn new(bounds: InFlight) -> Places {
        let places = |bound: usize| (bound > 0).then(|| Arc::new(Semaphore::new(bound.min(Semaphore::MAX_PERMITS))));
        Places { reads: places(bounds.reads), writes: places(bounds.writes) }
    }

    /// Those that a request counts among; `None` where it needs none.
    fn of(&self, seeking: &Seeking<'_>) -> Option<&Arc<Semaphore>> {
        let probe = seeking.target.is_none() && paths::ALWAYS_ALLOWED.contains(&seeking.path);
        match seeking.sort {
            _ if probe => None,
            Sort::Stream | Sort::Watch => None,
            Sort::Read => self.reads.as_ref(),
            Sort::Write => self.writes.as_ref(),
        }
    }
}

#[async_trait]
impl Gate for Places {
    async fn enter(&self, seeking: &Seeking<'_>) -> Entered {
        let Some(places) = self.of(seeking) else { return Entered::free() };
        match places.clone().try_acquire_owned() {
            Ok(place) => Entered::at(Arc::new(place)),
            Err(_) if seeking.user.is_in(MASTERS) => Entered::free(),
            Err(_) => Entered::refused(Status::too_many_requests(TOO_MANY, RETRY_SECONDS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request_info::route;
    use super::*;
    use crate::codec::query::Query;
    use holdfast_core::UserInfo;
    use http::Method;
    use std::time::Duration;

    /// Whether a request of `user` is let in, and what it holds then.
    async fn enter(places: &Places, user: &UserInfo, method: Method, path: &str, watch: bool) -> Entered {
        let (route, query) = (route(path), Query::parse(None));
        let sort = Sort::of(&method, &route, watch);
        let target = route.target();
        let time = Duration::from_secs(60);
        places.enter(&Seeking { user, verb: "", target, path, query: &query, sort, time }).await
    }

    #[tokio::test]
    async fn what_goes_on_and_what_asks_for_health_is_not_counted() {
        let places = Places::new(InFlight { reads: 1, writes: 1 });
        let bob = UserInfo::new("bob", &[]);
        let counted = async |method: Method, path: &str, watch: bool| {
            enter(&places, &bob, method, path, watch).await.place.unwrap().is_some()
        };
        for path in ["/api/v1/pods", "/api/v1/namespaces/a/pods/x", "/version", "/metrics", "/api/v1//pods"] {
            assert!(counted(Method::GET, path, false).await, "{path}");
            assert!(counted(Method::POST, path, false).await, "{path}");
        }
        assert!(counted(Method::DELETE, "/api/v1/namespaces/a/pods", true).await);
        let free = ["log", "exec", "attach", "portforward", "proxy/x"];
        for path in free.map(|part| format!("/api/v1/namespaces/a/pods/x/{part}")) {
            assert!(!counted(Method::GET, &path, false).await, "{path}");
        }
        for path in ["/api/v1/pods", "/api/v1/watch/pods", "/api/v1/watch/namespaces/a/pods/x"] {
            assert!(!counted(Method::GET, path, true).await, "{path}");
        }
        for path in ["/healthz", "/livez", "/readyz"] {
            assert!(!counted(Method::GET, path, false).await, "{path}");
        }
        // A watch of one object by its path is none.
        assert!(counted(Method::GET, "/api/v1/namespaces/a/pods/x", true).await);
    }

    #[tokio::test]
    async fn a_place_comes_back_with_its_last_holder() {
        const PODS: &str = "/api/v1/pods";
        let places = Places::new(InFlight { reads: 1, writes: 0 });
        let (bob, admin) = (UserInfo::new("bob", &[]), UserInfo::new("admin", &[MASTERS]));
        let get = async |user: &UserInfo| enter(&places, user, Method::GET, PODS, false).await.place;
        let place = get(&bob).await.unwrap().unwrap();
        let refused = get(&bob).await.unwrap_err();
        assert_eq!((refused.code(), refused.details().unwrap().retry_after_seconds), (429, Some(1)));
        assert!(get(&admin).await.unwrap().is_none());
        assert!(enter(&places, &bob, Method::POST, PODS, false).await.place.unwrap().is_none());
        assert!(enter(&places, &bob, Method::GET, PODS, true).await.place.unwrap().is_none());
        let also = place.clone();
        drop(place);
        assert!(get(&bob).await.is_err());
        drop(also);
        assert!(get(&bob).await.unwrap().is_some());
    }
}
