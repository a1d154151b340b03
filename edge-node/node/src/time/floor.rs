//! The time floor, sans-IO. Moments are times since 1970-01-01T00:00:00Z; `boottime` is `CLOCK_BOOTTIME`.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far beyond the floor the RTC is believed.
pub const WINDOW: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The floor is written again once it has risen by so much: hourly at most, whatever raises it.
pub const STEP: Duration = Duration::from_secs(3600);
/// The last second of the year 9999. Nobody's clock is believed beyond what RFC 3339 and RFC 5280 can write.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The floor on disk. Variants never change; new ones come at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FloorRecord {
    /// First version.
    V1 {
        /// The floor, in microseconds since 1970.
        floor_micros: u64,
        /// The boot of the machine in which this was written; 0 when it is not known.
        boot: u128,
        /// `CLOCK_BOOTTIME` of that moment, in microseconds.
        boottime_micros: u64,
        /// The hub's time at that moment, in microseconds since 1970, if it was heard in this boot.
        anchor_micros: Option<u64>,
    },
}

/// A moment and the boot time at which it was now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    moment: Duration,
    boottime: Duration,
}

impl Anchor {
    fn at(self, boottime: Duration) -> Duration {
        self.moment.saturating_add(boottime.saturating_sub(self.boottime)).min(LAST)
    }
}

/// What the node knows of the time.
///
/// The floor rises by authenticated words of the hub and by elapsed boot time, and by nothing else; it falls only
/// by [`TimeFloor::reset`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFloor {
    boot: u128,
    floor: Anchor,
    hub: Option<Anchor>,
    /// The floor, and whether an anchor of this boot is with it, as last written.
    written: (Duration, bool),
}

impl TimeFloor {
    /// The floor as it was written, or none. `boot` names this boot of the machine; 0 when it is not known.
    pub fn open(record: Option<&FloorRecord>, boot: u128, boottime: Duration) -> TimeFloor {
        let Some(FloorRecord::V1 { floor_micros, boot: then, boottime_micros, anchor_micros }) = record else {
            return TimeFloor {
                boot,
                floor: Anchor { moment: Duration::ZERO, boottime },
                hub: None,
                written: (Duration::ZERO, false),
            };
        };
        let moment = Duration::from_micros(*floor_micros).min(LAST);
        let at = Duration::from_micros(*boottime_micros);
        // Of another boot only this is known: it is over. Its anchor says nothing about now.
        let same = boot != 0 && *then == boot && at <= boottime;
        let hub = anchor_micros.filter(|_| same).map(|hub| Anchor { moment: Duration::from_micros(hub), boottime: at });
        TimeFloor {
            boot,
            floor: Anchor { moment, boottime: if same { at } else { boottime } },
            hub,
            written: (moment, hub.is_some()),
        }
    }

    /// A moment that is surely past: a certificate whose `notAfter` lies before it has ended.
    pub fn floor(&self, boottime: Duration) -> Duration {
        self.floor.at(boottime)
    }

    /// Whether the hub told the time in this boot.
    pub fn is_trusted(&self) -> bool {
        self.hub.is_some()
    }

    /// The best estimate of now: the hub's time and what has elapsed since; before it was heard in this boot the
    /// RTC, where it is believable, else the floor.
    pub fn now(&self, boottime: Duration, rtc: Duration) -> Duration {
        let floor = self.floor(boottime);
        match self.hub {
            Some(hub) => hub.at(boottime),
            None if rtc >= floor && rtc <= floor.saturating_add(WINDOW) => rtc,
            None => floor,
        }
    }

    /// The hub told the time over an authenticated connection.
    pub fn hub_time(&mut self, boottime: Duration, moment: Duration) {
        if moment <= LAST {
            self.hub = Some(Anchor { moment, boottime });
            self.certified(boottime, moment);
        }
    }

    /// How far the hub's time is behind the floor: then the hub's clock is wrong, or was.
    pub fn hub_behind(&self, boottime: Duration) -> Duration {
        self.hub.map_or(Duration::ZERO, |hub| self.floor(boottime).saturating_sub(hub.at(boottime)))
    }

    /// The cluster's CA vouches that `moment` is past: it signed something then.
    pub fn certified(&mut self, boottime: Duration, moment: Duration) {
        if moment > self.floor(boottime) && moment <= LAST {
            self.floor = Anchor { moment, boottime };
        }
    }

    /// The CA signed, for this node's nonce, that it is `moment` now. The only way down.
    pub fn reset(&mut self, boottime: Duration, moment: Duration) {
        let anchor = Anchor { moment: moment.min(LAST), boottime };
        self.floor = anchor;
        self.hub = Some(anchor);
    }

    /// What is to be written now: after a rise of [`STEP`], after a reset, and once the hub was heard in a boot.
    pub fn due(&self, boottime: Duration) -> Option<FloorRecord> {
        let floor = self.floor(boottime);
        let (written, anchored) = self.written;
        let moved = floor >= written.saturating_add(STEP) || floor < written;
        let heard = self.hub.is_some() && !anchored;
        (moved || heard).then(|| FloorRecord::V1 {
            floor_micros: micros(floor),
            boot: self.boot,
            boottime_micros: micros(boottime),
            anchor_micros: self.hub.map(|hub| micros(hub.at(boottime))),
        })
    }

    /// `record` is on disk.
    pub fn written(&mut self, record: &FloorRecord) {
        let FloorRecord::V1 { floor_micros, anchor_micros, .. } = record;
        self.written = (Duration::from_micros(*floor_micros), anchor_micros.is_some());
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
