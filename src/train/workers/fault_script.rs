//! Scripted joins, leaves and failures: the events of `shardloom train --events FILE` and of
//! repeated `--event STEP:ACTION[:WORKER]`.
//!
//! A file is TOML, one table per event:
//!
//! ```toml
//! [[event]]
//! step = 40
//! action = "kill"
//! worker = 2
//! ```

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::ids::WorkerId;

/// Action of an event, with the worker that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScriptAction {
    /// A worker joins. The number is only the one that the author of the script expects: the run numbers
    /// workers in the order of joining, from 0.
    Join(Option<WorkerId>),
    /// A worker leaves in an orderly way.
    Leave(WorkerId),
    /// A worker disappears at once.
    Kill(WorkerId),
    /// A worker's thread panics in the step.
    Panic(WorkerId),
    /// A worker stops answering in the step.
    Stall(WorkerId),
    /// A worker's gradients of the step are NaN.
    Nan(WorkerId),
}

/// Name of an action in scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    Join,
    Leave,
    Kill,
    Panic,
    Stall,
    Nan,
}

impl fmt::Display for ActionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl ScriptAction {
    fn new(name: ActionName, worker: Option<WorkerId>) -> Result<ScriptAction, Wrong> {
        let of: fn(WorkerId) -> ScriptAction = match name {
            ActionName::Join => return Ok(ScriptAction::Join(worker)),
            ActionName::Leave => ScriptAction::Leave,
            ActionName::Kill => ScriptAction::Kill,
            ActionName::Panic => ScriptAction::Panic,
            ActionName::Stall => ScriptAction::Stall,
            ActionName::Nan => ScriptAction::Nan,
        };
        worker.map(of).ok_or_else(|| Wrong {
            part: "worker",
            expected: format!("the number of the worker to {name}"),
            found: "nothing".to_owned(),
        })
    }

    fn parts(self) -> (ActionName, Option<WorkerId>) {
        match self {
            ScriptAction::Join(worker) => (ActionName::Join, worker),
            ScriptAction::Leave(worker) => (ActionName::Leave, Some(worker)),
            ScriptAction::Kill(worker) => (ActionName::Kill, Some(worker)),
            ScriptAction::Panic(worker) => (ActionName::Panic, Some(worker)),
            ScriptAction::Stall(worker) => (ActionName::Stall, Some(worker)),
            ScriptAction::Nan(worker) => (ActionName::Nan, Some(worker)),
        }
    }

    /// The worker, if the script names one.
    pub fn worker(self) -> Option<WorkerId> {
        self.parts().1
    }
}

/// An event, right before a step starts for the first time. As a text, `STEP:ACTION[:WORKER]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "EventTable")]
pub struct ScriptEvent {
    /// The step, from 1 over the whole run.
    pub step: NonZeroU64,
    /// The action.
    pub action: ScriptAction,
}

/// A file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScriptFile {
    #[serde(default)]
    event: Vec<Spanned<EventTable>>,
}

/// An event in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventTable {
    step: NonZeroU64,
    action: ActionName,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<WorkerId>,
}

impl From<ScriptEvent> for EventTable {
    fn from(event: ScriptEvent) -> EventTable {
        let (action, worker) = event.action.parts();
        EventTable {
            step: event.step,
            action,
            worker,
        }
    }
}

/// An error in a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A file that is not TOML, or a value in it that is not what it should be.
    #[error("{origin}: {message}")]
    File {
        /// The file.
        origin: String,
        /// The parser's message, with the line, what stands there and what should.
        message: String,
    },
    /// An event in a file, a part of which is missing.
    #[error("{origin}:{line}: {wrong}")]
    Event {
        /// The file.
        origin: String,
        /// The line that the event begins in.
        line: usize,
        /// The part.
        wrong: Wrong,
    },
    /// A flag, a part of which is missing or is not what it should be.
    #[error("event {flag:?}: {wrong}")]
    Flag {
        /// The text of the flag.
        flag: String,
        /// The part.
        wrong: Wrong,
    },
}

/// A part of an event that is missing, or is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}`: expected {expected}, found {found}")]
pub struct Wrong {
    part: &'static str,
    expected: String,
    found: String,
}

impl FromStr for ScriptEvent {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<ScriptEvent, ScriptError> {
        parse_flag(text).map_err(|wrong| ScriptError::Flag {
            flag: text.to_owned(),
            wrong,
        })
    }
}

fn parse_flag(text: &str) -> Result<ScriptEvent, Wrong> {
    let wrong = |part, expected: &str, found: &str| Wrong {
        part,
        expected: expected.to_owned(),
        found: format!("{found:?}"),
    };
    let (step, rest) = text
        .split_once(':')
        .ok_or_else(|| wrong("event", "STEP:ACTION[:WORKER]", text))?;
    let (name, worker) = match rest.split_once(':') {
        Some((name, worker)) => (name, Some(worker)),
        None => (rest, None),
    };
    let step = digits(step).ok_or_else(|| wrong("step", "a step, from 1", step))?;
    let action = ActionName::deserialize(name.into_deserializer()).map_err(|_: NameError| {
        let names = "join, leave, kill, panic, stall or nan";
        wrong("action", names, name)
    })?;
    let worker = worker.map(|text| {
        let number = digits(text).map(WorkerId);
        number.ok_or_else(|| wrong("worker", "the number of a worker, from 0", text))
    });
    let action = ScriptAction::new(action, worker.transpose()?)?;
    Ok(ScriptEvent { step, action })
}

/// A number in digits alone: `parse` would also take a plus sign.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

impl fmt::Display for ScriptEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (action, worker) = self.action.parts();
        write!(f, "{}:{action}", self.step)?;
        match worker {
            Some(worker) => write!(f, ":{}", worker.0),
            None => Ok(()),
        }
    }
}

/// Events in the order of their steps; those of one step in the order they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Script {
    #[serde(rename = "event")]
    events: Vec<ScriptEvent>,
}

impl Script {
    /// Reads a script; `origin` (the name of the file) is for errors.
    ///
    /// # Errors
    /// [`ScriptError`], naming origin and line.
    pub fn parse(origin: &str, text: &str) -> Result<Script, ScriptError> {
        let file: ScriptFile = toml::from_str(text).map_err(|error| ScriptError::File {
            origin: origin.to_owned(),
            message: error.to_string(),
        })?;
        let event = |table: Spanned<EventTable>| {
            let line = 1 + text[..table.span().start].matches('\n').count();
            let EventTable {
                step,
                action,
                worker,
            } = table.into_inner();
            match ScriptAction::new(action, worker) {
                Ok(action) => Ok(ScriptEvent { step, action }),
                Err(wrong) => Err(ScriptError::Event {
                    origin: origin.to_owned(),
                    line,
                    wrong,
                }),
            }
        };
        file.event.into_iter().map(event).collect()
    }

    /// Events that have not been taken.
    pub fn events(&self) -> &[ScriptEvent] {
        &self.events
    }

    /// Takes out the events up to and with a step that is about to start. A second call for the
    /// same step, when it is redone, finds none.
    pub fn take(&mut self, step: u64) -> Vec<ScriptEvent> {
        let due = self
            .events
            .partition_point(|event| event.step.get() <= step);
        self.events.drain(..due).collect()
    }

    /// Drops the events before a step, at which a resumed run starts.
    pub fn skip_to(&mut self, step: u64) {
        self.events.retain(|event| event.step.get() >= step);
    }
}

impl Extend<ScriptEvent> for Script {
    fn extend<I: IntoIterator<Item = ScriptEvent>>(&mut self, events: I) {
        self.events.extend(events);
        self.events.sort_by_key(|event| event.step);
    }
}

impl FromIterator<ScriptEvent> for Script {
    fn from_iter<I: IntoIterator<Item = ScriptEvent>>(events: I) -> Script {
        let mut script = Script::default();
        script.extend(events);
        script
    }
}

#[cfg(test)]
#[path = "fault_script_tests.rs"]
mod tests;
