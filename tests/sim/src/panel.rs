//! Checkers of one world and what they have found, whatever it is that they are shown.

use holdfast_sim_world::Universe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What checkers report with.
pub struct Report<'a> {
    /// True time.
    pub now: Duration,
    name: &'static str,
    violations: &'a mut Vec<String>,
}

impl Report<'_> {
    /// An invariant does not hold.
    pub fn violation(&mut self, what: impl std::fmt::Display) {
        self.violations.push(format!("{}: at {:.3} s: {what}", self.name, self.now.as_secs_f64()));
    }
}

struct Inner<C: ?Sized> {
    checks: Vec<(&'static str, Box<C>)>,
    violations: Vec<String>,
}

/// Checkers of the sort `C`, each with its name in reports. Clones are the same panel.
pub struct Panel<C: ?Sized> {
    universe: Universe,
    inner: Arc<Mutex<Inner<C>>>,
}

impl<C: ?Sized> Clone for Panel<C> {
    fn clone(&self) -> Panel<C> {
        Panel { universe: self.universe.clone(), inner: self.inner.clone() }
    }
}

impl<C: ?Sized> Panel<C> {
    pub(crate) fn of(universe: &Universe, checks: Vec<(&'static str, Box<C>)>) -> Panel<C> {
        let inner = Inner { checks, violations: Vec::new() };
        Panel { universe: universe.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<C>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True time.
    pub(crate) fn now(&self) -> Duration {
        self.universe.now()
    }

    /// Shows something to every checker.
    pub(crate) fn each(&self, mut show: impl FnMut(&mut C, &mut Report<'_>)) {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { checks, violations } = &mut *inner;
        for (name, check) in checks {
            show(check, &mut Report { now, name, violations });
        }
    }

    /// Reports something that no checker can see.
    pub fn violation(&self, what: impl std::fmt::Display) {
        let now = self.now().as_secs_f64();
        self.lock().violations.push(format!("world: at {now:.3} s: {what}"));
    }

    /// What was violated so far.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// Whether anything was violated.
    pub fn has_violations(&self) -> bool {
        !self.lock().violations.is_empty()
    }
}
