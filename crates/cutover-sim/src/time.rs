//! Virtual time and the tasks that live in it: one thread, one seed, one order.
//!
//! A task stands for a process that may be killed (its future is dropped), paused (it is not polled, and knows nothing of
//! it) and woken late. Time moves only when no task can go on, and then at once to the next timer, so an hour costs as much
//! as what happens in it. Which of several ready tasks goes on is drawn from the seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

/// One task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskId(u64);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Locks, and goes on after a panic elsewhere: a simulation that panicked is over anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct State {
    now: Duration,
    ids: u64,
    ready: Vec<TaskId>,
    timers: BTreeMap<(Duration, u64), Waker>,
    born: Vec<(TaskId, Task)>,
    doomed: Vec<TaskId>,
    paused: BTreeSet<TaskId>,
}

/// What tasks and world share: the hour, and the right to change who runs.
#[derive(Clone, Default)]
pub(crate) struct Kernel(Arc<Mutex<State>>);

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel at {:?}", self.now())
    }
}

impl Kernel {
    pub(crate) fn now(&self) -> Duration {
        lock(&self.0).now
    }

    /// A new task, ready at once.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> TaskId {
        let mut state = lock(&self.0);
        state.ids += 1;
        let id = TaskId(state.ids);
        state.born.push((id, Box::pin(future)));
        state.ready.push(id);
        id
    }

    /// The task's future is dropped before anything else runs.
    pub(crate) fn kill(&self, task: TaskId) {
        lock(&self.0).doomed.push(task);
    }

    /// The task is not polled any more until [`Self::unpause`].
    pub(crate) fn pause(&self, task: TaskId) {
        lock(&self.0).paused.insert(task);
    }

    pub(crate) fn unpause(&self, task: TaskId) {
        lock(&self.0).paused.remove(&task);
    }

    pub(crate) fn sleep(&self, duration: Duration) -> Sleep {
        Sleep { kernel: self.clone(), until: self.now() + duration, key: None }
    }

    fn wake(&self, task: TaskId) {
        let mut state = lock(&self.0);
        if !state.ready.contains(&task) {
            state.ready.push(task);
        }
    }
}

struct TaskWaker(TaskId, Kernel);

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.1.wake(self.0);
    }
}

/// Waits until a moment. Dropping it takes its timer away.
#[derive(Debug)]
pub(crate) struct Sleep {
    kernel: Kernel,
    until: Duration,
    key: Option<(Duration, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let kernel = self.kernel.clone();
        let mut state = lock(&kernel.0);
        if state.now >= self.until {
            return Poll::Ready(());
        }
        let key = self.key.unwrap_or_else(|| {
            state.ids += 1;
            (self.until, state.ids)
        });
        self.key = Some(key);
        state.timers.insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(&self.kernel.0).timers.remove(&key);
        }
    }
}

/// Runs the tasks.
pub(crate) struct Executor {
    kernel: Kernel,
    tasks: BTreeMap<TaskId, (Task, Waker)>,
    rng: fastrand::Rng,
}

impl Executor {
    pub(crate) fn new(kernel: Kernel, seed: u64) -> Self {
        Self { kernel, tasks: BTreeMap::new(), rng: fastrand::Rng::with_seed(seed) }
    }

    /// Polls one ready task; false when there is none.
    pub(crate) fn turn(&mut self) -> bool {
        self.bury();
        let Some(id) = self.pick() else { return false };
        if let Some((task, waker)) = self.tasks.get_mut(&id) {
            let waker = waker.clone();
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                self.tasks.remove(&id);
            }
        }
        self.bury();
        true
    }

    /// The moment of the next timer.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        lock(&self.kernel.0).timers.keys().next().map(|(at, _)| *at)
    }

    /// Moves time on, never back, and wakes whoever waited for it.
    pub(crate) fn advance_to(&self, now: Duration) {
        let mut due = Vec::new();
        {
            let mut state = lock(&self.kernel.0);
            state.now = state.now.max(now);
            while let Some(entry) = state.timers.first_entry().filter(|entry| entry.key().0 <= now) {
                due.push(entry.remove());
            }
        }
        due.into_iter().for_each(Waker::wake);
    }

    fn pick(&mut self) -> Option<TaskId> {
        let mut state = lock(&self.kernel.0);
        let ready: Vec<usize> =
            (0..state.ready.len()).filter(|at| !state.paused.contains(&state.ready[*at])).collect();
        let at = *ready.get(if ready.len() > 1 { self.rng.usize(..ready.len()) } else { 0 })?;
        Some(state.ready.remove(at))
    }

    /// Takes in the new tasks and drops the doomed ones, outside of the lock: what they own may look at the world.
    fn bury(&mut self) {
        let (born, doomed) = {
            let mut state = lock(&self.kernel.0);
            (std::mem::take(&mut state.born), std::mem::take(&mut state.doomed))
        };
        for (id, task) in born {
            let waker = Arc::new(TaskWaker(id, self.kernel.clone())).into();
            self.tasks.insert(id, (task, waker));
        }
        for id in doomed {
            self.tasks.remove(&id);
        }
    }
}

/// Where an answer arrives. One sender, one receiver; the receiver may be gone.
pub(crate) struct Slot<T>(Arc<Mutex<(Option<T>, Option<Waker>)>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new((None, None))))
    }

    pub(crate) fn put(&self, answer: T) {
        let mut slot = lock(&self.0);
        slot.0 = Some(answer);
        let waker = slot.1.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The answer, or `None` when `until` is over first.
    pub(crate) async fn take(&self, mut until: Sleep) -> Option<T> {
        std::future::poll_fn(|context| {
            let mut slot = lock(&self.0);
            if let Some(answer) = slot.0.take() {
                return Poll::Ready(Some(answer));
            }
            slot.1 = Some(context.waker().clone());
            drop(slot);
            Pin::new(&mut until).poll(context).map(|()| None)
        })
        .await
    }
}
