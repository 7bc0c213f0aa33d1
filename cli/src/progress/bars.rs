//! How progress is drawn on a terminal: one line per step, one bar per blob.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use modelfiles::human;

use super::{Sized, sized};
use crate::client::Event;

const RUNNING: &str = "{msg} {percent:>3}% ▕{wide_bar}▏ {done:>7}/{whole:>7} {rate:>9} {left:>7}";
const FINISHED: &str = "{msg} {percent:>3}% ▕{wide_bar}▏ {whole:>7}                          ";
const SPINNER_FRAMES: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ";
const TICK: Duration = Duration::from_millis(100);

/// The lines drawn so far, oldest first.
pub(crate) struct Bars {
    screen: MultiProgress,
    spinner: Option<(String, ProgressBar)>,
    bars: HashMap<String, ProgressBar>,
}

impl Bars {
    /// Returns an empty drawing on standard error.
    pub(crate) fn new() -> Self {
        Self { screen: MultiProgress::new(), spinner: None, bars: HashMap::new() }
    }

    /// Draws one event.
    pub(crate) fn show(&mut self, event: &Event) {
        if let Some(sized) = sized(event) {
            self.stop_spinner();
            self.advance(&event.status, &sized);
            return;
        }
        let current = self.spinner.as_ref().map_or("", |(status, _)| status);
        if !event.status.is_empty() && event.status != current {
            self.stop_spinner();
            self.spin(&event.status);
        }
    }

    fn advance(&mut self, status: &str, sized: &Sized<'_>) {
        let bar = self.bars.entry(sized.key.to_owned()).or_insert_with(|| {
            let bar = self.screen.add(ProgressBar::new(sized.total));
            bar.set_style(style(RUNNING));
            bar.set_message(format!("{status}:"));
            bar.set_position(sized.completed);
            // What an earlier pull fetched says nothing about the rate of this one.
            bar.reset_eta();
            bar
        });
        bar.set_length(sized.total);
        bar.set_position(sized.completed);
        if sized.completed == sized.total && !bar.is_finished() {
            bar.set_style(style(FINISHED));
            bar.finish();
        }
    }

    fn spin(&mut self, status: &str) {
        let bar = self.screen.add(ProgressBar::new_spinner());
        bar.set_style(spinner_style());
        bar.set_message(status.to_owned());
        if status == "success" {
            return bar.finish();
        }
        bar.enable_steady_tick(TICK);
        self.spinner = Some((status.to_owned(), bar));
    }

    fn stop_spinner(&mut self) {
        if let Some((_, bar)) = self.spinner.take() {
            bar.finish();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.stop_spinner();
        self.bars.values().for_each(ProgressBar::abandon);
    }
}

fn spinner_style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{msg} {spinner}").expect("the template is constant");
    style.tick_chars(SPINNER_FRAMES)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .expect("the template is constant")
        .progress_chars("██ ")
        .with_key("done", key(|state| human::bytes(state.pos())))
        .with_key("whole", key(|state| human::bytes(state.len().unwrap_or(0))))
        .with_key("rate", key(|state| format!("{}/s", human::bytes(whole(state.per_sec())))))
        .with_key("left", key(|state| remaining(state.eta())))
}

/// Turns a function that tells something about a bar into a key of the template.
fn key(tell: fn(&ProgressState) -> String) -> impl Fn(&ProgressState, &mut dyn Write) + Clone {
    move |state, out| out.write_str(&tell(state)).unwrap_or_default()
}

/// Saturates where the rate is not a size.
fn whole(rate: f64) -> u64 {
    rate as u64
}

/// Returns a short form of the time left: `2s`, `4m2s`, `1h3m`, `99h+`.
fn remaining(left: Duration) -> String {
    let seconds = left.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (100.., _) => "99h+".to_owned(),
        (1.., _) => format!("{hours}h{minutes}m"),
        (0, 1..) => format!("{minutes}m{}s", seconds % 60),
        (0, 0) => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_short() {
        for (seconds, want) in
            [(0, "0s"), (2, "2s"), (242, "4m2s"), (3_800, "1h3m"), (400_000, "99h+")]
        {
            assert_eq!(remaining(Duration::from_secs(seconds)), want);
        }
    }

    #[test]
    fn the_templates_are_valid() {
        drop((style(RUNNING), style(FINISHED), spinner_style()));
    }
}
