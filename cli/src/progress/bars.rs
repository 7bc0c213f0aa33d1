//! How progress is drawn on a terminal: one line per step, one bar per blob.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};
use modelfiles::human;

use super::{Sized, sized};
use crate::client::Event;

/// Fits into 60 columns, with a few left for the bar.
const RUNNING: &str = "{msg:21!} {percent:>3}% ▕{wide_bar}▏ {whole:>7} {rate:>9} {left:>6}";
const SPINNER: &str = "{spinner} {wide_msg}";

/// More bars than this do not fit on a small screen; the other blobs get theirs when one ends.
const MAX_BARS: usize = 4;

const SPINNER_FRAMES: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ";
const TICK: Duration = Duration::from_millis(100);

/// What is going on, below plain lines of what is done.
pub(crate) struct Bars {
    screen: MultiProgress,
    spinner: Option<(String, ProgressBar)>,
    bars: HashMap<String, ProgressBar>,
    finished: HashSet<String>,
}

impl Bars {
    /// Returns an empty drawing on standard error.
    pub(crate) fn new() -> Self {
        Self::on(MultiProgress::new())
    }

    /// Tells whether nothing would be seen of the drawing.
    pub(crate) fn is_hidden(&self) -> bool {
        self.screen.is_hidden()
    }

    fn on(screen: MultiProgress) -> Self {
        Self { screen, spinner: None, bars: HashMap::new(), finished: HashSet::new() }
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
        if sized.completed == sized.total {
            return self.end(status, sized);
        }
        self.finished.remove(sized.key);
        if self.bars.len() >= MAX_BARS && !self.bars.contains_key(sized.key) {
            return;
        }
        let bar = self.bars.entry(sized.key.to_owned()).or_insert_with(|| {
            let bar = self.screen.add(ProgressBar::new(sized.total));
            bar.set_style(style());
            bar.set_message(format!("{status}:"));
            bar.set_position(sized.completed);
            // What an earlier pull fetched says nothing about the rate of this one.
            bar.reset_eta();
            bar
        });
        bar.set_length(sized.total);
        bar.set_position(sized.completed);
    }

    /// Turns the bar of a blob into a line.
    fn end(&mut self, status: &str, sized: &Sized<'_>) {
        if let Some(bar) = self.bars.remove(sized.key) {
            self.clear(&bar);
        }
        if self.finished.insert(sized.key.to_owned()) {
            self.say(&format!("{status}: 100% ({})", human::bytes(sized.total)));
        }
    }

    fn spin(&mut self, status: &str) {
        if status == "success" {
            return self.say(status);
        }
        let bar = self.screen.add(ProgressBar::new_spinner());
        bar.set_style(spinner_style());
        bar.set_message(status.to_owned());
        bar.enable_steady_tick(TICK);
        self.spinner = Some((status.to_owned(), bar));
    }

    fn stop_spinner(&mut self) {
        if let Some((status, bar)) = self.spinner.take() {
            self.clear(&bar);
            self.say(&status);
        }
    }

    fn clear(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        self.screen.remove(bar);
    }

    /// Writes a line above the bars; when the terminal is gone nobody is left to be told.
    fn say(&self, line: &str) {
        drop(self.screen.println(line));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.stop_spinner();
        self.bars.values().for_each(ProgressBar::abandon);
    }
}

fn spinner_style() -> ProgressStyle {
    let style = ProgressStyle::with_template(SPINNER).expect("the template is constant");
    style.tick_chars(SPINNER_FRAMES)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(RUNNING)
        .expect("the template is constant")
        .progress_chars("██ ")
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
    use indicatif::ProgressDrawTarget;

    use super::*;

    fn blob(n: usize, completed: u64) -> Event {
        let mut event = Event::new(format!("pulling {n}"));
        event.digest = Some(format!("sha256:{n}"));
        (event.completed, event.total) = (Some(completed), Some(100));
        event
    }

    #[test]
    fn few_bars_are_drawn_at_once() {
        let mut bars = Bars::on(MultiProgress::with_draw_target(ProgressDrawTarget::hidden()));
        (0..9).for_each(|n| bars.show(&blob(n, 1)));
        assert_eq!(bars.bars.len(), MAX_BARS);
        (0..2).for_each(|n| bars.show(&blob(n, 100)));
        assert_eq!((bars.bars.len(), bars.finished.len()), (MAX_BARS - 2, 2));
        (2..9).for_each(|n| bars.show(&blob(n, 2)));
        assert_eq!(bars.bars.len(), MAX_BARS);
        (0..9).for_each(|n| bars.show(&blob(n, 100)));
        assert_eq!((bars.bars.len(), bars.finished.len()), (0, 9));
        // A blob whose bytes were wrong comes again.
        bars.show(&blob(3, 0));
        assert_eq!((bars.bars.len(), bars.finished.len()), (1, 8));
    }

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
        drop((style(), spinner_style()));
    }
}
