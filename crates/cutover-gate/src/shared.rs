//! What workers and the handle share: the table in force, the registry, the stage of life, and a few counters.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;

use crate::{
    answer::Refusal,
    options::GateOptions,
    routes::{Registry, Routes},
    table::{RouteTable, StaleGeneration},
};

/// A gate's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// No new connections; those that are open finish.
    Draining,
    /// Nothing more.
    Ended,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: GateOptions,
    pub(crate) epoch: u64,
    started: Instant,
    generation: AtomicU64,
    state: Mutex<State>,
    stage: AtomicU8,
    staged: Notify,
    draining_since: OnceLock<Instant>,
    /// One for each worker: look at the stage and at what was cut.
    pub(crate) knocks: Vec<Notify>,
    pub(crate) connections: AtomicUsize,
    changed: Notify,
    workers_left: AtomicUsize,
    acceptors_left: AtomicUsize,
    listener: Mutex<Option<TcpListener>>,
    handed_over: AtomicBool,
    pub(crate) refused: [AtomicU64; Refusal::NAMES.len()],
    pub(crate) retries: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) table: RouteTable,
    pub(crate) routes: Arc<Routes>,
    pub(crate) registry: Registry,
}

impl Shared {
    pub(crate) fn new(options: GateOptions, epoch: u64, listener: TcpListener) -> Self {
        let workers = options.workers;
        Self {
            options,
            epoch,
            started: Instant::now(),
            generation: AtomicU64::new(0),
            state: Mutex::default(),
            stage: AtomicU8::new(Stage::Serving as u8),
            staged: Notify::new(),
            draining_since: OnceLock::new(),
            knocks: (0..workers).map(|_| Notify::new()).collect(),
            connections: AtomicUsize::new(0),
            changed: Notify::new(),
            workers_left: AtomicUsize::new(workers),
            acceptors_left: AtomicUsize::new(workers),
            listener: Mutex::new(Some(listener)),
            handed_over: AtomicBool::new(false),
            refused: Default::default(),
            retries: AtomicU64::new(0),
        }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Nothing panics while holding the lock; were it so, the state would still be whole.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.state().routes)
    }

    pub(crate) fn install(&self, table: RouteTable) -> Result<(), StaleGeneration> {
        let mut state = self.state();
        let State { table: installed, routes, registry } = &mut *state;
        if table.generation <= installed.generation {
            let repeated = table == *installed;
            let stale = StaleGeneration { offered: table.generation, installed: installed.generation };
            return if repeated { Ok(()) } else { Err(stale) };
        }
        *routes = Arc::new(registry.ready(&table, routes, self.options.workers));
        // From here on every request that begins sees the new table: workers compare this number first.
        self.generation.store(table.generation, Ordering::SeqCst);
        registry.settle(routes);
        *installed = table;
        Ok(())
    }

    /// Milliseconds since the gate started.
    pub(crate) fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.started).as_millis() as u64
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::SeqCst) {
            0 => Stage::Serving,
            1 => Stage::Draining,
            _ => Stage::Ended,
        }
    }

    /// Moves on to a later stage; an earlier one is ignored.
    pub(crate) fn enter(&self, stage: Stage) {
        if stage >= Stage::Draining {
            self.draining_since.get_or_init(Instant::now);
            self.listener().take();
        }
        self.stage.fetch_max(stage as u8, Ordering::SeqCst);
        self.staged.notify_waiters();
        self.knock();
    }

    /// Has every worker look at stage and cuts.
    pub(crate) fn knock(&self) {
        // One permit each: a worker that is not waiting just now finds it later.
        self.knocks.iter().for_each(Notify::notify_one);
    }

    /// Resolves when the gate stops accepting.
    pub(crate) async fn stopped(&self) {
        loop {
            let mut staged = std::pin::pin!(self.staged.notified());
            staged.as_mut().enable();
            if self.stage() != Stage::Serving {
                return;
            }
            staged.await;
        }
    }

    pub(crate) fn draining_since(&self) -> Option<Instant> {
        self.draining_since.get().copied()
    }

    /// Resolves while fewer connections are open than allowed.
    pub(crate) async fn room(&self) {
        self.until(|| self.connections.load(Ordering::SeqCst) < self.options.max_connections.max(1)).await;
    }

    /// Resolves when no worker accepts any more.
    pub(crate) async fn accepted_all(&self) {
        self.until(|| self.acceptors_left.load(Ordering::SeqCst) == 0).await;
    }

    /// Resolves when no connection is open.
    pub(crate) async fn empty(&self) {
        self.until(|| self.connections.load(Ordering::SeqCst) == 0).await;
    }

    /// Resolves when all workers have ended.
    pub(crate) async fn ended(&self) {
        self.until(|| self.workers_left.load(Ordering::SeqCst) == 0).await;
    }

    async fn until(&self, holds: impl Fn() -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds() {
                return;
            }
            changed.await;
        }
    }

    /// A connection ended.
    pub(crate) fn left(&self) {
        self.connections.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// A worker stopped accepting.
    pub(crate) fn acceptor_left(&self) {
        self.acceptors_left.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// A worker ended.
    pub(crate) fn worker_left(&self) {
        self.workers_left.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    pub(crate) fn listener(&self) -> MutexGuard<'_, Option<TcpListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::SeqCst)
    }

    /// Keys of the replicas whose requests are to end now.
    pub(crate) fn cut_replicas(&self) -> Vec<u64> {
        let state = self.state();
        state
            .registry
            .all_replicas()
            .iter()
            .filter(|replica| replica.is_cut())
            .map(|replica| replica.key)
            .collect()
    }
}
