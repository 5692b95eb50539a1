//! The counts as Prometheus text.

use std::{fmt::Write as _, sync::atomic::Ordering::Relaxed, time::Duration};

use cutover_model::measure::{bucket_of, upper_bound};

use crate::{answer::Refusal, shared::Shared, tally::Counts};

/// Bounds of the latency histogram in milliseconds: few, because each is a series for every release and route.
const BOUNDS_MILLIS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

pub(crate) fn render(shared: &Shared) -> String {
    let (tallies, replicas) = {
        let state = shared.state();
        (state.registry.tallies().to_vec(), state.registry.all_replicas().to_vec())
    };
    let mut text = Text(String::with_capacity(4096));
    text.family("cutover_gate_generation", "gauge", "Generation of the route table in force.");
    text.sample("cutover_gate_generation", "", shared.generation());
    text.family("cutover_gate_connections", "gauge", "Open client connections.");
    text.sample("cutover_gate_connections", "", shared.connections.load(Relaxed) as u64);
    text.family("cutover_gate_in_flight", "gauge", "Requests in flight, by replica.");
    for replica in &replicas {
        text.sample(
            "cutover_gate_in_flight",
            &format!("upstream=\"{}\"", escaped(&replica.id)),
            replica.active() as u64,
        );
    }
    text.family("cutover_gate_retries_total", "counter", "Attempts repeated on another replica.");
    text.sample("cutover_gate_retries_total", "", shared.retries.load(Relaxed));
    text.family(
        "cutover_gate_refused_total",
        "counter",
        "Requests that the gate answered itself, by reason.",
    );
    for (name, count) in Refusal::NAMES.iter().zip(&shared.refused) {
        text.sample("cutover_gate_refused_total", &format!("reason=\"{name}\""), count.load(Relaxed));
    }
    let mut routes = Vec::new();
    for tally in &tallies {
        for (route, counts) in tally.counts() {
            let (service, release, route) = (escaped(&tally.service), tally.release, escaped(&route));
            routes.push((format!("service=\"{service}\",release=\"{release}\",route=\"{route}\""), counts));
        }
    }
    text.requests(&routes);
    text.latencies(&routes);
    text.0
}

struct Text(String);

impl Text {
    // Writing to a String cannot fail.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: u64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            _ => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn requests(&mut self, routes: &[(String, Counts)]) {
        const REQUESTS: &str = "cutover_gate_requests_total";
        self.family(
            REQUESTS,
            "counter",
            "Attempts by outcome: the response's class, failed, or aborted by the client.",
        );
        for (labels, counts) in routes {
            let measure = &counts.measure;
            let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(counts.classes);
            let answered: u64 = counts.classes.iter().sum();
            let failed = measure.requests.saturating_sub(answered);
            for (outcome, count) in classes.chain([("failed", failed), ("aborted", measure.aborted)]) {
                self.sample(REQUESTS, &format!("{labels},outcome=\"{outcome}\""), count);
            }
        }
        const ERRORS: &str = "cutover_gate_errors_total";
        self.family(ERRORS, "counter", "Responses of 5xx and failed forwards.");
        routes.iter().for_each(|(labels, counts)| self.sample(ERRORS, labels, counts.measure.errors));
    }

    fn latencies(&mut self, routes: &[(String, Counts)]) {
        const NAME: &str = "cutover_gate_response_seconds";
        self.family(NAME, "histogram", "From the request's last byte to the response head.");
        for (labels, counts) in routes {
            let latency = &counts.measure.latency;
            let count = latency.count();
            for millis in BOUNDS_MILLIS {
                // The scheme's own bound is named, so that the count is exact.
                let bound = upper_bound(bucket_of(Duration::from_millis(millis))).unwrap_or(Duration::MAX);
                let within = count - latency.count_slower_than(bound);
                let bound = bound.as_secs_f64();
                self.sample(&format!("{NAME}_bucket"), &format!("{labels},le=\"{bound}\""), within);
            }
            self.sample(&format!("{NAME}_bucket"), &format!("{labels},le=\"+Inf\""), count);
            let _ = writeln!(self.0, "{NAME}_sum{{{labels}}} {}", counts.latency_sum.as_secs_f64());
            self.sample(&format!("{NAME}_count"), labels, count);
        }
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
