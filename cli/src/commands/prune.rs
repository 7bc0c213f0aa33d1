//! `vecuna prune`: what nobody needs leaves the store.

use anyhow::Result;
use http::Method;
use modelfiles::human;
use serde::Deserialize;
use serde_json::json;

use crate::client::Client;
use crate::output;

/// What is removed.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Remove files of no model from a store that another program made, too
    #[arg(long)]
    all: bool,
}

#[derive(Deserialize)]
struct Pruned {
    partials: Amount,
    temporary: Amount,
    orphans: Amount,
    #[serde(default)]
    kept: String,
}

#[derive(Deserialize)]
struct Amount {
    count: u64,
    bytes: u64,
}

/// Prunes the store and tells what that gave.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { dry_run, all } = arguments;
    let request = json!({ "dry_run": dry_run, "all": all });
    let client = Client::connect().await?;
    let pruned: Pruned = client.ask(Method::POST, "/api/prune", &request).await?;
    match pruned.kept.as_str() {
        "foreign" => output::note(
            "note: another program made this store, so files of no model stay; --all removes them too",
        ),
        "unreadable" => output::note(
            "note: files of no model stay as long as a manifest cannot be read; 'vecuna verify' tells which",
        ),
        _ => {}
    }
    output::line(&render(&pruned, if dry_run { "would free" } else { "freed" }))
}

fn render(pruned: &Pruned, verb: &str) -> String {
    let rows = [
        (&pruned.partials, ["partial download", "partial downloads"]),
        (&pruned.temporary, ["temporary file", "temporary files"]),
        (&pruned.orphans, ["file of no model", "files of no model"]),
    ];
    let found: Vec<_> = rows.iter().filter(|(amount, _)| amount.count > 0).collect();
    if found.is_empty() {
        return "nothing to free".to_owned();
    }
    let total = found.iter().fold(0, |sum: u64, (amount, _)| sum.saturating_add(amount.bytes));
    let parts: Vec<String> = found.iter().map(|(amount, what)| part(amount, what)).collect();
    format!("{verb} {}: {}", human::bytes(total), parts.join(", "))
}

fn part(amount: &Amount, [one, many]: &[&str; 2]) -> String {
    let what = if amount.count == 1 { one } else { many };
    format!("{} {what} ({})", amount.count, human::bytes(amount.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_there_is_told() {
        let told = |partials: [u64; 2], temporary: [u64; 2], orphans: [u64; 2]| {
            let amount = |[count, bytes]: [u64; 2]| Amount { count, bytes };
            let [partials, temporary, orphans] = [partials, temporary, orphans].map(amount);
            render(&Pruned { partials, temporary, orphans, kept: String::new() }, "freed")
        };
        assert_eq!(told([0, 0], [0, 0], [0, 0]), "nothing to free");
        let one = "freed 2 MB: 1 partial download (2 MB)";
        assert_eq!(told([1, 2_000_000], [0, 0], [0, 0]), one);
        let all = "freed 9 B: 2 partial downloads (2 B), 3 temporary files (3 B), 4 files of no model (4 B)";
        assert_eq!(told([2, 2], [3, 3], [4, 4]), all);
    }
}
