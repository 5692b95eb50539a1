//! What is counted, and for whom.

use hyper::StatusCode;

use crate::actors::*;

#[tokio::test]
async fn requests_count_for_their_release_and_route() {
    let replica = Replica::start(|request| async move {
        let mut answer = text("body");
        if request.uri().path() == "/orders/13" {
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        answer
    })
    .await;
    let gate = gate(options(), &[("a", replica.address)]);
    let before = gate.measures();
    for path in ["/orders/1", "/orders/2?x=y", "/orders/13", "/made/up", "/made/up/too"] {
        get(&gate, path).await;
    }
    let after = gate.measures();
    let counted = &after.since(&before).releases[&release(1)];
    let of = |route: &str| {
        let measure = &counted.routes[route];
        (measure.requests, measure.errors, measure.latency.count())
    };
    assert_eq!(counted.routes.len(), 2);
    assert_eq!((of("/orders/{id}"), of("other")), ((3, 1, 3), (2, 0, 2)));
    assert_eq!(gate.measures_of("shop"), after);
    assert!(gate.measures_of("another").releases.is_empty());
}

#[tokio::test]
async fn a_releases_counts_go_on_when_it_comes_back() {
    let replica = Replica::named("a").await;
    let gate = gate(options(), &[("a", replica.address)]);
    get(&gate, "/").await;
    gate.install(table(2, vec![pool(2, 1.0, &[("b", replica.address)])])).unwrap();
    get(&gate, "/").await;
    gate.install(table(3, vec![pool(1, 1.0, &[("a", replica.address)])])).unwrap();
    get(&gate, "/").await;
    let requests = |number| gate.measures().releases[&release(number)].total().requests;
    assert_eq!((requests(1), requests(2)), (2, 1));
}

#[tokio::test]
async fn prometheus_text_says_the_same() {
    let replica = Replica::named("a").await;
    let gate = gate(options(), &[("replica \"1\"", replica.address)]);
    for _ in 0..3 {
        get(&gate, "/orders/1").await;
    }
    raw(&gate, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n").await;
    let text = gate.prometheus();
    let labels = "service=\"shop\",release=\"r1\",route=\"/orders/{id}\"";
    for line in [
        "cutover_gate_generation 1".to_owned(),
        "cutover_gate_in_flight{upstream=\"replica \\\"1\\\"\"} 0".to_owned(),
        format!("cutover_gate_requests_total{{{labels},outcome=\"2xx\"}} 3"),
        format!("cutover_gate_requests_total{{{labels},outcome=\"failed\"}} 0"),
        format!("cutover_gate_errors_total{{{labels}}} 0"),
        format!("cutover_gate_response_seconds_count{{{labels}}} 3"),
        format!("cutover_gate_response_seconds_bucket{{{labels},le=\"+Inf\"}} 3"),
        "cutover_gate_refused_total{reason=\"bad_request\"} 1".to_owned(),
    ] {
        assert!(text.lines().any(|own| own == line), "{line} in\n{text}");
    }
    // Every family is announced once, before its samples, and every sample is `name{labels} number`.
    let mut families = std::collections::BTreeSet::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(family.split(' ').next().unwrap().to_owned()), "{line}");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            let family =
                ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(families.contains(name) || families.contains(family), "{line}");
        }
    }
    let buckets = text.lines().filter(|line| line.starts_with("cutover_gate_response_seconds_bucket"));
    let counts: Vec<f64> = buckets.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&3.0), "{counts:?}");
}
