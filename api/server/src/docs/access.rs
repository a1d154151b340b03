//! How many were let in and how long that took, in upstream's names: who a request is from, and whether it may.

use super::series::{Counts, Times};
use crate::Decision;
use holdfast_core::UserInfo;
use std::time::Duration;

/// Upstream's upper bounds, in seconds: from a millisecond on, each twice the one before.
const BOUNDS: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];

fn results(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("result=\"{word}\"")).collect()
}

/// Whether an attempt to say who one is succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Success,
    /// Nothing was said.
    Failure,
    /// What was said is not believed.
    Error,
}

/// Who requests are from.
pub(crate) struct Attempts {
    attempts: Counts,
    users: Counts,
    took: Times,
}

/// Users that upstream counts by themselves; a metric does not tell the names of others.
const USERS: &[&str] =
    &["admin", "client", "kube_proxy", "kubelet", "system:serviceaccount:kube-system:default", "email_id", "other"];
const EMAIL: usize = 5;
const OTHER: usize = 6;

impl Attempts {
    pub(crate) fn new() -> Attempts {
        let results = || results(&["success", "failure", "error"]);
        Attempts {
            attempts: Counts::new("authentication_attempts", results()),
            users: Counts::new("authenticated_user_requests", USERS.iter().map(|user| format!("username=\"{user}\""))),
            took: Times::new("authentication_duration_seconds", BOUNDS, results()),
        }
    }

    pub(crate) fn made(&self, attempt: Attempt, user: Option<&UserInfo>, took: Duration) {
        let number = attempt as usize;
        self.attempts.add(number);
        self.took.observe(number, took);
        if let Some(user) = user {
            let known = USERS[..EMAIL].iter().position(|known| *known == user.name);
            self.users.add(known.unwrap_or(if user.name.contains('@') { EMAIL } else { OTHER }));
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        self.attempts.write(out);
        self.users.write(out);
        self.took.write(out);
    }
}

/// What the authorizer says.
pub(crate) struct Decisions {
    decisions: Counts,
    took: Times,
}

impl Decisions {
    pub(crate) fn new() -> Decisions {
        let results = || results(&["allowed", "denied", "no-opinion"]);
        Decisions {
            decisions: Counts::new("authorization_attempts_total", results()),
            took: Times::new("authorization_duration_seconds", BOUNDS, results()),
        }
    }

    pub(crate) fn made(&self, decision: &Decision, took: Duration) {
        let number = match decision {
            Decision::Allow => 0,
            Decision::Deny(_) => 1,
            Decision::NoOpinion(_) => 2,
        };
        self.decisions.add(number);
        self.took.observe(number, took);
    }

    pub(crate) fn write(&self, out: &mut String) {
        self.decisions.write(out);
        self.took.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_are_not_told() {
        let attempts = Attempts::new();
        for name in ["admin", "jane@example.com", "jane", "system:node:edge-1"] {
            attempts.made(Attempt::Success, Some(&UserInfo::new(name, &[])), Duration::ZERO);
        }
        attempts.made(Attempt::Error, None, Duration::ZERO);
        let mut out = String::new();
        attempts.write(&mut out);
        for line in [
            "authentication_attempts{result=\"success\"} 4\n",
            "authentication_attempts{result=\"error\"} 1\n",
            "authenticated_user_requests{username=\"admin\"} 1\n",
            "authenticated_user_requests{username=\"email_id\"} 1\n",
            "authenticated_user_requests{username=\"other\"} 2\n",
            "authentication_duration_seconds_count{result=\"success\"} 4\n",
        ] {
            assert!(out.contains(line), "{line}:\n{out}");
        }
        assert!(!out.contains("jane") && !out.contains("failure"), "{out}");
    }
}
