//! Ctrl-C: the first one asks the work to stop at the next step, the second one ends the process.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Work that Ctrl-C ended, after saving what was done.
#[derive(Debug)]
pub struct Interrupted {
    /// The arguments that go on with it, if something was saved.
    pub resume: Option<String>,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resume {
            Some(resume) => write!(f, "interrupted; continue with: shardloom {resume}"),
            None => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Interrupted {}

/// Whether Ctrl-C was pressed.
#[derive(Clone, Debug)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Starts listening for Ctrl-C. Where that is impossible, Ctrl-C keeps ending the process.
    pub fn listen() -> StopFlag {
        let flag = StopFlag(Arc::new(AtomicBool::new(false)));
        let listener = flag.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        if let Ok(runtime) = runtime {
            std::thread::spawn(move || {
                runtime.block_on(async {
                    while tokio::signal::ctrl_c().await.is_ok() {
                        if listener.0.swap(true, Ordering::Relaxed) {
                            std::process::exit(i32::from(super::INTERRUPTED));
                        }
                        super::tell(
                            "\nstopping after this step; press Ctrl-C again to stop at once",
                        );
                    }
                });
            });
        }
        flag
    }

    /// A flag that [`StopFlag::set`] sets.
    #[cfg(feature = "net")]
    pub fn unset() -> StopFlag {
        StopFlag(Arc::default())
    }

    /// Asks the work to stop.
    #[cfg(feature = "net")]
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Listens for Ctrl-C and SIGTERM: the first one tells `sentence` and calls `end`, the second one ends the process.
#[cfg(feature = "net")]
pub fn on_request_to_end(sentence: &'static str, end: impl Fn() + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let Ok(runtime) = runtime else { return };
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut again = false;
            while asked_to_end().await.is_ok() {
                if again {
                    std::process::exit(i32::from(super::INTERRUPTED));
                }
                again = true;
                super::tell(sentence);
                end();
            }
        });
    });
}

/// Waits for Ctrl-C or SIGTERM.
#[cfg(all(unix, feature = "net"))]
async fn asked_to_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked,
        _ = terminated.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(all(not(unix), feature = "net"))]
async fn asked_to_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
