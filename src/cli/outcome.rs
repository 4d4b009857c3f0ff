//! The end of a command: its result, the exit statuses, and lines on stderr.

use std::error::Error;
use std::io::{self, Write};

/// Result of a command; `main` tells an error and exits with its status.
pub type CommandResult = Result<(), Box<dyn Error>>;

/// Exit status of a command that failed.
pub const FAILED: u8 = 2;
/// Exit status of a command that Ctrl-C ended cleanly.
pub const INTERRUPTED: u8 = 130;

/// Writes a line to stderr. If its reader has left, the work goes on all the same.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
