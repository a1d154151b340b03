//! The laws of the floor.

use super::*;
use proptest::prelude::*;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// 2026-01-01.
const NOW: Duration = Duration::from_secs(1_767_225_600);
const YEAR_2106: Duration = Duration::from_secs(4_294_967_295);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn record(floor: Duration, boot: u128, boottime: Duration, anchor: Option<Duration>) -> FloorRecord {
    FloorRecord::V1 {
        floor_micros: micros(floor),
        boot,
        boottime_micros: micros(boottime),
        anchor_micros: anchor.map(micros),
    }
}

#[test]
fn the_record_keeps_its_bytes() {
    let bytes = postcard::to_allocvec(&record(secs(1), 2, secs(3), Some(secs(4)))).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "00c0843d02c08db701018092f401");
    assert_eq!(postcard::from_bytes::<FloorRecord>(&bytes).unwrap(), record(secs(1), 2, secs(3), Some(secs(4))));
}

#[test]
fn an_rtc_in_1970_or_2106_is_harmless_and_one_in_between_is_a_hint() {
    let floor = TimeFloor::open(Some(&record(NOW, 1, secs(50), Some(NOW))), 2, secs(10));
    assert!(!floor.is_trusted(), "the anchor was of another boot");
    for rtc in [Duration::ZERO, NOW - HOUR, YEAR_2106] {
        assert_eq!(floor.now(secs(15), rtc), NOW + secs(5), "{rtc:?}");
    }
    assert_eq!(floor.now(secs(15), NOW + YEAR), NOW + YEAR);
    assert_eq!(floor.floor(secs(15)), NOW + secs(5), "no RTC ends a certificate");
    // A machine that never heard of a hub has nothing to hold the RTC against.
    let fresh = TimeFloor::open(None, 2, secs(10));
    assert_eq!(fresh.floor(secs(10)), Duration::ZERO);
    assert_eq!(fresh.now(secs(10), NOW), Duration::ZERO, "not within ten years of the floor");
    assert_eq!(fresh.due(secs(15)), None);
    assert_eq!(fresh.due(secs(10) + HOUR), Some(record(HOUR, 2, secs(10) + HOUR, None)));
}

#[test]
fn the_hub_is_believed_until_the_machine_boots() {
    let mut floor = TimeFloor::open(None, 7, secs(10));
    floor.certified(secs(10), NOW - YEAR);
    floor.hub_time(secs(20), NOW);
    assert_eq!(floor.hub_behind(secs(25)), Duration::ZERO);
    assert!(floor.is_trusted());
    assert_eq!(floor.now(secs(30), YEAR_2106), NOW + secs(10));
    let written = floor.due(secs(30)).unwrap();
    floor.written(&written);
    assert_eq!(floor.due(secs(40)), None, "an hour has not passed");
    assert!(floor.due(secs(30) + HOUR).is_some());
    // The agent starts again in the same boot, without a link: it still knows.
    let again = TimeFloor::open(Some(&written), 7, secs(100));
    assert!(again.is_trusted());
    assert_eq!(again.now(secs(100), Duration::ZERO), NOW + secs(80));
    // A boot of unknown name is nobody's.
    let unknown = TimeFloor::open(Some(&record(NOW, 0, secs(5), Some(NOW))), 0, secs(100));
    assert!(!unknown.is_trusted());
}

#[test]
fn a_hub_that_was_years_ahead_is_undone_by_a_reset_only() {
    let mut floor = TimeFloor::open(None, 7, secs(0));
    floor.hub_time(secs(0), NOW + 5 * YEAR);
    let wrong = floor.due(secs(0)).unwrap();
    floor.written(&wrong);
    floor.hub_time(secs(1), NOW);
    assert_eq!(floor.hub_behind(secs(1)), 5 * YEAR + secs(1));
    assert_eq!(floor.now(secs(1), NOW), NOW, "timestamps are the hub's");
    assert_eq!(floor.floor(secs(1)), NOW + 5 * YEAR + secs(1), "certificates are judged by the floor");
    assert_eq!(floor.due(secs(1)), None);
    floor.reset(secs(2), NOW);
    assert_eq!(floor.floor(secs(2)), NOW);
    assert_eq!(floor.due(secs(2)), Some(record(NOW, 7, secs(2), Some(NOW))), "at once");
}

/// What can happen to a node.
#[derive(Clone, Debug)]
enum Step {
    Elapse(u64),
    Rtc(u64),
    Hub(u64),
    Certified(u64),
    /// Power off and on: what is on disk stays, boot time begins anew.
    Boot,
    /// The agent starts again.
    Restart,
    Write,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let moment = prop_oneof![0..10_000_000_000u64, Just(0), Just(YEAR_2106.as_secs()), any::<u64>()];
    let step = prop_oneof![
        (0..1_000_000u64).prop_map(Step::Elapse),
        moment.clone().prop_map(Step::Rtc),
        moment.clone().prop_map(Step::Hub),
        moment.prop_map(Step::Certified),
        Just(Step::Boot),
        Just(Step::Restart),
        Just(Step::Write),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn the_floor_never_falls_and_no_rtc_raises_it(steps in steps()) {
        let (mut boot, mut boottime, mut rtc) = (1u128, Duration::ZERO, Duration::ZERO);
        let mut disk: Option<FloorRecord> = None;
        let mut floor = TimeFloor::open(None, boot, boottime);
        // What the floor may be at most: the largest word of anyone trustworthy, and all time that has passed.
        let (mut word, mut passed) = (Duration::ZERO, Duration::ZERO);
        let mut on_disk = Duration::ZERO;
        for step in steps {
            let before = floor.floor(boottime);
            match step {
                Step::Elapse(secs) => {
                    boottime += Duration::from_secs(secs);
                    passed += Duration::from_secs(secs);
                }
                Step::Rtc(secs) => rtc = Duration::from_secs(secs),
                Step::Hub(secs) | Step::Certified(secs) if Duration::from_secs(secs) <= LAST => {
                    let moment = Duration::from_secs(secs);
                    word = word.max(moment);
                    if matches!(step, Step::Hub(_)) { floor.hub_time(boottime, moment); }
                    else { floor.certified(boottime, moment); }
                }
                Step::Hub(secs) => { floor.hub_time(boottime, Duration::from_secs(secs)); }
                Step::Certified(secs) => floor.certified(boottime, Duration::from_secs(secs)),
                Step::Boot => {
                    boot += 1;
                    boottime = Duration::ZERO;
                    floor = TimeFloor::open(disk.as_ref(), boot, boottime);
                    prop_assert!(!floor.is_trusted());
                }
                Step::Restart => floor = TimeFloor::open(disk.as_ref(), boot, boottime),
                Step::Write => if let Some(record) = floor.due(boottime) {
                    floor.written(&record);
                    prop_assert_eq!(floor.due(boottime), None);
                    disk = Some(record);
                },
            }
            let now = floor.floor(boottime);
            let lost = matches!(step, Step::Boot | Step::Restart);
            prop_assert!(lost || now >= before, "{:?} made {:?} of {:?}", step, now, before);
            prop_assert!(now >= on_disk, "below what was written");
            if let Some(FloorRecord::V1 { floor_micros, .. }) = &disk {
                let written = Duration::from_micros(*floor_micros);
                prop_assert!(written >= on_disk);
                on_disk = written;
            }
            prop_assert!(now <= word.saturating_add(passed).min(LAST), "{:?} from nowhere", now);
            let estimate = floor.now(boottime, rtc);
            prop_assert!(floor.is_trusted() || (estimate >= now && estimate <= now + WINDOW));
        }
    }
}
