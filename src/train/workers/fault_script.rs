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
use std::str::FromStr;

use toml::{Table, Value};

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

impl ScriptAction {
    /// All names, as used in scripts.
    pub const NAMES: [&'static str; 6] = ["join", "leave", "kill", "panic", "stall", "nan"];

    /// Name in scripts.
    pub fn name(self) -> &'static str {
        match self {
            ScriptAction::Join(_) => "join",
            ScriptAction::Leave(_) => "leave",
            ScriptAction::Kill(_) => "kill",
            ScriptAction::Panic(_) => "panic",
            ScriptAction::Stall(_) => "stall",
            ScriptAction::Nan(_) => "nan",
        }
    }

    /// Worker that the action concerns, if known.
    pub fn worker(self) -> Option<WorkerId> {
        match self {
            ScriptAction::Join(worker) => worker,
            ScriptAction::Leave(worker)
            | ScriptAction::Kill(worker)
            | ScriptAction::Panic(worker)
            | ScriptAction::Stall(worker)
            | ScriptAction::Nan(worker) => Some(worker),
        }
    }

    fn new(name: &str, worker: Option<WorkerId>) -> Result<ScriptAction, Fault> {
        let to: fn(WorkerId) -> ScriptAction = match name {
            "join" => return Ok(ScriptAction::Join(worker)),
            "leave" => ScriptAction::Leave,
            "kill" => ScriptAction::Kill,
            "panic" => ScriptAction::Panic,
            "stall" => ScriptAction::Stall,
            "nan" => ScriptAction::Nan,
            _ => {
                return Err(Fault::new(
                    "action",
                    "join, leave, kill, panic, stall or nan",
                    name,
                ));
            }
        };
        let who = format!("the number of the worker to {name}");
        worker.map(to).ok_or_else(|| Fault::missing("worker", who))
    }
}

/// Event right before a step starts for the first time. Parses from and formats as `STEP:ACTION[:WORKER]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScriptEvent {
    /// Step, from 1 over the whole run; at most `i64::MAX`, the largest TOML integer.
    pub step: u64,
    /// Action of the event.
    pub action: ScriptAction,
}

/// Error in a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// The text is not TOML.
    #[error("{origin}: {message}")]
    Syntax {
        /// Name of the file.
        origin: String,
        /// Message of the parser, with line and column.
        message: String,
    },
    /// A part of an event is missing or wrong.
    #[error("{event}: `{key}`: expected {expected}, found {found}")]
    Event {
        /// The file and the number of the event in it, from 1; or the text of the flag.
        event: String,
        /// Key of the part.
        key: String,
        /// Expected content.
        expected: String,
        /// Content found.
        found: String,
    },
}

/// [`ScriptError::Event`] without the name of the event.
struct Fault {
    key: String,
    expected: String,
    found: String,
}

impl Fault {
    fn new(key: &str, expected: impl Into<String>, found: impl fmt::Debug) -> Fault {
        Fault {
            key: key.to_owned(),
            expected: expected.into(),
            found: format!("{found:?}"),
        }
    }

    fn missing(key: &str, expected: impl Into<String>) -> Fault {
        Fault {
            found: "nothing".to_owned(),
            ..Fault::new(key, expected, "")
        }
    }

    fn value(key: &str, expected: impl Into<String>, value: &Value) -> Fault {
        Fault {
            found: value.to_string(),
            ..Fault::new(key, expected, "")
        }
    }

    fn of(self, event: String) -> ScriptError {
        ScriptError::Event {
            event,
            key: self.key,
            expected: self.expected,
            found: self.found,
        }
    }
}

const STEP: &str = "a step, from 1";
const WORKER: &str = "the number of a worker, from 0";

impl FromStr for ScriptEvent {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<ScriptEvent, ScriptError> {
        let parse = || {
            let (step, rest) = (text.split_once(':'))
                .ok_or_else(|| Fault::new("event", "STEP:ACTION[:WORKER]", text))?;
            let (action, worker) = match rest.split_once(':') {
                Some((action, worker)) => (action, Some(worker)),
                None => (rest, None),
            };
            let step = (digits::<i64>(step).filter(|&step| step > 0))
                .ok_or_else(|| Fault::new("step", STEP, step))?;
            let number = |text: &str| {
                let number = digits(text).map(WorkerId);
                number.ok_or_else(|| Fault::new("worker", WORKER, text))
            };
            Ok(ScriptEvent {
                step: step as u64,
                action: ScriptAction::new(action, worker.map(number).transpose()?)?,
            })
        };
        parse().map_err(|fault: Fault| fault.of(format!("event {text:?}")))
    }
}

/// Parses a number that has digits only: `parse` would also accept a plus sign.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

impl fmt::Display for ScriptEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.step, self.action.name())?;
        match self.action.worker() {
            Some(worker) => write!(f, ":{}", worker.0),
            None => Ok(()),
        }
    }
}

impl ScriptEvent {
    fn from_table(table: &Table) -> Result<ScriptEvent, Fault> {
        let keys = ["step", "action", "worker"];
        if let Some((key, value)) = table.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            return Err(Fault::value(
                key,
                "no keys but step, action and worker",
                value,
            ));
        }
        let step = match table.get("step") {
            Some(Value::Integer(step)) if *step > 0 => *step as u64,
            Some(other) => return Err(Fault::value("step", STEP, other)),
            None => return Err(Fault::missing("step", STEP)),
        };
        let worker = match table.get("worker") {
            None => None,
            Some(value) => Some(
                (value
                    .as_integer()
                    .and_then(|number| u32::try_from(number).ok()))
                .map(WorkerId)
                .ok_or_else(|| Fault::value("worker", WORKER, value))?,
            ),
        };
        let action = match table.get("action") {
            Some(Value::String(name)) => ScriptAction::new(name, worker)?,
            Some(other) => return Err(Fault::value("action", "a name in quotes", other)),
            None => return Err(Fault::missing("action", ScriptAction::NAMES.join(", "))),
        };
        Ok(ScriptEvent { step, action })
    }
}

/// Events in the order of their steps; events of the same step stay in the given order.
///
/// Formats as the TOML that [`Script::parse`] reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    events: Vec<ScriptEvent>,
}

impl Script {
    /// Reads a script; `origin` (the name of the file) is for errors.
    ///
    /// # Errors
    /// [`ScriptError`], which names origin, event and key.
    pub fn parse(origin: &str, text: &str) -> Result<Script, ScriptError> {
        let table: Table = (text.parse()).map_err(|e: toml::de::Error| ScriptError::Syntax {
            origin: origin.to_owned(),
            message: e.to_string(),
        })?;
        let whole = |fault: Fault| fault.of(origin.to_owned());
        let mut events = Vec::new();
        for (key, value) in &table {
            let Value::Array(entries) = value else {
                return Err(whole(Fault::value(key, "[[event]] tables", value)));
            };
            if key != "event" {
                return Err(whole(Fault::value(key, "no tables but [[event]]", value)));
            }
            for (i, entry) in entries.iter().enumerate() {
                let event = match entry {
                    Value::Table(table) => ScriptEvent::from_table(table),
                    other => Err(Fault::value("event", "a table", other)),
                };
                events.push(event.map_err(|e| e.of(format!("{origin}: event {}", i + 1)))?);
            }
        }
        Ok(Script::from_iter(events))
    }

    /// Events that have not been taken.
    pub fn events(&self) -> &[ScriptEvent] {
        &self.events
    }

    /// Takes the events up to and including those of a step that is about to start. A second call, when the
    /// step is repeated, returns none.
    pub fn take(&mut self, step: u64) -> Vec<ScriptEvent> {
        let due = self.events.partition_point(|event| event.step <= step);
        self.events.drain(..due).collect()
    }

    /// Drops the events before a step, at which a resumed run starts.
    pub fn skip_to(&mut self, step: u64) {
        self.events.retain(|event| event.step >= step);
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

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for event in &self.events {
            let (step, action) = (event.step, event.action.name());
            write!(f, "[[event]]\nstep = {step}\naction = {action:?}\n")?;
            if let Some(worker) = event.action.worker() {
                writeln!(f, "worker = {}", worker.0)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "fault_script_tests.rs"]
mod tests;
