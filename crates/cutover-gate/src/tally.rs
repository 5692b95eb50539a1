//! Counting without contention: each worker has its own cells for each release and route, merged when read.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use cutover_model::{
    ReleaseNumber,
    measure::{BUCKETS, ReleaseMeasure, RouteMeasure, bucket_of},
};

/// One release's counts in one service, by worker and route.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) service: String,
    pub(crate) release: ReleaseNumber,
    routes: Vec<String>,
    workers: Vec<Box<[Cell]>>,
}

/// One route's counts in one worker, which alone writes them.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// Responses by hundreds of their status: 1xx (only 101) to 5xx.
    classes: [AtomicU64; 5],
    failed: AtomicU64,
    /// Responses below 500 whose body the replica did not finish.
    truncated: AtomicU64,
    aborted: AtomicU64,
    /// All latencies together, in microseconds.
    micros: AtomicU64,
    /// 5.9 KB, so made when the route is first used.
    latency: OnceLock<Box<[AtomicU64]>>,
}

/// One route's counts over all workers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) classes: [u64; 5],
    pub(crate) latency_sum: Duration,
    pub(crate) measure: RouteMeasure,
}

impl Cell {
    /// A replica gave a response head after `latency`.
    pub(crate) fn answered(&self, status: u16, latency: Duration) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].fetch_add(1, Relaxed);
        self.micros.fetch_add(latency.as_micros() as u64, Relaxed);
        let buckets = self.latency.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        buckets[usize::from(bucket_of(latency))].fetch_add(1, Relaxed);
    }

    /// The attempt failed after the replica was chosen.
    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    /// A response that counted as good ended before its end.
    pub(crate) fn truncated(&self) {
        self.truncated.fetch_add(1, Relaxed);
    }

    /// The client went away before the response head.
    pub(crate) fn aborted(&self) {
        self.aborted.fetch_add(1, Relaxed);
    }

    fn add_to(&self, counts: &mut Counts) {
        // Causes before sums, so that a snapshot amid requests never shows more errors than requests.
        let failed = self.failed.load(Relaxed);
        let truncated = self.truncated.load(Relaxed);
        let classes = [0, 1, 2, 3, 4].map(|class: usize| self.classes[class].load(Relaxed));
        let measure = &mut counts.measure;
        measure.failed_forwards += failed + truncated;
        measure.errors += failed + truncated + classes[4];
        measure.requests += failed + classes.iter().sum::<u64>();
        measure.aborted += self.aborted.load(Relaxed);
        counts.latency_sum += Duration::from_micros(self.micros.load(Relaxed));
        for (sum, class) in counts.classes.iter_mut().zip(classes) {
            *sum += class;
        }
        for (bucket, count) in self.latency.get().into_iter().flatten().enumerate() {
            counts.measure.latency.add(bucket as u16, count.load(Relaxed));
        }
    }
}

impl Tally {
    pub(crate) fn new(service: &str, release: ReleaseNumber, routes: &[String], workers: usize) -> Arc<Self> {
        let cells = || routes.iter().map(|_| Cell::default()).collect();
        Arc::new(Self {
            service: service.to_owned(),
            release,
            routes: routes.to_vec(),
            workers: (0..workers).map(|_| cells()).collect(),
        })
    }

    /// Whether it can go on counting for this pool.
    pub(crate) fn is_for(&self, service: &str, release: ReleaseNumber, routes: &[String]) -> bool {
        self.release == release && self.service == service && self.routes == routes
    }

    pub(crate) fn cell(&self, worker: usize, route: usize) -> &Cell {
        &self.workers[worker][route]
    }

    /// The routes that had any request, over all workers.
    pub(crate) fn counts(&self) -> BTreeMap<String, Counts> {
        let sum = |route: usize| {
            let mut counts = Counts::default();
            self.workers.iter().for_each(|cells| cells[route].add_to(&mut counts));
            counts
        };
        let used = |counts: &Counts| counts.measure.requests + counts.measure.aborted > 0;
        let all = self.routes.iter().enumerate().map(|(route, name)| (name.clone(), sum(route)));
        all.filter(|(_, counts)| used(counts)).collect()
    }

    pub(crate) fn measure(&self) -> ReleaseMeasure {
        ReleaseMeasure {
            routes: self.counts().into_iter().map(|(name, counts)| (name, counts.measure)).collect(),
        }
    }
}
