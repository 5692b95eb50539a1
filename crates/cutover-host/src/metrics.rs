//! The Prometheus page of a host: what its gates count, each sample with its fleet, and its own replicas by state.

use std::{collections::BTreeMap, fmt::Write as _};

use cutover_model::fleet::{FleetName, Observed};

/// One page from each fleet's page and state. Families that several fleets have are named once, as the format demands.
pub(crate) fn page(fleets: &[(FleetName, String, Observed)]) -> String {
    let mut families: BTreeMap<&str, (Vec<&str>, String)> = BTreeMap::new();
    for (fleet, text, _) in fleets {
        let mut family = "";
        for line in text.lines() {
            if let Some(about) = line.strip_prefix("# ") {
                family = about.split(' ').nth(1).unwrap_or_default();
                let (heads, _) = families.entry(family).or_default();
                if !heads.contains(&line) {
                    heads.push(line);
                }
            } else {
                let (_, samples) = families.entry(family).or_default();
                labelled(samples, line, fleet);
            }
        }
    }
    let mut page = String::new();
    for (heads, samples) in families.values() {
        heads.iter().for_each(|head| {
            let _ = writeln!(page, "{head}");
        });
        page.push_str(samples);
    }
    replicas(&mut page, fleets);
    page
}

/// `name 1` and `name{a="b"} 1` with the fleet as first label. A String takes every write.
fn labelled(samples: &mut String, line: &str, fleet: &FleetName) {
    let end = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let _ = match rest.strip_prefix('{') {
        Some(labels) => writeln!(samples, "{name}{{fleet=\"{fleet}\",{labels}"),
        None => writeln!(samples, "{name}{{fleet=\"{fleet}\"}}{rest}"),
    };
}

fn replicas(page: &mut String, fleets: &[(FleetName, String, Observed)]) {
    page.push_str(
        "# HELP cutover_host_replicas Replicas by release and state.\n# TYPE cutover_host_replicas gauge\n",
    );
    for (fleet, _, observed) in fleets {
        for release in &observed.releases {
            let mut states: BTreeMap<String, u32> = BTreeMap::new();
            for replica in &release.replicas {
                *states.entry(format!("{:?}", replica.state).to_lowercase()).or_default() += 1;
            }
            for (state, count) in states {
                let release = release.release;
                let _ = writeln!(
                    page,
                    "cutover_host_replicas{{fleet=\"{fleet}\",release=\"{release}\",state=\"{state}\"}} {count}"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_named_once_and_samples_by_fleet() {
        let text = "# HELP a Help.\n# TYPE a counter\na 1\n# TYPE b gauge\nb{x=\"y\"} 2\n";
        let observed = || Observed { generation: Default::default(), version: 0, releases: Vec::new() };
        let fleets = ["s.a", "s.b"].map(|name| (name.parse().unwrap(), text.to_owned(), observed()));
        let page = page(&fleets);
        let expected = "# HELP a Help.\n# TYPE a counter\na{fleet=\"s.a\"} 1\na{fleet=\"s.b\"} 1\n\
                        # TYPE b gauge\nb{fleet=\"s.a\",x=\"y\"} 2\nb{fleet=\"s.b\",x=\"y\"} 2\n# HELP cutover_host";
        assert!(page.starts_with(expected), "{page}");
    }
}
