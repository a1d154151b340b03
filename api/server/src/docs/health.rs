//! `/healthz`, `/livez` and `/readyz`.

use crate::codec::body::Body;
use crate::codec::encode;
use crate::codec::query::Query;
use http::{Response, StatusCode};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

struct Check {
    name: &'static str,
    live: bool,
    probe: Probe,
}

/// The checks of a server. A check that needs more than a glance keeps its own result.
#[derive(Default)]
pub struct Health {
    checks: RwLock<Vec<Check>>,
    ready: AtomicBool,
    closing: AtomicBool,
}

impl Health {
    /// No checks yet; not ready until [`Health::set_ready`].
    pub fn new() -> Health {
        Health::default()
    }

    /// Adds a check; `live` ones count for `/livez` too.
    pub fn add(&self, name: &'static str, live: bool, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        if let Ok(mut checks) = self.checks.write() {
            checks.push(Check { name, live, probe: Box::new(probe) });
        }
    }

    /// Start-up is complete.
    pub fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Shutdown has begun: `/readyz` says no from now on.
    pub fn set_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether `/readyz` would say yes.
    pub fn is_ready(&self) -> bool {
        self.results("readyz").iter().all(|(_, result)| result.is_ok())
    }

    fn results(&self, endpoint: &str) -> Vec<(&'static str, Result<(), String>)> {
        let mut results = vec![("ping", Ok(()))];
        if let Ok(checks) = self.checks.read() {
            let wanted = checks.iter().filter(|check| check.live || endpoint != "livez");
            results.extend(wanted.map(|check| (check.name, (check.probe)())));
        }
        if endpoint == "readyz" {
            let started = self.ready.load(Ordering::Acquire);
            results.push(("poststarthook", if started { Ok(()) } else { Err("not finished".into()) }));
            let closing = self.closing.load(Ordering::Acquire);
            results.push(("shutdown", if closing { Err("process is shutting down".into()) } else { Ok(()) }));
        }
        results
    }

    /// Answers `/healthz`, `/livez`, `/readyz` and `…/<check>`; `None` for any other path.
    pub fn answer(&self, path: &str, query: &Query) -> Option<Response<Body>> {
        let mut parts = path.trim_matches('/').splitn(2, '/');
        let endpoint = parts.next().filter(|name| ["healthz", "livez", "readyz"].contains(name))?;
        let mut results = self.results(endpoint);
        if let Some(one) = parts.next() {
            results.retain(|(name, _)| *name == one);
            if results.is_empty() {
                return Some(encode::text(StatusCode::NOT_FOUND, "404 page not found\n"));
            }
        }
        results.retain(|(name, _)| !query.all("exclude").any(|excluded| excluded == *name));
        let failed = results.iter().any(|(_, result)| result.is_err());
        if !failed && !query.has("verbose") {
            return Some(encode::text(StatusCode::OK, "ok"));
        }
        let mut text = String::new();
        for (name, result) in &results {
            match result {
                Ok(()) => text.push_str(&format!("[+]{name} ok\n")),
                Err(why) => text.push_str(&format!("[-]{name} failed: {why}\n")),
            }
        }
        text.push_str(&format!("{endpoint} check {}\n", if failed { "failed" } else { "passed" }));
        let code = if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        Some(encode::text(code, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(health: &Health, path: &str) -> u16 {
        health.answer(path, &Query::default()).unwrap().status().as_u16()
    }

    #[test]
    fn ready_follows_start_checks_and_shutdown() {
        let health = Health::new();
        assert_eq!((code(&health, "/livez"), code(&health, "/readyz")), (200, 500));
        health.set_ready();
        assert_eq!(code(&health, "/readyz"), 200);
        health.add("store", true, || Err("disk".into()));
        assert_eq!((code(&health, "/livez"), code(&health, "/healthz")), (500, 500));
        assert_eq!((code(&health, "/livez/ping"), code(&health, "/livez/none")), (200, 404));
        let excluded = Query::parse(Some("exclude=store"));
        assert_eq!(health.answer("/readyz", &excluded).unwrap().status(), 200);
        health.set_closing();
        assert_eq!(health.answer("/readyz", &excluded).unwrap().status(), 500);
        assert!(health.answer("/metrics", &excluded).is_none());
    }
}
