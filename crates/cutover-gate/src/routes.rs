//! A route table made ready to use: services in order of match, replicas joined to what is known of them, counters
//! carried over from the table before.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use cutover_model::ReleaseNumber;
use hyper::header::HeaderValue;

use crate::{
    pattern::Patterns,
    pick::{self, Candidate},
    replica::Replica,
    table::{RouteTable, Service, Unavailable},
    tally::Tally,
};

/// Tallies of releases that left the table and are still reported.
const RETIRED_TALLIES: usize = 32;

/// The table in force.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    pub(crate) generation: u64,
    services: Vec<ServiceRoutes>,
}

/// One service of the table.
#[derive(Debug)]
pub(crate) struct ServiceRoutes {
    name: String,
    host: Option<String>,
    prefix: String,
    pub(crate) patterns: Patterns,
    pub(crate) pools: Vec<PoolRoutes>,
    turns: AtomicU64,
    pub(crate) retry_after: HeaderValue,
    pub(crate) page: Option<(HeaderValue, Bytes)>,
}

/// One release's replicas.
#[derive(Debug)]
pub(crate) struct PoolRoutes {
    weight: f64,
    pub(crate) tally: Arc<Tally>,
    upstreams: Vec<Member>,
    turns: AtomicU64,
}

#[derive(Debug)]
struct Member {
    replica: Arc<Replica>,
    ready_since: Option<Instant>,
    slow_start: Duration,
}

impl Routes {
    /// The service for a request; the position of a service within its table never changes.
    pub(crate) fn service_of(&self, host: &str, path: &str) -> Option<usize> {
        self.services.iter().position(|service| service.matches(host, path))
    }

    pub(crate) fn service(&self, position: usize) -> &ServiceRoutes {
        &self.services[position]
    }
}

impl ServiceRoutes {
    fn matches(&self, host: &str, path: &str) -> bool {
        let host_fits = self.host.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(bare_host(host)));
        let below = || path.strip_prefix(self.prefix.as_str());
        host_fits
            && (self.prefix.is_empty()
                || below().is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// A pool by weight, and in it the least loaded replica that was not tried. `None` when none is left.
    pub(crate) fn pick(
        &self,
        tried: &[u64],
        now: Instant,
        now_millis: u64,
    ) -> Option<(usize, &Arc<Replica>)> {
        let weights = self.pools.iter().map(|pool| if pool.has_untried(tried) { pool.weight } else { 0.0 });
        let alone = self.pools.len() == 1;
        let point = if alone { 0.0 } else { pick::low_discrepancy(self.turns.fetch_add(1, Relaxed)) };
        let position = pick::by_weight(weights, point)?;
        let pool = &self.pools[position];
        Some((position, pool.pick(tried, now, now_millis)?))
    }
}

impl PoolRoutes {
    fn has_untried(&self, tried: &[u64]) -> bool {
        self.upstreams.iter().any(|member| !tried.contains(&member.replica.key))
    }

    fn pick(&self, tried: &[u64], now: Instant, now_millis: u64) -> Option<&Arc<Replica>> {
        if let ([only], []) = (self.upstreams.as_slice(), tried) {
            return Some(&only.replica);
        }
        let turn = self.turns.fetch_add(1, Relaxed);
        let candidate = |paused_too: bool| {
            move |position: usize| {
                let member = &self.upstreams[position];
                let replica = &member.replica;
                let usable = !tried.contains(&replica.key) && (paused_too || !replica.is_paused(now_millis));
                usable.then(|| Candidate { load: replica.active(), ramp: member.ramp(now) })
            }
        };
        let count = self.upstreams.len();
        let chosen = pick::least_loaded(count, turn, candidate(false))
            .or_else(|| pick::least_loaded(count, turn, candidate(true)));
        chosen.map(|position| &self.upstreams[position].replica)
    }
}

impl Member {
    fn ramp(&self, now: Instant) -> f64 {
        match self.ready_since {
            Some(since) if !self.slow_start.is_zero() => {
                let elapsed = now.saturating_duration_since(since).as_secs_f64();
                (elapsed / self.slow_start.as_secs_f64()).min(1.0)
            }
            _ => 1.0,
        }
    }
}

/// A host without its port and without the root's dot: `Shop.example:8080` is `Shop.example`, `[::1]:80` is `[::1]`.
fn bare_host(host: &str) -> &str {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let bare = &host[..end];
    bare.strip_suffix('.').unwrap_or(bare)
}

/// What outlives a table: replicas with requests in flight, and counts. One for each gate, behind its lock.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    replicas: Vec<Arc<Replica>>,
    tallies: Vec<Arc<Tally>>,
    next_key: u64,
}

impl Registry {
    /// All replicas known by an id; more than one only if the id was used again for another address.
    pub(crate) fn replicas(&self, id: &str) -> Vec<Arc<Replica>> {
        self.replicas.iter().filter(|replica| replica.id == id).cloned().collect()
    }

    pub(crate) fn all_replicas(&self) -> &[Arc<Replica>] {
        &self.replicas
    }

    pub(crate) fn tallies(&self) -> &[Arc<Tally>] {
        &self.tallies
    }

    /// Makes a table ready. Once it is in force, [`Registry::settle`] must follow.
    pub(crate) fn ready(&mut self, table: &RouteTable, before: &Routes, workers: usize) -> Routes {
        let mut services: Vec<_> =
            table.services.iter().map(|service| self.service(service, before, workers)).collect();
        services.sort_by_key(|service| (service.host.is_none(), usize::MAX - service.prefix.len()));
        Routes { generation: table.generation, services }
    }

    fn service(&mut self, service: &Service, before: &Routes, workers: usize) -> ServiceRoutes {
        let patterns = Patterns::new(&service.routes);
        let prefix = service.path_prefix.trim_end_matches('/').to_owned();
        let predecessor = before.services.iter().find(|old| old.name == service.name && old.prefix == prefix);
        let turns = predecessor.map_or(0, |old| old.turns.load(Relaxed));
        let mut pools = Vec::new();
        for pool in &service.pools {
            let upstreams = pool.upstreams.iter().map(|upstream| Member {
                replica: self.replica(&upstream.id, upstream.address),
                ready_since: upstream.ready_since,
                slow_start: upstream.slow_start,
            });
            let upstreams: Vec<_> = upstreams.collect();
            let tally = self.tally(&service.name, pool.release, &patterns, workers);
            pools.push(PoolRoutes { weight: pool.weight, tally, upstreams, turns: AtomicU64::new(0) });
        }
        let Unavailable { retry_after, page } = &service.unavailable;
        ServiceRoutes {
            name: service.name.clone(),
            host: service.host.as_deref().map(|host| bare_host(host).to_owned()),
            prefix,
            patterns,
            pools,
            turns: AtomicU64::new(turns),
            retry_after: HeaderValue::from(retry_after.as_secs().max(1)),
            page: page.as_ref().map(|page| {
                let plain = HeaderValue::from_static("text/plain; charset=utf-8");
                (HeaderValue::from_str(&page.content_type).unwrap_or(plain), page.body.clone())
            }),
        }
    }

    fn replica(&mut self, id: &str, address: SocketAddr) -> Arc<Replica> {
        if let Some(known) =
            self.replicas.iter().find(|replica| replica.id == id && replica.address == address)
        {
            known.list(true);
            return Arc::clone(known);
        }
        self.next_key += 1;
        let replica = Arc::new(Replica::new(id.to_owned(), address, self.next_key));
        self.replicas.push(Arc::clone(&replica));
        replica
    }

    fn tally(
        &mut self,
        service: &str,
        release: ReleaseNumber,
        patterns: &Patterns,
        workers: usize,
    ) -> Arc<Tally> {
        let routes = patterns.names();
        let position = self.tallies.iter().position(|tally| tally.is_for(service, release, routes));
        // Last used, last forgotten.
        let tally = match position {
            Some(position) => self.tallies.remove(position),
            None => Tally::new(service, release, routes, workers),
        };
        self.tallies.push(Arc::clone(&tally));
        tally
    }

    /// Forgets what nothing refers to any more. Only once `routes` is in force: until then a request may still begin
    /// on a replica that it leaves out.
    pub(crate) fn settle(&mut self, routes: &Routes) {
        let pools = || routes.services.iter().flat_map(|service| &service.pools);
        let listed = |replica: &Arc<Replica>| {
            pools().any(|pool| pool.upstreams.iter().any(|member| member.replica.key == replica.key))
        };
        self.replicas.retain(|replica| {
            let listed = listed(replica);
            replica.list(listed);
            listed || replica.active() > 0
        });
        let used = pools().count();
        let surplus = self.tallies.len().saturating_sub(used + RETIRED_TALLIES);
        self.tallies.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Pool, Upstream};

    fn service(name: &str, host: Option<&str>, prefix: &str) -> Service {
        Service {
            name: name.into(),
            host: host.map(str::to_owned),
            path_prefix: prefix.into(),
            pools: Vec::new(),
            routes: Vec::new(),
            unavailable: Unavailable::default(),
        }
    }

    fn upstream(id: &str) -> Upstream {
        let address = ([127, 0, 0, 1], 1).into();
        Upstream { id: id.into(), address, ready_since: None, slow_start: Duration::ZERO }
    }

    fn pool(release: u64, weight: f64, ids: &[&str]) -> Pool {
        let release = ReleaseNumber::new(release).unwrap();
        Pool { release, weight, upstreams: ids.iter().map(|id| upstream(id)).collect() }
    }

    fn ready(registry: &mut Registry, generation: u64, services: Vec<Service>) -> Routes {
        let routes = registry.ready(&RouteTable { generation, services }, &Routes::default(), 1);
        registry.settle(&routes);
        routes
    }

    #[test]
    fn the_most_exact_service_matches() {
        let services = vec![
            service("any", None, "/"),
            service("api", None, "/api"),
            service("shop", Some("shop.example"), "/"),
            service("shop-api", Some("Shop.Example."), "/api/"),
        ];
        let routes = ready(&mut Registry::default(), 1, services);
        let name =
            |host: &str, path: &str| routes.service(routes.service_of(host, path).unwrap()).name.clone();
        for (host, path, expected) in [
            ("shop.example", "/", "shop"),
            ("SHOP.example:8080", "/apis", "shop"),
            ("shop.example.", "/api", "shop-api"),
            ("shop.example", "/api/x", "shop-api"),
            ("other.example", "/api/x", "api"),
            ("other.example", "/apix", "any"),
            ("[::1]:80", "*", "any"),
        ] {
            assert_eq!(name(host, path), expected, "{host} {path}");
        }
        let only_host = ready(&mut Registry::default(), 1, vec![service("shop", Some("shop.example"), "/")]);
        assert_eq!(only_host.service_of("other.example", "/"), None);
    }

    #[test]
    fn weights_count_only_pools_with_replicas() {
        let mut shop = service("shop", None, "/");
        shop.pools = vec![
            pool(1, 90.0, &["a", "b"]),
            pool(2, 10.0, &["c"]),
            pool(3, 100.0, &[]),
            pool(4, 0.0, &["z"]),
        ];
        let routes = ready(&mut Registry::default(), 1, vec![shop]);
        let mut counts = [0; 4];
        for _ in 0..10_000 {
            counts[routes.service(0).pick(&[], Instant::now(), 0).unwrap().0] += 1;
        }
        assert!((8990..=9010).contains(&counts[0]) && counts[0] + counts[1] == 10_000, "{counts:?}");
    }

    #[test]
    fn another_attempt_goes_elsewhere_and_never_to_weight_zero() {
        let mut shop = service("shop", None, "/");
        shop.pools = vec![pool(1, 1.0, &["a", "b"]), pool(2, 0.0, &["z"])];
        let routes = ready(&mut Registry::default(), 1, vec![shop]);
        let mut tried = Vec::new();
        while let Some((_, replica)) = routes.service(0).pick(&tried, Instant::now(), 0) {
            assert!(!tried.contains(&replica.key) && replica.id != "z");
            tried.push(replica.key);
        }
        assert_eq!(tried.len(), 2);
    }

    #[test]
    fn a_replica_that_refused_is_passed_over_while_there_are_others() {
        let mut shop = service("shop", None, "/");
        shop.pools = vec![pool(1, 1.0, &["a", "b"])];
        let mut registry = Registry::default();
        let routes = ready(&mut registry, 1, vec![shop]);
        registry.replicas("a")[0].pause_until(100);
        let is_a = |now| routes.service(0).pick(&[], Instant::now(), now).unwrap().1.id == "a";
        let picks = |now| (0..10).filter(|_| is_a(now)).count();
        assert_eq!(picks(99), 0);
        assert_eq!(picks(100), 5);
        registry.replicas("b")[0].pause_until(100);
        assert_eq!(picks(99), 5, "with none else, all are used");
    }

    #[test]
    fn slow_start_follows_the_clock_it_is_given() {
        let start = Instant::now();
        let mut shop = service("shop", None, "/");
        let mut new = upstream("new");
        (new.ready_since, new.slow_start) = (Some(start), Duration::from_secs(10));
        shop.pools = vec![pool(1, 1.0, &["old"])];
        shop.pools[0].upstreams.push(new);
        let routes = ready(&mut Registry::default(), 1, vec![shop]);
        let share = |seconds| {
            let now = start + Duration::from_secs(seconds);
            (0..1000).filter(|_| routes.service(0).pick(&[], now, 0).unwrap().1.id == "new").count()
        };
        assert_eq!(share(0), 0);
        let (early, late, full) = (share(2), share(7), share(10));
        assert!((60..200).contains(&early) && early < late && late < full, "{early} {late} {full}");
        assert_eq!(full, 500);
    }

    #[test]
    fn counts_and_flights_outlive_a_table_and_are_bounded() {
        let mut registry = Registry::default();
        let with = |release, ids: &[&str]| {
            let mut shop = service("shop", None, "/");
            shop.pools = vec![pool(release, 1.0, ids)];
            vec![shop]
        };
        let first = ready(&mut registry, 1, with(1, &["a", "b"]));
        first.service(0).pools[0].tally.cell(0, 0).failed();
        let flight = crate::replica::InFlight::begin(&registry.replicas("a")[0]);
        ready(&mut registry, 2, with(2, &["c"]));
        assert_eq!((registry.replicas("a").len(), registry.replicas("b").len()), (1, 0));
        assert!(!flight.replica().is_listed());
        let again = ready(&mut registry, 3, with(1, &["a"]));
        assert_eq!(again.service(0).pools[0].tally.measure().total().requests, 1, "r1 goes on counting");
        assert!(flight.replica().is_listed());
        (4..200).for_each(|n| drop(ready(&mut registry, n, with(n, &["c"]))));
        assert_eq!(registry.tallies().len(), RETIRED_TALLIES + 1);
    }
}
