//! Progress of long work: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use shardloom::coordinator::{State, Status};
use shardloom::server::ParameterServer;
use shardloom::train::{EpochRecord, Observer, TrainError, TrainState};

use super::interrupt::StopFlag;

/// Shows progress and watches for Ctrl-C.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    stop: StopFlag,
    quiet: bool,
    terminal: bool,
    /// What the bar is counting.
    task: Task,
    epochs: u32,
    started: Instant,
    last_line: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Task {
    None,
    Training { epoch: u32, steps: u32 },
    Ranking { total: usize },
}

/// Between two plain lines of work that has no end of its own in sight.
const LINE: Duration = Duration::from_secs(10);

impl Progress {
    /// Progress on stderr; `quiet` shows nothing and only watches for Ctrl-C.
    pub fn new(stop: StopFlag, quiet: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        Progress {
            bar: if terminal {
                ProgressBar::no_length()
            } else {
                ProgressBar::hidden()
            },
            stop,
            quiet,
            terminal,
            task: Task::None,
            epochs: 0,
            started: Instant::now(),
            last_line: Instant::now(),
        }
    }

    /// Prints a line to stderr without disturbing the bar.
    pub fn say(&self, line: &str) {
        if self.terminal {
            self.bar.println(line);
        } else if !self.quiet {
            super::tell(line);
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn start(&mut self, task: Task, length: u64, template: &str) {
        if self.task == task {
            return;
        }
        self.task = task;
        self.started = Instant::now();
        self.bar.reset();
        self.bar.set_length(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━╸─"));
        }
    }
}

impl Observer for Progress {
    fn begin(&mut self, epoch: u32, epochs: u32, steps: u32) {
        self.epochs = epochs;
        self.start(
            Task::Training { epoch, steps },
            u64::from(steps),
            "epoch {prefix} {wide_bar:.cyan/dim} {pos}/{len} {msg} {eta} left",
        );
        self.bar.set_prefix(format!("{epoch}/{epochs}"));
    }

    fn step(&mut self, steps: u32, facts: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.bar.set_position(u64::from(steps));
        if self.terminal {
            self.bar
                .set_message(format!("{:.0} triples/s", facts as f64 / seconds.max(1e-9)));
        } else if self.last_line.elapsed() > LINE {
            self.last_line = Instant::now();
            if let Task::Training { epoch, steps: all } = self.task {
                self.say(&format!(
                    "epoch {epoch}/{}: step {steps}/{all}",
                    self.epochs
                ));
            }
        }
    }

    fn workers(&mut self, status: &Status) {
        let names = |state: State| -> Vec<String> {
            let of_state = status.workers.iter().filter(|w| w.state == state);
            of_state.map(|w| w.worker.0.to_string()).collect()
        };
        let mut parts = Vec::new();
        for state in [State::Active, State::Syncing, State::Draining, State::Left] {
            let workers = names(state);
            if !workers.is_empty() {
                parts.push(format!("{} {}", state.name(), workers.join(" ")));
            }
        }
        for worker in status.workers.iter().filter(|w| w.state == State::Failed) {
            let failure = worker.failure.as_deref().unwrap_or("failed");
            parts.push(format!("{} {failure}", worker.worker));
        }
        self.say(&format!(
            "workers, {}, {}: {}",
            status.generation,
            status.step,
            parts.join("; ")
        ));
    }

    fn note(&mut self, line: &str) {
        self.say(line);
    }

    fn ranking(&mut self, done: usize, total: usize) {
        self.start(
            Task::Ranking { total },
            total as u64,
            "ranking {wide_bar:.cyan/dim} {pos}/{len} queries {eta} left",
        );
        self.bar.set_position(done as u64);
    }

    fn epoch(
        &mut self,
        _: &ParameterServer,
        _: &TrainState,
        record: &EpochRecord,
    ) -> Result<(), TrainError> {
        self.task = Task::None;
        self.last_line = Instant::now();
        let left = f64::from(self.epochs - record.epoch.min(self.epochs)) * record.seconds;
        let validation = record.valid_mrr.map(|mrr| {
            format!(
                "  valid MRR {mrr:.4}{}",
                if record.best { " (best)" } else { "" }
            )
        });
        self.say(&format!(
            "epoch {:>3}/{}  loss {:.4}  {:>7.0} triples/s  {} left{}",
            record.epoch,
            self.epochs,
            record.loss,
            record.triples_per_second,
            indicatif::HumanDuration(Duration::from_secs_f64(left.max(0.0))),
            validation.unwrap_or_default(),
        ));
        Ok(())
    }

    fn stop(&self) -> bool {
        self.stop.is_set()
    }
}
