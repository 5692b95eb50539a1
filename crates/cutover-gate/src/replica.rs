//! What the gate knows of one replica across tables and workers: its requests in flight, whether it was cut, and
//! whether it lately refused.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// Shared by all tables that name the replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    /// Unique within the gate, also among replicas that share an id.
    pub(crate) key: u64,
    active: AtomicUsize,
    idle: Notify,
    cut: AtomicBool,
    /// Milliseconds on the gate's clock until which it is passed over.
    paused_until: AtomicU64,
    /// Whether the table in force names it; connections to others are not kept.
    listed: AtomicBool,
}

impl Replica {
    pub(crate) fn new(id: String, address: SocketAddr, key: u64) -> Self {
        Self {
            id,
            address,
            key,
            active: AtomicUsize::new(0),
            idle: Notify::new(),
            cut: AtomicBool::new(false),
            paused_until: AtomicU64::new(0),
            listed: AtomicBool::new(true),
        }
    }

    /// Requests in flight, upgraded connections among them.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Ordering::SeqCst)
    }

    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    pub(crate) fn list(&self, listed: bool) {
        self.listed.store(listed, Ordering::Relaxed);
        if listed {
            self.cut.store(false, Ordering::SeqCst);
        }
    }

    pub(crate) fn is_listed(&self) -> bool {
        self.listed.load(Ordering::Relaxed)
    }

    pub(crate) fn pause_until(&self, millis: u64) {
        self.paused_until.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self, now_millis: u64) -> bool {
        self.paused_until.load(Ordering::Relaxed) > now_millis
    }

    /// Resolves at a moment with nothing in flight. Cancel safe.
    pub(crate) async fn drained(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.active() == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// One request in flight on a replica, counted until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Replica>);

impl InFlight {
    pub(crate) fn begin(replica: &Arc<Replica>) -> Self {
        // SeqCst, and before the caller compares generations: an installer that then reads zero knows that every later
        // request sees its table.
        replica.active.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(replica))
    }

    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
