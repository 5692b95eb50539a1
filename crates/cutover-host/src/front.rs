//! A fleet's gate as its host uses it: one listening socket, and the routes that follow from the fleet's state.
//!
//! The socket is bound before the gate accepts from it. In between, connections wait in the socket's backlog instead of
//! being refused or told that nothing is ready; so a host that starts again first asks the replicas it has adopted, and
//! opens its gate with the first answers.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _},
    net::TcpListener,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cutover_gate::{Gate, GateOptions, Page, Pool, RouteTable, Service, Unavailable, Upstream};
use cutover_model::{
    ReleaseNumber, config,
    fleet::{Desired, FleetName},
    measure::Measures,
};

use crate::{
    attempt::address,
    converge::Actual,
    replica::{Phase, ReplicaId, Serving},
    state::Record,
};

/// The largest page for people while nothing is ready.
const PAGE_LIMIT: u64 = 256 * 1024;

/// How long requests of a gate that was replaced may take.
pub(crate) const REPLACED_GRACE: Duration = Duration::from_secs(60);

/// The name by which the gate knows one attempt of a replica. Another attempt has another name, since it listens elsewhere.
pub(crate) fn upstream(id: impl std::fmt::Display, attempt: u32) -> String {
    format!("{id}.{attempt}")
}

/// A release counts with its weight when it has all its replicas ready, and in proportion with fewer.
pub(crate) fn pools(desired: &Desired, actual: &Actual, records: &BTreeMap<ReplicaId, Record>) -> Vec<Pool> {
    let slow_start = desired.gate.slow_start.get();
    let pool = |release: &cutover_model::fleet::DesiredRelease| {
        let ready = actual
            .replicas
            .iter()
            .filter(|(_, replica)| replica.release == release.release && replica.is_ready());
        let upstreams: Vec<Upstream> = ready
            .filter_map(|(id, replica)| {
                let record = records.get(id)?;
                let since = match replica.phase {
                    Phase::Serving(Serving::Ready { since }) if !replica.adopted => Some(since),
                    _ => None,
                };
                Some(Upstream {
                    id: upstream(id, record.attempt),
                    address: address(record.port),
                    ready_since: since,
                    slow_start,
                })
            })
            .collect();
        let part = upstreams.len() as f64 / f64::from(release.replicas.max(1));
        Pool { release: release.release, weight: release.weight * part.min(1.0), upstreams }
    };
    desired.releases.iter().map(pool).collect()
}

/// Which part of new requests each release gets, 0 to 1; all 0 while nothing gets any.
pub(crate) fn shares(pools: &[Pool]) -> BTreeMap<ReleaseNumber, f64> {
    let weight = |pool: &Pool| if pool.upstreams.is_empty() { 0.0 } else { pool.weight.max(0.0) };
    let sum: f64 = pools.iter().map(weight).sum();
    let share = |pool: &Pool| if sum > 0.0 { weight(pool) / sum } else { 0.0 };
    pools.iter().map(|pool| (pool.release, share(pool))).collect()
}

/// What people get with a 503, from the file that the configuration names.
pub(crate) fn page(gate: &config::Gate) -> Result<Option<Page>, String> {
    let Some(path) = &gate.unavailable_page else { return Ok(None) };
    let body =
        read_page(path).map_err(|error| format!("the page {} can't be read: {error}", path.display()))?;
    let html = path.extension().is_some_and(|extension| extension == "html" || extension == "htm");
    let content_type = if html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
    Ok(Some(Page { content_type: content_type.into(), body: body.into() }))
}

fn read_page(path: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    File::open(path)?.take(PAGE_LIMIT + 1).read_to_end(&mut body)?;
    if body.len() as u64 > PAGE_LIMIT {
        return Err(io::Error::other(format!("it is larger than {PAGE_LIMIT} bytes")));
    }
    Ok(body)
}

/// One fleet's way in. Shared by the fleet, which routes, and the API, which reads.
#[derive(Debug)]
pub(crate) struct Front {
    name: FleetName,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    listener: TcpListener,
    config: config::Gate,
    page: Option<Page>,
    pools: Vec<Pool>,
    /// The one that accepts; `None` until the first routes are known.
    gate: Option<Gate>,
    /// Others that still finish their requests.
    leaving: Vec<Gate>,
    generation: u64,
}

impl Front {
    /// Closed: connections wait.
    pub(crate) fn new(name: FleetName, listener: TcpListener, config: config::Gate) -> Arc<Self> {
        // A page that has gone missing must not keep a host from starting.
        let page = page(&config).unwrap_or_default();
        let inner = Inner {
            listener,
            config,
            page,
            pools: Vec::new(),
            gate: None,
            leaving: Vec::new(),
            generation: 0,
        };
        Arc::new(Self { name, inner: Mutex::new(inner) })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.inner().gate.is_some()
    }

    /// Begins to accept, with these routes.
    pub(crate) fn open(&self, pools: Vec<Pool>) -> io::Result<()> {
        let mut inner = self.inner();
        inner.pools = pools;
        inner.start(&self.name)
    }

    /// Routes by these pools from now on; where nothing differs, nothing is done. A closed front takes none.
    pub(crate) fn install(&self, pools: Vec<Pool>) {
        let mut inner = self.inner();
        if inner.gate.is_some() && inner.pools != pools {
            inner.pools = pools;
            inner.install(&self.name);
        }
    }

    /// Takes another configuration and, where it is given, another socket. Requests that the gate before has begun are
    /// finished by it.
    pub(crate) fn reconfigure(
        &self,
        config: &config::Gate,
        page: Option<Page>,
        listener: Option<TcpListener>,
    ) -> io::Result<Option<Gate>> {
        let mut inner = self.inner();
        let as_before = |a: &config::Gate, b: &config::Gate| {
            (a.body_limit, a.head_limit, a.answer_within) == (b.body_limit, b.head_limit, b.answer_within)
        };
        let gate_stays = listener.is_none() && as_before(&inner.config, config);
        if inner.config == *config && inner.page == page && gate_stays {
            return Ok(None);
        }
        (inner.config, inner.page) = (config.clone(), page);
        let Some(before) = inner.gate.clone() else {
            inner.listener = listener.unwrap_or(inner.listener.try_clone()?);
            return Ok(None);
        };
        if gate_stays {
            inner.install(&self.name);
            return Ok(None);
        }
        match listener {
            Some(listener) => inner.listener = listener,
            // The next gate accepts from the same socket; the one before must leave it the backlog.
            None => drop(before.listener()?),
        }
        inner.start(&self.name)?;
        inner.leaving.push(before.clone());
        Ok(Some(before))
    }

    /// Finishes the requests of a gate that was replaced.
    pub(crate) async fn retire(self: Arc<Self>, gate: Gate) {
        gate.shutdown(REPLACED_GRACE).await;
        self.inner().leaving.retain(|other| other.connections() > 0);
    }

    /// Requests that an attempt of a replica is answering.
    pub(crate) fn in_flight(&self, upstream: &str) -> u64 {
        self.gates().iter().map(|gate| gate.in_flight(upstream) as u64).sum()
    }

    /// Returns when an attempt of a replica, out of the routes, has no request left. Cancel safe.
    pub(crate) async fn drained(&self, upstream: &str) {
        for gate in self.gates() {
            gate.drained(upstream).await;
        }
    }

    /// Ends the requests that an attempt of a replica still has.
    pub(crate) fn cut(&self, upstream: &str) {
        self.gates().iter().for_each(|gate| gate.cut(upstream));
    }

    /// What was counted since the gate was opened.
    pub(crate) fn measures(&self) -> Measures {
        self.inner().gate.as_ref().map(Gate::measures).unwrap_or_default()
    }

    /// The counts as Prometheus text; empty while the gate is closed.
    pub(crate) fn prometheus(&self) -> String {
        self.inner().gate.as_ref().map(Gate::prometheus).unwrap_or_default()
    }

    /// The socket, for a host that takes over.
    pub(crate) fn listener(&self) -> io::Result<OwnedFd> {
        let inner = self.inner();
        match &inner.gate {
            Some(gate) => gate.listener(),
            None => Ok(inner.listener.try_clone()?.into()),
        }
    }

    /// Stops accepting and finishes what is open, within `grace`.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let by = Instant::now() + grace;
        for gate in self.gates() {
            gate.shutdown(by.saturating_duration_since(Instant::now())).await;
        }
    }

    fn gates(&self) -> Vec<Gate> {
        let inner = self.inner();
        inner.gate.iter().chain(&inner.leaving).cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn start(&mut self, name: &FleetName) -> io::Result<()> {
        let options = GateOptions {
            request_head_limit: self.config.head_limit as usize,
            request_body_limit: self.config.body_limit,
            response_timeout: self.config.answer_within.get(),
            ..GateOptions::default()
        };
        let table = self.table(name);
        self.gate = Some(Gate::start_with(self.listener.try_clone()?, options, table)?);
        Ok(())
    }

    fn install(&mut self, name: &FleetName) {
        let table = self.table(name);
        if let Some(gate) = &self.gate
            && let Err(error) = gate.install(table)
        {
            // Nobody else installs tables, so a refusal is a defect; the table in force stays.
            tracing::error!(%error, fleet = %name, "the gate refused its routes");
        }
    }

    fn table(&mut self, name: &FleetName) -> RouteTable {
        self.generation += 1;
        let service = Service {
            name: name.to_string(),
            host: None,
            path_prefix: "/".into(),
            pools: self.pools.clone(),
            routes: self.config.routes.clone(),
            unavailable: Unavailable { page: self.page.clone(), ..Unavailable::default() },
        };
        RouteTable { generation: self.generation, services: vec![service] }
    }
}
