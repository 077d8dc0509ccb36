//! How far `wslab bench` is: a bar on a terminal's stderr, and whether Ctrl-C was pressed.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::interrupt::Interrupt;
use crate::bench::{self, Observer, Plan, plan::Phase};

/// The bar, and the ear for signals.
pub(super) struct Progress<'a> {
    interrupt: &'a Interrupt,
    bar: ProgressBar,
    urls: &'a [String],
    rounds: usize,
    sizes: Vec<usize>,
}

impl<'a> Progress<'a> {
    /// Drawn only on a terminal.
    pub(super) fn new(interrupt: &'a Interrupt, draw: bool, urls: &'a [String], plan: &Plan) -> Progress<'a> {
        let target = if draw { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        // A bar that the generator's thread draws while it measures would measure itself: it is drawn where it is told, ten times a second.
        bar.disable_steady_tick();
        let sizes = plan.payloads.iter().map(bench::Payload::len).collect();
        Progress { interrupt, bar, urls, rounds: plan.rounds.get(), sizes }
    }
}

impl Observer for Progress<'_> {
    fn interrupted(&self) -> bool {
        self.interrupt.seen()
    }

    fn begins(&mut self, target: usize, phase: &Phase, round: usize) {
        let url = self.urls.get(target).map_or("", String::as_str);
        let size = self.sizes.get(phase.payload).copied().unwrap_or_default();
        let round = if self.rounds > 1 { format!(", round {} of {}", round + 1, self.rounds) } else { String::new() };
        self.bar.set_prefix(format!("{url}, {} x {size} octets{round}", phase.connections));
        self.bar.set_position(0);
        self.bar.set_message("opening");
    }

    fn progress(&mut self, progress: &bench::Progress) {
        self.bar.set_position(progress.permille);
        if progress.sent > 0 {
            let errors = if progress.errors > 0 { format!(", {} errors", progress.errors) } else { String::new() };
            self.bar.set_message(format!("{} sent, {} answered{errors}", progress.sent, progress.completed));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
