//! Which declared pattern a path belongs to: `/orders/{id}` matches `/orders/7`, `/files/*` any path below `/files`.
//! A path that fits several belongs to the one that is literal for longest, whatever the order of declaration.

use crate::table::MAX_ROUTES;

/// The name of the route that counts what no pattern matches.
pub(crate) const OTHER: &str = "other";

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    // In order of preference where patterns overlap.
    Literal(String),
    Parameter,
    Rest,
}

#[derive(Debug)]
struct Pattern {
    segments: Vec<Segment>,
    route: usize,
}

/// A service's declared patterns. Route numbers are positions in [`Patterns::names`].
#[derive(Debug)]
pub(crate) struct Patterns {
    names: Vec<String>,
    patterns: Vec<Pattern>,
}

impl Patterns {
    pub(crate) fn new(declared: &[String]) -> Self {
        let mut names: Vec<String> = Vec::new();
        for name in declared.iter().take(MAX_ROUTES) {
            if name != OTHER && !names.contains(name) {
                names.push(name.clone());
            }
        }
        let mut patterns: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(route, name)| Pattern { segments: segments(name), route })
            .collect();
        patterns.sort_by(|a, b| a.segments.cmp(&b.segments));
        names.push(OTHER.to_owned());
        Self { names, patterns }
    }

    /// The patterns as declared, then `other`.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The route number of a path (without its query).
    pub(crate) fn route_of(&self, path: &str) -> usize {
        let found = self.patterns.iter().find(|pattern| matches(&pattern.segments, path));
        found.map_or(self.names.len() - 1, |pattern| pattern.route)
    }
}

fn segments(pattern: &str) -> Vec<Segment> {
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    let parts = pattern.split('/');
    parts
        .map(|part| match part {
            "*" => Segment::Rest,
            _ if part.starts_with('{') && part.ends_with('}') => Segment::Parameter,
            _ => Segment::Literal(part.to_owned()),
        })
        .collect()
}

fn matches(segments: &[Segment], path: &str) -> bool {
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    for segment in segments {
        let fits = match (segment, parts.next()) {
            (Segment::Rest, Some(_)) => return true,
            (Segment::Literal(literal), Some(part)) => literal == part,
            (Segment::Parameter, Some(part)) => !part.is_empty(),
            (_, None) => false,
        };
        if !fits {
            return false;
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(declared: &[&str], path: &str) -> String {
        let patterns = Patterns::new(&declared.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        patterns.names()[patterns.route_of(path)].clone()
    }

    #[test]
    fn parameters_fill_one_segment() {
        let declared = ["/", "/orders/{id}", "/orders", "/orders/{id}/items"];
        for (path, expected) in [
            ("/", "/"),
            ("/orders", "/orders"),
            ("/orders/7", "/orders/{id}"),
            ("/orders/7/items", "/orders/{id}/items"),
            ("/orders/", "other"),
            ("/orders/7/", "other"),
            ("/orders/7/items/9", "other"),
            ("/order", "other"),
            ("*", "other"),
        ] {
            assert_eq!(route(&declared, path), expected, "{path}");
        }
    }

    #[test]
    fn the_more_literal_pattern_wins() {
        for declared in
            [["/orders/*", "/orders/{id}", "/orders/new"], ["/orders/new", "/orders/{id}", "/orders/*"]]
        {
            assert_eq!(route(&declared, "/orders/new"), "/orders/new");
            assert_eq!(route(&declared, "/orders/7"), "/orders/{id}");
            assert_eq!(route(&declared, "/orders/7/x"), "/orders/*");
        }
    }

    #[test]
    fn routes_are_bounded() {
        let many: Vec<_> = (0..1000).map(|n| format!("/r{n}")).collect();
        let patterns = Patterns::new(&many);
        assert_eq!(patterns.names().len(), MAX_ROUTES + 1);
        assert_eq!(patterns.names()[patterns.route_of("/r999")], OTHER);
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_was_made_from(
            parts in prop::collection::vec(("[a-z]{1,4}", any::<bool>()), 1..5),
            fill in "[a-z0-9]{1,6}",
        ) {
            let pattern: String =
                parts.iter().map(|(part, open)| if *open { format!("/{{{part}}}") } else { format!("/{part}") }).collect();
            let path: String =
                parts.iter().map(|(part, open)| format!("/{}", if *open { &fill } else { part })).collect();
            prop_assert_eq!(route(&[&pattern], &path), pattern.as_str());
            prop_assert_eq!(route(&[&pattern], &format!("{path}/more")), OTHER);
        }
    }
}
