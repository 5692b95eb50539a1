//! Pages under `docs/reference/` that are generated, so that they can't say something else than the code.

use std::fs;

use clap::Args;

use crate::failure::Failure;

type Generate = fn() -> String;

/// Every generated page: its path from the root, and what makes it.
const PAGES: &[(&str, Generate)] = &[("docs/reference/cutover.schema.json", configuration_schema)];

#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing; fail where a page differs from the code.
    #[arg(long)]
    check: bool,
}

/// Writes the pages that differ from the code, or with `--check` names them.
///
/// # Errors
/// A page can't be written; or with `--check`, one differs or is missing.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut drifted = Vec::new();
    for (page, generate) in PAGES {
        let path = crate::root().join(page);
        let fresh = generate();
        if fs::read_to_string(&path).is_ok_and(|current| current == fresh) {
            continue;
        }
        drifted.push(*page);
        if !options.check {
            fs::write(&path, fresh).map_err(|source| Failure::File { path, source })?;
            println!("wrote {page}");
        }
    }
    if options.check && !drifted.is_empty() {
        return Err(Failure::Drifted(drifted.join(", ")));
    }
    println!("reference: {} pages agree with the code", PAGES.len());
    Ok(())
}

/// The JSON schema of `cutover.toml`, for editors.
fn configuration_schema() -> String {
    format!("{:#}\n", cutover_model::config::schema().as_value())
}

#[cfg(test)]
mod tests {
    use cutover_model::config::Config;

    /// What the pages show works when it is copied.
    #[test]
    fn every_cutover_toml_that_is_shown_parses() {
        let pages = ["README.md", "docs/guide/first-release.md"];
        for page in pages {
            let text = std::fs::read_to_string(crate::root().join(page)).unwrap();
            let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
            let whole: Vec<&str> = blocks.filter(|block| block.contains("[service]")).collect();
            assert!(!whole.is_empty(), "{page} shows no cutover.toml");
            for example in whole {
                if let Err(error) = Config::parse(example) {
                    panic!("{page} shows a cutover.toml that does not parse:\n{error}\n\n{example}");
                }
            }
        }
    }
}
