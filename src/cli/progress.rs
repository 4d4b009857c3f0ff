//! Progress of long work: a bar on a terminal, plain lines elsewhere, or events for programs.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use shardloom::coordinator::{State, Status};
#[cfg(feature = "dashboard")]
use shardloom::dashboard::{Dashboard, DashboardError};
use shardloom::train::{EpochRecord, Observer, TrainError, TrainEvent};

use super::interrupt::StopFlag;

/// Shows progress and watches for Ctrl-C.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    stop: StopFlag,
    form: Form,
    /// Work that the bar counts.
    task: Task,
    epochs: u32,
    started: Instant,
    last_line: Instant,
    #[cfg(feature = "dashboard")]
    dashboard: Option<Dashboard>,
    last_event: Option<Instant>,
}

/// Form in which progress is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    /// A bar on stderr, and lines above it.
    Bar,
    /// Lines on stderr.
    Lines,
    /// JSON objects on stdout, one a line.
    Events,
    /// No output.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Task {
    None,
    Training { epoch: u32, steps: u32 },
    Ranking { total: usize },
}

/// Time between two plain lines within an epoch.
const LINE: Duration = Duration::from_secs(10);
/// Time between two events within an epoch or a ranking.
const EVENT: Duration = Duration::from_millis(100);

impl Progress {
    /// Progress on stderr; `quiet` shows nothing and only watches for Ctrl-C.
    pub fn new(stop: StopFlag, quiet: bool) -> Progress {
        Progress::of(
            stop,
            match (quiet, io::stderr().is_terminal()) {
                (true, _) => Form::Nothing,
                (false, true) => Form::Bar,
                (false, false) => Form::Lines,
            },
        )
    }

    /// Progress as events on stdout: JSON objects with an `event`, one a line (docs/runs.md).
    pub fn events(stop: StopFlag) -> Progress {
        Progress::of(stop, Form::Events)
    }

    fn of(stop: StopFlag, form: Form) -> Progress {
        Progress {
            bar: match form {
                Form::Bar => ProgressBar::no_length(),
                _ => ProgressBar::hidden(),
            },
            stop,
            form,
            task: Task::None,
            epochs: 0,
            started: Instant::now(),
            last_line: Instant::now(),
            #[cfg(feature = "dashboard")]
            dashboard: None,
            last_event: None,
        }
    }

    /// Shows the run at an address of this machine, too.
    ///
    /// # Errors
    /// If the address cannot be used.
    #[cfg(feature = "dashboard")]
    pub fn serve(&mut self, run: &str, address: &str) -> Result<(), DashboardError> {
        let dashboard = Dashboard::open(run, address)?;
        // Told in spite of --quiet: nobody else knows the port.
        super::tell(&format!("dashboard at {}", dashboard.url()));
        self.dashboard = Some(dashboard);
        Ok(())
    }

    /// Shows the end of the run on the dashboard.
    pub fn end(&self, what: &str) {
        #[cfg(feature = "dashboard")]
        if let Some(dashboard) = &self.dashboard {
            dashboard.end(what);
        }
        #[cfg(not(feature = "dashboard"))]
        let _ = what;
    }

    /// Prints a line to stderr without disturbing the bar, or makes it a note among the events.
    pub fn say(&self, line: &str) {
        match self.form {
            Form::Bar => self.bar.println(line),
            Form::Lines => super::tell(line),
            Form::Events => self.event("note", json!({ "text": line })),
            Form::Nothing => {}
        }
    }

    /// Whether events are written, and nothing else may be on stdout.
    pub fn has_events(&self) -> bool {
        self.form == Form::Events
    }

    /// Writes an event with the fields of an object, if events are written. If their reader has left, the work goes on
    /// all the same.
    pub fn event(&self, name: &str, mut fields: Value) {
        if self.has_events() {
            fields["event"] = json!(name);
            let _ = writeln!(io::stdout(), "{fields}");
        }
    }

    /// Writes an event unless the last one is a moment ago; the `last` of a row of such events is always written.
    fn frequent_event(&mut self, name: &str, last: bool, fields: Value) {
        if last || self.last_event.is_none_or(|at| at.elapsed() > EVENT) {
            self.last_event = Some(Instant::now());
            self.event(name, fields);
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

    /// Whether Ctrl-C was pressed.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// Shows how many queries of an evaluation are ranked.
    pub fn ranking(&mut self, done: usize, total: usize) {
        self.start(
            Task::Ranking { total },
            total as u64,
            "ranking {wide_bar:.cyan/dim} {pos}/{len} queries {eta} left",
        );
        self.bar.set_position(done as u64);
        self.frequent_event(
            "ranking",
            done == total,
            json!({ "done": done, "total": total }),
        );
    }

    fn step(&mut self, step: u32, facts: u64) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.bar.set_position(u64::from(step));
        let Task::Training { epoch, steps: all } = self.task else {
            return;
        };
        match self.form {
            Form::Bar => self
                .bar
                .set_message(format!("{:.0} triples/s", facts as f64 / seconds.max(1e-9))),
            Form::Lines if self.last_line.elapsed() > LINE => {
                self.last_line = Instant::now();
                self.say(&format!("epoch {epoch}/{}: step {step}/{all}", self.epochs));
            }
            Form::Events => {
                let fields = json!({ "epoch": epoch, "step": step, "steps": all, "facts": facts });
                self.frequent_event("step", step == all, fields);
            }
            Form::Lines | Form::Nothing => {}
        }
    }

    fn workers(&self, status: &Status) {
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

    fn epoch(&mut self, record: &EpochRecord) {
        self.task = Task::None;
        self.last_line = Instant::now();
        if self.has_events() {
            // Figures have names, and nothing in them fails to be JSON.
            let mut fields = serde_json::to_value(record).unwrap_or_default();
            fields["epochs"] = json!(self.epochs);
            return self.event("epoch", fields);
        }
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
    }
}

impl Observer for Progress {
    fn on(&mut self, event: TrainEvent<'_>) -> Result<ControlFlow<()>, TrainError> {
        #[cfg(feature = "dashboard")]
        if let Some(dashboard) = &mut self.dashboard {
            // The dashboard never asks for the end.
            let _ = dashboard.on(event)?;
        }
        match event {
            TrainEvent::EpochBegun {
                epoch,
                epochs,
                steps,
            } => {
                self.epochs = epochs;
                self.start(
                    Task::Training { epoch, steps },
                    u64::from(steps),
                    "epoch {prefix} {wide_bar:.cyan/dim} {pos}/{len} {msg} {eta} left",
                );
                self.bar.set_prefix(format!("{epoch}/{epochs}"));
                let fields = json!({ "epoch": epoch, "epochs": epochs, "steps": steps });
                self.event("epoch-begun", fields);
            }
            TrainEvent::StepDone { step, facts } => self.step(step, facts),
            TrainEvent::Workers(status) => self.workers(status),
            TrainEvent::Note(line) => self.say(line),
            TrainEvent::Warning(line) if self.has_events() => {
                self.event("warning", json!({ "text": line }));
            }
            TrainEvent::Warning(line) => self.say(&format!("warning: {line}")),
            TrainEvent::Ranking { done, total } => self.ranking(done, total),
            TrainEvent::EpochDone { record, .. } => self.epoch(record),
            _ => {}
        }
        Ok(if self.is_stopped() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}
