//! What sessions were refused for, for a moment.
//!
//! kubectl answers any refusal of its WebSocket by trying SPDY with the same request, and shows only what comes
//! of that. SPDY is not spoken; so the second refusal repeats the first one's reason.

use crate::codec::query::Query;
use holdfast_core::Status;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Refusals that are remembered; the oldest goes first.
const REMEMBERED: usize = 64;
/// … for so long.
const KEPT: Duration = Duration::from_secs(10);

struct Refusal {
    at: Duration,
    user: String,
    path: String,
    query: Query,
    status: Status,
}

/// The last refusals.
#[derive(Default)]
pub(crate) struct Refusals(Mutex<VecDeque<Refusal>>);

impl Refusals {
    fn kept(&self, now: Duration) -> MutexGuard<'_, VecDeque<Refusal>> {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while refusals.front().is_some_and(|oldest| now.saturating_sub(oldest.at) > KEPT) {
            refusals.pop_front();
        }
        refusals
    }

    /// Remembers a refusal.
    pub(crate) fn note(&self, now: Duration, user: &str, path: &str, query: Query, status: &Status) {
        let mut refusals = self.kept(now);
        if refusals.len() >= REMEMBERED {
            refusals.pop_front();
        }
        let (user, path, status) = (user.to_string(), path.to_string(), status.clone());
        refusals.push_back(Refusal { at: now, user, path, query, status });
    }

    /// Why the same request of the same user was refused just before.
    pub(crate) fn find(&self, now: Duration, user: &str, path: &str, query: &Query) -> Option<Status> {
        let same = |r: &&Refusal| r.user == user && r.path == path && r.query == *query;
        self.kept(now).iter().rev().find(same).map(|refusal| refusal.status.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_of_one_user_and_of_the_moment() {
        let refusals = Refusals::default();
        let query = Query::parse(Some("command=ls"));
        let at = Duration::from_secs(100);
        refusals.note(at, "eve", "/p", query.clone(), &Status::bad_request("no"));
        let find = |now, user, path| refusals.find(now, user, path, &query).is_some();
        assert!(find(at + KEPT, "eve", "/p"));
        assert!(!find(at, "bob", "/p") && !find(at, "eve", "/q"));
        assert!(refusals.find(at, "eve", "/p", &Query::default()).is_none());
        assert!(!find(at + KEPT * 2, "eve", "/p"));
        for i in 0..REMEMBERED * 2 {
            refusals.note(at, "eve", &i.to_string(), query.clone(), &Status::bad_request("no"));
        }
        assert_eq!(refusals.kept(at).len(), REMEMBERED);
    }
}
