//! `cutover migrate verify` and `adopt`: what a ledger says, and taking it over from the tool before.

use cutover_migrate::{Adoption, Finding, Options, Verified};

use super::open_at;
use crate::{
    args::{Global, MigrateAdopt, MigrateAt},
    failure::{Failure, Kind},
    say,
};

pub(super) async fn verify(global: &Global, at: &MigrateAt) -> Result<(), Failure> {
    let mut opened = open_at(global, at).await?;
    let verified = cutover_migrate::verify(&opened.source, &mut opened.database).await;
    opened.database.close().await;
    let verified = verified?;
    say::result(global.json, &document(&verified), || told(&verified));
    sound(&verified)
}

pub(super) async fn adopt(global: &Global, args: &MigrateAdopt) -> Result<(), Failure> {
    let mut opened = open_at(global, &args.at).await?;
    let holder = cutover_conductor::artifact::identity(std::path::Path::new(".")).to_string();
    let options = Options::new(holder);
    let apply = args.apply.then_some(&options);
    let adoption = cutover_migrate::adopt(&opened.source, &mut opened.database, apply).await;
    opened.database.close().await;
    let adoption = adoption?;
    let mut whole = document(&adoption.verified);
    whole["mendings"] = serde_json::json!(adoption.mendings);
    whole["mended"] = adoption.applied.into();
    say::result(global.json, &whole, || adopted(&adoption));
    sound(&adoption.verified)
}

fn document(verified: &Verified) -> serde_json::Value {
    serde_json::json!({
        "ok": verified.is_sound(),
        "format": verified.format,
        "ledger": verified.ledger,
        "applied": verified.applied,
        "pending": verified.pending,
        "findings": verified.findings,
        "unchecked": verified.unchecked,
    })
}

fn sound(verified: &Verified) -> Result<(), Failure> {
    let wrong = verified.findings.iter().filter(|finding| finding.wrong).count();
    if wrong == 0 {
        return Ok(());
    }
    let failure = Failure::new(Kind::Failed, format!("{wrong} wrong in the ledger {}", verified.ledger));
    Err(failure
        .fact("no table of the application was changed")
        .help("each finding says its own")
        .documented())
}

fn told(verified: &Verified) -> String {
    let mut lines = vec![format!(
        "{} ({}): {} applied, {} pending",
        verified.ledger,
        verified.format.as_str(),
        verified.applied,
        verified.pending
    )];
    lines.extend(verified.findings.iter().map(finding));
    lines.extend(verified.unchecked.iter().map(|what| format!("not checked: {what}")));
    if verified.findings.is_empty() {
        lines.push("nothing is wrong".to_owned());
    }
    lines.join("\n")
}

fn finding(finding: &Finding) -> String {
    let weight = if finding.wrong { "wrong" } else { "note" };
    let about = if finding.migration.is_empty() { "the ledger" } else { &finding.migration };
    format!("{weight}: {about}: {} ({})\n  next: {}", finding.what, finding.kind.as_str(), finding.next)
}

fn adopted(adoption: &Adoption) -> String {
    let mut text = told(&adoption.verified);
    let verb = if adoption.applied { "mended" } else { "would mend" };
    for mending in &adoption.mendings {
        text.push_str(&format!("\n{verb}: {}: {}", mending.migration, mending.what));
    }
    let end = match (adoption.mendings.is_empty(), adoption.applied) {
        (true, _) => "no row needs mending; `cutover migrate up` goes on from here",
        (false, true) => "the ledger is mended; `cutover migrate up` goes on from here",
        (false, false) => {
            "nothing was changed; `cutover migrate adopt --apply` mends these rows, and no other table"
        }
    };
    format!("{text}\n{end}")
}
