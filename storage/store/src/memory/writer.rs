//! The one way in: a bounded queue and two threads.
//!
//! - `store-number` takes transactions off the queue and lets the [`Evaluator`] number them into a batch. It
//!   gives the batch away as soon as the other thread is free, and builds the next one meanwhile.
//! - `store-sync` appends a batch to the log, and only then publishes it and answers its callers.
//!
//! A simulated world has no threads: there [`Turns`] does the same two steps in a task over `Env`.
//!
//! **Invariant:** every answer of a batch, also that a check did not hold, waits for the batch to be durable,
//! since it may rest on a write of that batch. A closed queue is drained before the threads end.

use super::evaluate::{Batch, Evaluator, Prepared};
use super::state::{Shared, lock};
use crate::limits::WRITE_QUEUE;
use crate::{LogBackend, StoreError, TxnOutcome};
use holdfast_env::World;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

type Answer = Result<TxnOutcome, StoreError>;

/// Whom to tell, and the places in the queue to give back then.
struct Caller {
    answer: oneshot::Sender<Answer>,
    _places: OwnedSemaphorePermit,
}

struct Inbox {
    jobs: VecDeque<(Prepared, Caller)>,
    /// A batch is with `store-sync`.
    syncing: bool,
    /// How the last batch ended, until `store-number` has seen it.
    synced: Option<Result<(), StoreError>>,
    failed: Option<StoreError>,
    closed: bool,
}

struct Desk {
    inbox: Mutex<Inbox>,
    ready: Condvar,
    /// Rung beside `ready`, for [`Turns`].
    rung: Notify,
}

impl Desk {
    fn new() -> Arc<Desk> {
        let inbox = Inbox { jobs: VecDeque::new(), syncing: false, synced: None, failed: None, closed: false };
        Arc::new(Desk { inbox: Mutex::new(inbox), ready: Condvar::new(), rung: Notify::new() })
    }

    fn ring(&self) {
        self.ready.notify_one();
        self.rung.notify_one();
    }
}

pub(super) struct Writer {
    desk: Arc<Desk>,
    places: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(shared: &Arc<Shared>, backend: Arc<dyn LogBackend>) -> Result<Writer, StoreError> {
        let desk = Desk::new();
        let (give, take) = sync_channel(1);
        let number = {
            let (desk, evaluator) = (desk.clone(), Evaluator::new(shared.clone()));
            super::thread("store-number", move || number(&desk, evaluator, &give))?
        };
        let sync = {
            let (desk, shared) = (desk.clone(), shared.clone());
            super::thread("store-sync", move || sync(&desk, &shared, &*backend, &take))
        };
        let places = Arc::new(Semaphore::new(WRITE_QUEUE));
        let writer = Writer { desk, places, threads: Mutex::new(vec![number]) };
        match sync {
            Ok(sync) => lock(&writer.threads).push(sync),
            Err(error) => {
                writer.close();
                return Err(error);
            }
        }
        Ok(writer)
    }

    /// A writer without threads; it commits while the second value's [`Turns::run`] is polled.
    pub(super) fn in_turns(shared: &Arc<Shared>, backend: Arc<dyn LogBackend>) -> (Writer, Turns) {
        let desk = Desk::new();
        let turns =
            Turns { desk: desk.clone(), evaluator: Evaluator::new(shared.clone()), shared: shared.clone(), backend };
        (Writer { desk, places: Arc::new(Semaphore::new(WRITE_QUEUE)), threads: Mutex::default() }, turns)
    }

    /// Queues a transaction and waits for its outcome.
    pub(super) async fn commit(&self, txn: Prepared) -> Answer {
        let places = self.places.clone().acquire_many_owned(txn.places());
        let _places = places.await.map_err(|_| StoreError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        {
            let mut inbox = lock(&self.desk.inbox);
            if inbox.closed {
                return Err(StoreError::Closed);
            }
            if let Some(error) = &inbox.failed {
                return Err(error.clone());
            }
            inbox.jobs.push_back((txn, Caller { answer, _places }));
        }
        self.desk.ring();
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }

    #[cfg(test)]
    pub(super) fn places_left(&self) -> usize {
        self.places.available_permits()
    }

    /// Refuses further transactions, drains the queued ones and ends the threads.
    pub(super) fn close(&self) {
        self.places.close();
        lock(&self.desk.inbox).closed = true;
        self.desk.ring();
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if thread.join().is_err() {
                tracing::error!("A thread of the store's writer panicked");
            }
        }
    }
}

fn number(desk: &Desk, mut evaluator: Evaluator<Caller>, give: &SyncSender<Batch<Caller>>) {
    loop {
        let mut inbox = lock(&desk.inbox);
        let jobs: Vec<_> = loop {
            if let Some(result) = inbox.synced.take() {
                inbox.syncing = false;
                settle(&mut inbox, &mut evaluator, result);
            }
            let jobs = draw(&mut inbox, evaluator.room());
            if !jobs.is_empty() || (!inbox.syncing && !evaluator.is_empty()) {
                break jobs;
            }
            if inbox.closed && inbox.jobs.is_empty() && !inbox.syncing {
                return;
            }
            inbox = desk.ready.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        };
        let failed = inbox.failed.clone();
        drop(inbox);
        for (txn, caller) in jobs {
            match &failed {
                None => evaluator.add(txn, caller),
                Some(error) => drop(caller.answer.send(Err(error.clone()))),
            }
        }
        let mut inbox = lock(&desk.inbox);
        // A result that came in meanwhile is settled first: the batch may rest on writes that failed.
        if inbox.syncing || inbox.synced.is_some() || evaluator.is_empty() {
            continue;
        }
        inbox.syncing = true;
        drop(inbox);
        if give.send(evaluator.take()).is_err() {
            // Only when the other thread could not start, or died: nobody will answer.
            lock(&desk.inbox).failed = Some(StoreError::Failed("the store's writer thread ended".to_owned()));
            lock(&desk.inbox).syncing = false;
        }
    }
}

fn settle(inbox: &mut Inbox, evaluator: &mut Evaluator<Caller>, result: Result<(), StoreError>) {
    match result {
        Ok(()) => evaluator.synced(),
        Err(StoreError::Full) => evaluator.not_written(),
        Err(error) => {
            for judged in evaluator.reset() {
                drop(judged.tell.answer.send(Err(error.clone())));
            }
            inbox.failed = Some(error);
        }
    }
}

fn draw(inbox: &mut Inbox, (txns, mut bytes): (usize, usize)) -> Vec<(Prepared, Caller)> {
    let mut jobs = Vec::new();
    while jobs.len() < txns && bytes > 0 {
        let Some(job) = inbox.jobs.pop_front() else { break };
        bytes = bytes.saturating_sub(job.0.bytes);
        jobs.push(job);
    }
    jobs
}

fn sync(desk: &Desk, shared: &Shared, backend: &dyn LogBackend, take: &Receiver<Batch<Caller>>) {
    let _watchdog = Watchdog(desk);
    // Logged when it changes: while the disk is full every batch fails.
    let mut healthy = true;
    while let Ok(batch) = take.recv() {
        let result = append(backend, &batch);
        let wake = match &result {
            Ok(()) => shared.publish(batch.events, batch.revision),
            Err(error) => {
                if healthy {
                    tracing::error!(err = %error, "Could not write to the store's log");
                }
                Vec::new()
            }
        };
        if !batch.entries.is_empty() {
            healthy = result.is_ok();
        }
        lock(&desk.inbox).synced = Some(result.clone());
        desk.ready.notify_one();
        for judged in batch.judged {
            // A caller that went away does not want to know.
            drop(judged.tell.answer.send(result.clone().map(|()| judged.outcome)));
        }
        wake.into_iter().for_each(std::task::Waker::wake);
    }
}

/// The writer as one task: number a batch, append it where blocking is allowed, publish, answer.
pub(super) struct Turns {
    desk: Arc<Desk>,
    evaluator: Evaluator<Caller>,
    shared: Arc<Shared>,
    backend: Arc<dyn LogBackend>,
}

impl Turns {
    /// Commits until the writer is closed, or a write failed for good and all callers were told.
    pub(super) async fn run(mut self, env: World) {
        loop {
            while let Some(batch) = self.number() {
                let backend = self.backend.clone();
                let appended = env.blocking(move || {
                    let result = append(&*backend, &batch);
                    (batch, result)
                });
                // The world is ending; nobody waits for an answer.
                let Some((batch, result)) = appended.await else { return };
                self.finish(batch, &result);
            }
            if lock(&self.desk.inbox).closed {
                return;
            }
            self.desk.rung.notified().await;
        }
    }

    fn number(&mut self) -> Option<Batch<Caller>> {
        let (jobs, failed) = {
            let mut inbox = lock(&self.desk.inbox);
            (draw(&mut inbox, self.evaluator.room()), inbox.failed.clone())
        };
        for (txn, caller) in jobs {
            match &failed {
                None => self.evaluator.add(txn, caller),
                Some(error) => drop(caller.answer.send(Err(error.clone()))),
            }
        }
        (!self.evaluator.is_empty()).then(|| self.evaluator.take())
    }

    fn finish(&mut self, batch: Batch<Caller>, result: &Result<(), StoreError>) {
        let wake = match result {
            Ok(()) => self.shared.publish(batch.events, batch.revision),
            Err(_) => Vec::new(),
        };
        settle(&mut lock(&self.desk.inbox), &mut self.evaluator, result.clone());
        for judged in batch.judged {
            // A caller that went away does not want to know.
            drop(judged.tell.answer.send(result.clone().map(|()| judged.outcome)));
        }
        wake.into_iter().for_each(std::task::Waker::wake);
    }
}

/// Tells `store-number` when `store-sync` panics, so that callers get an error instead of waiting for ever.
struct Watchdog<'a>(&'a Desk);

impl Drop for Watchdog<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let error = StoreError::Failed("the store's writer panicked".to_owned());
            lock(&self.0.inbox).synced = Some(Err(error));
            self.0.ready.notify_one();
        }
    }
}

fn append(backend: &dyn LogBackend, batch: &Batch<Caller>) -> Result<(), StoreError> {
    if batch.entries.is_empty() {
        return Ok(());
    }
    match catch_unwind(AssertUnwindSafe(|| backend.append(&batch.entries))) {
        Ok(Err(error)) if !matches!(error, StoreError::Full | StoreError::Failed(_)) => {
            Err(StoreError::Failed(error.to_string()))
        }
        Ok(result) => result,
        Err(_) => Err(StoreError::Failed("the log's engine panicked while it wrote".to_owned())),
    }
}
