//! `cutover schema`: the JSON schema of cutover.toml, for editors.

use crate::say;

pub(super) fn run() {
    let schema = serde_json::to_string_pretty(&cutover_model::config::schema());
    say::line(&schema.expect("schemas are plain data"));
}
