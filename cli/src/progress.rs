//! How a person sees that something takes long.

mod bars;
mod plain;

use std::io::{self, IsTerminal as _};

use anyhow::{Result, ensure};

use self::bars::Bars;
use self::plain::Plain;
use crate::client::{Event, Events};
use crate::output;

/// Shows events on standard error: bars on a terminal, plain lines in a log.
pub(crate) enum Progress {
    /// Lines that are redrawn.
    Bars(Bars),
    /// Lines that are written once.
    Plain(Plain),
}

impl Progress {
    /// Returns the form that suits standard error.
    pub(crate) fn new() -> Self {
        let bars = Bars::new();
        // A terminal that cannot be drawn on, such as `TERM=dumb`, is as good as a log.
        if io::stderr().is_terminal() && !bars.is_hidden() {
            return Self::Bars(bars);
        }
        Self::Plain(Plain::default())
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: &Event) {
        match self {
            Self::Bars(bars) => bars.show(event),
            Self::Plain(plain) => plain.line(event).iter().for_each(|line| output::note(line)),
        }
    }

    /// Shows all events of an answer; one that does not end in success is a failure.
    pub(crate) async fn follow(&mut self, mut events: Events) -> Result<()> {
        let mut last = Event::default();
        while let Some(event) = events.next().await? {
            self.show(&event);
            last = event;
        }
        ensure!(last.status == "success", "the answer broke off after '{}'", last.status);
        Ok(())
    }
}

/// The blob, or whatever else an event gives a size for, and how much of it is done.
struct Sized<'a> {
    key: &'a str,
    total: u64,
    completed: u64,
}

/// Returns the sizes of an event that has them.
fn sized(event: &Event) -> Option<Sized<'_>> {
    let total = event.total.filter(|total| *total > 0)?;
    let key = event.digest.as_deref().unwrap_or(&event.status);
    Some(Sized { key, total, completed: event.completed.unwrap_or(0).min(total) })
}
