//! A world for tests in which time passes only when nothing else can happen.

use holdfast_env::{BoxFuture, Disk, Env, Mono, Task, TaskHandle, Wall, World};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[derive(Default)]
struct Clock {
    now: Duration,
    timers: Vec<(Mono, Waker)>,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Handle(Arc<AtomicBool>, Arc<AtomicBool>);

impl TaskHandle for Handle {
    fn abort(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
    fn is_finished(&self) -> bool {
        self.1.load(Ordering::SeqCst)
    }
}

struct Spawned {
    aborted: Arc<AtomicBool>,
    finished: Arc<AtomicBool>,
    future: BoxFuture<()>,
}

#[derive(Default)]
pub(crate) struct Virtual {
    clock: Arc<Mutex<Clock>>,
    tasks: Mutex<Vec<Spawned>>,
    random: AtomicU64,
}

struct Sleep(Arc<Mutex<Clock>>, Mono);

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut clock = self.0.lock().unwrap();
        if clock.now >= self.1.0 {
            return Poll::Ready(());
        }
        clock.timers.push((self.1, cx.waker().clone()));
        Poll::Pending
    }
}

impl Env for Virtual {
    fn monotonic(&self) -> Mono {
        Mono(self.clock.lock().unwrap().now)
    }
    fn boottime(&self) -> Duration {
        self.monotonic().0
    }
    fn wall(&self) -> Wall {
        Wall(self.monotonic().0)
    }
    fn fill_random(&self, buf: &mut [u8]) {
        buf.iter_mut().for_each(|byte| *byte = self.random.fetch_add(1, Ordering::SeqCst) as u8);
    }
    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()> {
        Box::pin(Sleep(self.clock.clone(), deadline))
    }
    fn spawn(&self, _name: &'static str, future: BoxFuture<()>) -> Task {
        let (aborted, finished) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        self.tasks.lock().unwrap().push(Spawned { aborted: aborted.clone(), finished: finished.clone(), future });
        Task::new(Box::new(Handle(aborted, finished)))
    }
    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()> {
        call();
        Box::pin(std::future::ready(()))
    }
    fn disk(&self) -> Arc<dyn Disk> {
        unreachable!("no test of this crate has a disk")
    }
}

impl Virtual {
    /// Runs what `body` makes, and all tasks, to its end.
    pub(crate) fn run<T, F: Future<Output = T>>(body: impl FnOnce(World) -> F) -> T {
        let world = Arc::new(Virtual::default());
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let mut cx = Context::from_waker(&waker);
        let mut main = pin!(body(world.clone()));
        loop {
            while flag.0.swap(false, Ordering::SeqCst) {
                if let Poll::Ready(value) = main.as_mut().poll(&mut cx) {
                    return value;
                }
                let mut polled = std::mem::take(&mut *world.tasks.lock().unwrap());
                polled.retain_mut(|task| {
                    let over = task.aborted.load(Ordering::SeqCst) || task.future.as_mut().poll(&mut cx).is_ready();
                    task.finished.store(over, Ordering::SeqCst);
                    !over
                });
                let mut tasks = world.tasks.lock().unwrap();
                if !tasks.is_empty() {
                    flag.0.store(true, Ordering::SeqCst);
                }
                polled.append(&mut tasks);
                *tasks = polled;
            }
            let mut clock = world.clock.lock().unwrap();
            let next = clock.timers.iter().map(|(at, _)| *at).min().expect("nothing will ever happen");
            clock.now = next.0;
            let due: Vec<_> = clock.timers.extract_if(.., |(at, _)| *at <= next).collect();
            drop(clock);
            due.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }
}
