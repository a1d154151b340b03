use super::*;
use bytes::Bytes;
use std::task::{Context, Poll};

fn record(key: &str, modified: u64) -> Arc<Record> {
    let value = Bytes::from(modified.to_string());
    Arc::new(Record::new(key.into(), value, Revision(modified), Revision(modified)))
}

fn put(key: &str, revision: u64) -> Event {
    let record = record(key, revision);
    Event { revision: Revision(revision), key: record.key.clone(), record: Some(record), previous: None }
}

fn poll(watcher: &mut dyn Watcher) -> Poll<Result<Vec<Event>, StoreError>> {
    watcher.poll_next(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn progress_without_events_is_told_and_readable() {
    let cache = WatchCache::new([record("a", 4)], Revision(5)).unwrap();
    let mut watcher = cache.watch("", Revision(5)).unwrap();
    cache.advance(Revision(9));
    cache.advance(Revision(8));
    assert!(poll(&mut *watcher).is_pending());
    assert_eq!((cache.revision(), watcher.progress()), (Revision(9), Revision(9)));
    let request = RangeRequest { at: Some(Revision(7)), ..Default::default() };
    assert_eq!(cache.range(&request).unwrap().records.len(), 1, "nothing changed between the revisions");
    let mut late = cache.watch("", Revision(7)).unwrap();
    cache.publish(vec![put("b", 11)], Revision(12));
    for watcher in [&mut watcher, &mut late] {
        let Poll::Ready(Ok(events)) = poll(&mut **watcher) else { panic!("the event did not come") };
        assert_eq!((events.len(), events[0].revision, watcher.progress()), (1, Revision(11), Revision(12)));
    }
}

#[test]
fn another_state_ends_watches_and_begins_a_history_of_its_own() {
    let cache = WatchCache::new([record("a", 1)], Revision(1)).unwrap();
    let mut quiet = cache.watch("z", Revision(1)).unwrap();
    let mut behind = cache.watch("", Revision(1)).unwrap();
    cache.publish(vec![put("b", 2), put("c", 3)], Revision(3));
    cache.replace([record("d", 20)], Revision(21));
    assert_eq!((quiet.progress(), behind.progress()), (Revision(1), Revision(1)), "neither saw what was lost");
    for watcher in [&mut quiet, &mut behind] {
        let Poll::Ready(Err(StoreError::Compacted { oldest, .. })) = poll(&mut **watcher) else { panic!("goes on") };
        assert_eq!(oldest, Revision(21));
        assert!(matches!(poll(&mut **watcher), Poll::Ready(Err(_))), "the end lasts");
    }
    assert!(cache.get("a").is_none() && cache.get("d").is_some());
    let request = RangeRequest { at: Some(Revision(3)), ..Default::default() };
    assert!(matches!(cache.range(&request), Err(StoreError::Compacted { .. })));
    assert!(matches!(cache.watch("", Revision(20)), Err(StoreError::Compacted { .. })));
    let mut new = cache.watch("", Revision(21)).unwrap();
    assert!(poll(&mut *new).is_pending());
    cache.publish(vec![put("e", 22)], Revision(22));
    assert!(matches!(poll(&mut *new), Poll::Ready(Ok(events)) if events.len() == 1));
}

#[test]
fn events_of_a_revision_are_found_until_they_are_forgotten() {
    let cache = WatchCache::new([], Revision(0)).unwrap();
    cache.publish(vec![put("a", 1), put("b", 2), put("c", 2), put("d", 3)], Revision(3));
    let keys = |revision| -> Option<Vec<String>> {
        Some(cache.events_at(Revision(revision))?.iter().map(|event| event.key.to_string()).collect())
    };
    assert_eq!(keys(2), Some(vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(keys(4), Some(vec![]));
    cache.forget(Revision(2)).unwrap();
    assert_eq!((keys(2), keys(3)), (None, Some(vec!["d".to_owned()])));
}
