//! [`Scope`]: a world whose tasks can be waited for.
//!
//! A [`Task`] that is dropped ends at its next `await`, and what it owns only after it. Whoever must know that a piece of
//! work has ended entirely, with all that it started, gives it the world of a scope.

use holdfast_env::{BoxFuture, Disk, Env, Mono, Task, Wall, World};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;

/// The tasks that were started in one world.
pub struct Scope(Arc<Scoped>);

impl Scope {
    /// A scope without tasks.
    pub fn new(world: &World) -> Scope {
        Scope(Arc::new(Scoped { world: world.clone(), live: Arc::new(watch::Sender::new(0)) }))
    }

    /// The same world; what is started in it belongs to the scope.
    pub fn world(&self) -> World {
        self.0.clone()
    }

    /// Waits until no task is left, nor a blocking call. It ends none. Cancel safe.
    pub async fn ended(&self) {
        let mut live = self.0.live.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = live.wait_for(|live| *live == 0).await;
    }
}

struct Scoped {
    world: World,
    live: Arc<watch::Sender<usize>>,
}

/// Counts a task for as long as it lives.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(live: &Arc<watch::Sender<usize>>) -> Counted {
        live.send_modify(|live| *live += 1);
        Counted(live.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|live| *live -= 1);
    }
}

/// The fields go in this order: a task counts until all that it owned is gone.
struct Member {
    future: BoxFuture<()>,
    _counted: Counted,
}

impl Future for Member {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.future.as_mut().poll(cx)
    }
}

impl Env for Scoped {
    fn monotonic(&self) -> Mono {
        self.world.monotonic()
    }
    fn boottime(&self) -> Duration {
        self.world.boottime()
    }
    fn wall(&self) -> Wall {
        self.world.wall()
    }
    fn fill_random(&self, buf: &mut [u8]) {
        self.world.fill_random(buf);
    }
    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()> {
        self.world.sleep_until(deadline)
    }
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Task {
        self.world.spawn(name, Box::pin(Member { future, _counted: Counted::new(&self.live) }))
    }
    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()> {
        let counted = Counted::new(&self.live);
        self.world.run_blocking(Box::new(move || {
            call();
            drop(counted);
        }))
    }
    fn disk(&self) -> Arc<dyn Disk> {
        self.world.disk()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeWorld;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_scope_has_ended_when_the_tasks_of_its_tasks_have() {
        let world = FakeWorld::new(1);
        let env: World = world.clone();
        let scope = Scope::new(&env);
        let inside = scope.world();
        let outer = inside.clone().spawn(
            "outer",
            Box::pin(async move {
                let _inner = inside.spawn("inner", Box::pin(std::future::pending()));
                std::future::pending::<()>().await;
            }),
        );
        world.settle();
        let ended = Arc::new(AtomicBool::new(false));
        let told = ended.clone();
        let _watch = env.spawn(
            "watch",
            Box::pin(async move {
                scope.ended().await;
                told.store(true, Ordering::Relaxed);
            }),
        );
        world.settle();
        assert!(!ended.load(Ordering::Relaxed));
        drop(outer);
        world.settle();
        assert!(ended.load(Ordering::Relaxed));
    }
}
