//! Delegation: the pods that the hub has handed to the site, and until when.

use crate::limits::MAX_PODS;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A pod's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodUid(pub String);

impl std::fmt::Display for PodUid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A pod that a site may move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Which.
    pub uid: PodUid,
    /// How long a box may take to stop it: its grace, and what a slow runtime adds.
    pub stop: Duration,
}

/// What the hub hands over. A later number holds all pods of an earlier one that still stands, and never other times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, from 1. Numbers of a site only rise.
    pub number: u64,
    /// Its pods.
    pub pods: Vec<Pod>,
}

/// What a box knows of the delegation; it is durable. Each part only rises, so no stale word takes anything back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// The newest record that the hub has given to this box.
    pub record: Option<Record>,
    /// The hub wants all up to this number back.
    pub asked_back: u64,
    /// All up to this number are over.
    pub released: u64,
}

impl Delegation {
    /// The pods that a coordinator which knows this may place: none when it is over.
    pub fn pods(&self) -> &[Pod] {
        self.record.as_ref().filter(|record| record.number > self.released).map_or(&[], |record| &record.pods)
    }

    /// Takes what the hub has said; whether it is news. A record that is too long is none.
    pub(crate) fn learn(&mut self, record: Option<Record>, asked_back: u64) -> bool {
        let known = self.record.as_ref().map_or(0, |record| record.number).max(self.released);
        let newer = record.filter(|record| record.number > known && record.pods.len() <= MAX_PODS);
        let news = newer.is_some() || asked_back > self.asked_back;
        if newer.is_some() {
            self.record = newer;
        }
        self.asked_back = self.asked_back.max(asked_back);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64) -> Option<Record> {
        Some(Record { number, pods: vec![Pod { uid: PodUid("a".into()), stop: Duration::ZERO }] })
    }

    #[test]
    fn stale_words_change_nothing() {
        let mut known = Delegation::default();
        assert!(known.learn(record(2), 0) && !known.learn(record(2), 0) && !known.learn(record(1), 0));
        assert_eq!(known.pods().len(), 1);
        assert!(known.learn(None, 2) && !known.learn(None, 1));
        known.released = 2;
        assert!(known.pods().is_empty());
        assert!(!known.learn(record(2), 2));
        assert!(known.learn(record(3), 2));
        assert_eq!(known.pods().len(), 1);
    }

    #[test]
    fn a_record_without_end_is_none() {
        let pod = Pod { uid: PodUid("a".into()), stop: Duration::ZERO };
        assert!(!Delegation::default().learn(Some(Record { number: 1, pods: vec![pod; MAX_PODS + 1] }), 0));
    }
}
