//! `vecuna verify`: are the files of models what they were?

use anyhow::{Result, bail};
use modelfiles::human;
use serde_json::{Value, json};

use crate::client::{Client, Event};
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;

/// What is verified.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The models to verify, all of them when none is named
    #[arg(value_name = "MODEL")]
    models: Vec<String>,
}

/// Verifies one model after the other; damage is told at the end of each.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let client = Client::connect().await?;
    let requests: Vec<Value> = match arguments.models.as_slice() {
        [] => vec![json!({})],
        models => models.iter().map(|model| json!({ "model": model })).collect(),
    };
    let mut damaged = 0;
    for request in &requests {
        damaged += verify(&client, request).await?;
    }
    if damaged == 0 {
        return Ok(());
    }
    let what = if damaged == 1 { "file is" } else { "files are" };
    let hint = "'vecuna pull' fetches what is damaged again";
    Err(Failure::new(format!("{damaged} {what} damaged or missing")).hint(hint).into())
}

/// Returns the number of damaged files.
async fn verify(client: &Client, request: &Value) -> Result<u64> {
    let mut events = client.events("/api/verify", request).await?;
    let mut progress = Progress::new();
    let mut found = Vec::new();
    while let Some(event) = events.next().await? {
        match event.status.as_str() {
            "damaged" => found.push(damage(&event)),
            "verified" => {
                // Nothing else is shown any more that a line could fall into.
                drop(progress);
                found.iter().try_for_each(|line| output::line(line))?;
                output::line(&summary(&event))?;
                return Ok(number(&event, "damaged"));
            }
            _ => progress.show(&event),
        }
    }
    bail!("the answer broke off")
}

fn damage(event: &Event) -> String {
    let text = |key: &str| event.more.get(key).and_then(Value::as_str).unwrap_or_default();
    let place = [text("model"), text("file")].map(str::to_owned);
    let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    format!("{place}: {}", text("reason"))
}

fn summary(event: &Event) -> String {
    let [models, files, damaged] = ["models", "files", "damaged"].map(|key| number(event, key));
    let size = human::bytes(number(event, "bytes"));
    let models = if models == 1 { "1 model".to_owned() } else { format!("{models} models") };
    format!("verified {models}, {files} files, {size}: {damaged} damaged")
}

fn number(event: &Event, key: &str) -> u64 {
    event.more.get(key).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_with_its_place() {
        let event = |text: &str| serde_json::from_str::<Event>(text).expect("an event");
        let file = event(
            r#"{"status":"damaged","model":"m:latest","file":"config.json","reason":"gone"}"#,
        );
        assert_eq!(damage(&file), "m:latest config.json: gone");
        let manifest = event(r#"{"status":"damaged","model":"m:latest","reason":"no JSON"}"#);
        assert_eq!(damage(&manifest), "m:latest: no JSON");
        let end = r#"{"status":"verified","models":1,"files":3,"bytes":90000000,"damaged":0}"#;
        assert_eq!(summary(&event(end)), "verified 1 model, 3 files, 90 MB: 0 damaged");
    }
}
