//! The audit log: who asked for what, when, and what became of it
//! (<https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/>).
//!
//! A [`Policy`] says which requests are noted and how much of them, a [`Trail`] follows one request through the chain, and
//! an [`AuditLog`] takes the lines. Requests of the hub's own controllers and of nodes' links are noted as anyone's: the
//! trail begins where a request enters, at the HTTP chain or at [`crate::Api::call`].

mod policy;
mod trail;

pub use policy::{Level, Policy, Stage};
pub use trail::Trail;

use holdfast_core::{Json, Target, UserInfo};
use holdfast_env::World;
use serde_json::Map;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Takes the lines of the log.
pub trait AuditLog: Send + Sync {
    /// Takes a line, with its line break. The request waits for it, so that none is lost.
    ///
    /// # Errors
    /// When it could not be written; the request goes on.
    fn write(&self, line: &[u8]) -> std::io::Result<()>;
}

/// Notes requests.
pub struct Auditor {
    policy: Policy,
    log: Box<dyn AuditLog>,
    world: World,
    events: AtomicU64,
    errors: AtomicU64,
}

/// A request as the chain knows it when it has found out who asks.
pub(crate) struct Asked<'a> {
    pub(crate) id: &'a str,
    pub(crate) user: &'a UserInfo,
    /// Whom the user acts as.
    pub(crate) impersonated: Option<&'a UserInfo>,
    /// The verb by which it acts so, where that is bound to certain users.
    pub(crate) constraint: Option<&'a str>,
    pub(crate) verb: &'a str,
    /// `None` for what is about no resource.
    pub(crate) target: Option<&'a Target>,
    pub(crate) path: &'a str,
    /// The path with its query.
    pub(crate) uri: &'a str,
    pub(crate) sources: Vec<String>,
    pub(crate) agent: &'a str,
}

impl Auditor {
    /// Notes in `log` what `policy` says.
    pub fn new(policy: Policy, log: Box<dyn AuditLog>, world: World) -> Arc<Auditor> {
        Arc::new(Auditor { policy, log, world, events: AtomicU64::new(0), errors: AtomicU64::new(0) })
    }

    /// The trail of a request; `None` for one that is not noted.
    pub(crate) fn begin(self: &Arc<Self>, asked: &Asked<'_>) -> Option<Arc<Trail>> {
        let applied = self.policy.applied(asked.user, asked.verb, asked.target, asked.path);
        (applied.level > Level::None).then(|| Arc::new(Trail::begin(self.clone(), applied, asked)))
    }

    fn write(&self, event: &Map<String, Json>) {
        let mut line = serde_json::to_vec(event).unwrap_or_default();
        line.push(b'\n');
        self.events.fetch_add(1, Ordering::Relaxed);
        if let Err(err) = self.log.write(&line)
            && self.errors.fetch_add(1, Ordering::Relaxed) == 0
        {
            tracing::error!(%err, "Audit events are lost: the log could not be written");
        }
    }

    /// Writes the metrics of the log, in upstream's names.
    pub fn metrics(&self, out: &mut String) {
        let events = self.events.load(Ordering::Relaxed);
        let errors = self.errors.load(Ordering::Relaxed);
        let _ = writeln!(out, "# TYPE apiserver_audit_event_total counter\napiserver_audit_event_total {events}");
        let _ = writeln!(out, "# TYPE apiserver_audit_error_total counter");
        let _ = writeln!(out, "apiserver_audit_error_total{{plugin=\"log\"}} {errors}");
    }
}
