//! What the hub knows of a site: its voter set, and what it has handed over. Pure; the hub keeps it durably.

use crate::delegation::{Pod, PodUid, Record};
use crate::limits::{MAX_PODS, run_wait};
use crate::message::Report;
use crate::set::{Seat, SetError, SetId, VoterSet};
use holdfast_mutation::broken;
use std::time::Duration;

/// Whether the pods of a site are the site's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The hub was restored and may have forgotten a delegation: until a coordinator has reported, it stands.
    Unknown,
    /// Handed over.
    Given(Record),
    /// Asked back, and not yet given back.
    AskedBack(Record),
    /// Over.
    Ended {
        /// What was handed over last; number 0 when nothing ever was.
        record: Record,
        /// When the hub heard of it, by its boot clock; after a start of the hub, the start.
        at: Duration,
    },
}

/// Why the hub may not do what it is about to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// The voter set cannot be changed like this, or now.
    #[error(transparent)]
    Set(#[from] SetError),
    /// There is one that is being ended.
    #[error("the delegation cannot be given: one is being taken back, or may exist that this hub does not know")]
    Unsettled,
    /// A pod that a box may run may not vanish from the list.
    #[error("pod {0} may still run by the delegation before this one, which must not leave it out")]
    Shrinks(PodUid),
    /// Too many.
    #[error("a site has at most {MAX_PODS} delegated pods")]
    TooMany,
    /// There is none to take back.
    #[error("there is no delegation to take back")]
    NoneGiven,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its voter set.
    pub set: VoterSet,
    /// A coordinator of that set has reported.
    pub begun: bool,
    /// Its pods.
    pub standing: Standing,
    /// All delegations up to this number were asked back.
    pub asked_back: u64,
}

impl Site {
    /// A new site, to which nothing was ever delegated.
    pub fn new(set: VoterSet) -> Site {
        Site {
            set,
            begun: false,
            standing: Standing::Ended { record: Record::default(), at: Duration::ZERO },
            asked_back: 0,
        }
    }

    /// Changes the voter set.
    ///
    /// # Errors
    /// What is wrong with it, or that the present one has not begun.
    pub fn change(&mut self, id: SetId, seats: Vec<Seat>) -> Result<(), HubError> {
        self.set = self.set.next(self.begun, id, seats)?;
        self.begun = false;
        Ok(())
    }

    /// Hands pods to the site, or more of them: pods that run nowhere by the hub's own word.
    ///
    /// # Errors
    /// Why not.
    pub fn delegate(&mut self, now: Duration, pods: Vec<Pod>) -> Result<(), HubError> {
        let last = match &self.standing {
            Standing::Unknown | Standing::AskedBack(_) => return Err(HubError::Unsettled),
            Standing::Given(record) | Standing::Ended { record, .. } => record,
        };
        if let Some(pod) = last.pods.iter().find(|pod| !pods.contains(pod) && !may_replace(pod, &self.standing, now)) {
            return Err(HubError::Shrinks(pod.uid.clone()));
        }
        let number = last.number + 1;
        if pods.len() > MAX_PODS {
            return Err(HubError::TooMany);
        }
        self.standing = Standing::Given(Record { number, pods });
        Ok(())
    }

    /// Asks for the pods back. What comes of it a coordinator has to report.
    ///
    /// # Errors
    /// That there is nothing to ask for.
    pub fn ask_back(&mut self) -> Result<(), HubError> {
        match &self.standing {
            Standing::Given(record) | Standing::AskedBack(record) => {
                self.asked_back = record.number;
                self.standing = Standing::AskedBack(record.clone());
                Ok(())
            }
            _ => Err(HubError::NoneGiven),
        }
    }

    /// What every box is to hear of the delegation: [`crate::SiteBox::take_delegation`].
    pub fn told(&self) -> (Option<&Record>, u64) {
        let given = match &self.standing {
            Standing::Given(record) => Some(record),
            _ => None,
        };
        (given, self.asked_back)
    }

    /// The hub's machine has started, and its boot clock with it.
    pub fn started(&mut self, now: Duration) {
        if let Standing::Ended { at, .. } = &mut self.standing {
            *at = now;
        }
    }

    /// A coordinator has reported. What it says stays true, so an old report does no harm.
    pub fn reported(&mut self, now: Duration, report: &Report) {
        self.begun |= report.set == self.set.id();
        if let Standing::AskedBack(record) = &self.standing
            && report.released >= record.number
        {
            self.standing = Standing::Ended { record: record.clone(), at: now };
        }
    }
}

/// Whether the hub may replace a pod of a site, as far as the site is concerned. `now` is the hub's boot time.
///
/// Silence of whatever length changes nothing: a site is silent because its link is down, and that is what the delegation
/// is for.
pub fn may_replace(pod: &Pod, standing: &Standing, now: Duration) -> bool {
    match standing {
        Standing::Unknown => false,
        Standing::Given(record) => !record.pods.contains(pod),
        Standing::AskedBack(record) => !record.pods.contains(pod) || broken("site-silence-ends-delegation"),
        // The last run leases were granted before the coordinator told of the end.
        Standing::Ended { record, at } => !record.pods.contains(pod) || now >= at.saturating_add(run_wait(pod.stop)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::voter::Term;
    use holdfast_core::{Lineage, NodeUid};

    fn pod(name: &str) -> Pod {
        Pod { uid: PodUid(name.into()), stop: Duration::from_secs(5) }
    }

    fn site() -> Site {
        let seats = ["a", "b", "c"].map(|name| Seat { node: NodeUid(name.into()), witness: false });
        Site::new(VoterSet::first(SetId { number: 1, lineage: Lineage(1) }, seats.to_vec()).unwrap())
    }

    fn report(released: u64) -> Report {
        Report { set: SetId { number: 1, lineage: Lineage(1) }, term: Term(1), released }
    }

    #[test]
    fn silence_ends_no_delegation() {
        let (mut site, year) = (site(), Duration::from_secs(365 * 24 * 3600));
        assert!(may_replace(&pod("p"), &site.standing, Duration::ZERO), "it was never handed over");
        assert_eq!(site.ask_back(), Err(HubError::NoneGiven));
        site.delegate(year, vec![pod("p")]).unwrap();
        assert!(!may_replace(&pod("p"), &site.standing, year * 2));
        assert!(may_replace(&pod("other"), &site.standing, year));
        site.ask_back().unwrap();
        site.reported(year * 2, &report(0));
        assert!(!may_replace(&pod("p"), &site.standing, year * 3));
        assert_eq!(site.delegate(year * 3, vec![pod("p")]), Err(HubError::Unsettled));
        site.reported(year * 3, &report(1));
        assert!(!may_replace(&pod("p"), &site.standing, year * 3), "the last run lease");
        assert_eq!(site.delegate(year * 3, vec![]), Err(HubError::Shrinks(PodUid("p".into()))));
        let later = year * 3 + run_wait(Duration::from_secs(5));
        assert!(may_replace(&pod("p"), &site.standing, later));
        site.delegate(later, vec![pod("q")]).unwrap();
        let err = site.delegate(later, vec![]).unwrap_err().to_string();
        assert_eq!(err, "pod q may still run by the delegation before this one, which must not leave it out");
        site.delegate(later, vec![pod("q"), pod("r")]).unwrap();
        site.standing = Standing::Unknown;
        assert!(!may_replace(&pod("p"), &site.standing, later * 2));
    }

    #[test]
    fn a_set_is_changed_once_it_has_begun() {
        let mut site = site();
        let (id, seats) = (SetId { number: 2, lineage: Lineage(1) }, site.set.seats().to_vec());
        assert_eq!(site.change(id, seats.clone()), Err(HubError::Set(SetError::NotBegun(1))));
        site.reported(Duration::ZERO, &report(0));
        site.change(id, seats).unwrap();
        site.reported(Duration::ZERO, &report(0));
        assert!(!site.begun, "the report is of the set before");
    }
}
