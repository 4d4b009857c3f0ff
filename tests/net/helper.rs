//! Another process: this binary of tests, started anew.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use shardloom::net::transport::Security;
use shardloom::net::{Channel, FrameStream};

use crate::{LIMIT, dialer, listen, network};

const ROLE: &str = "SHARDLOOM_NET_ROLE";
const MARK: &str = "helper: ";

/// Process that sends back every frame that it receives. Dropping it kills the process.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a process that listens, and returns its address.
    pub fn listening() -> (Process, String) {
        let mut process = Process::start("listen");
        let address = process.line();
        (process, address)
    }

    /// Starts a process that opens a stream to `address`.
    pub fn dialing(address: &str) -> Process {
        Process::start(address)
    }

    fn start(role: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "helper::other_process",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process { child, lines }
    }

    fn line(&mut self) -> String {
        let lines = self.lines.by_ref().map(Result::unwrap);
        let mut marked = lines.filter_map(|line| line.split_once(MARK).map(|(_, s)| s.to_owned()));
        marked.next().expect("the other process says a line")
    }

    /// Stops the process, and waits until all of its threads stand still.
    pub fn stop(&self) {
        let id = self.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        assert_eq!(
            unsafe { libc::waitpid(id, &mut status, libc::WUNTRACED) },
            id
        );
        assert!(libc::WIFSTOPPED(status));
    }

    /// Kills the process.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
    }

    fn signal(&self, signal: libc::c_int) -> libc::pid_t {
        let id = self.child.id() as libc::pid_t;
        // SAFETY: the process is a child that is not waited for yet.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
        id
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may be dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn send_back(mut stream: FrameStream) {
    while let Ok(Some(frame)) = stream.receiver.receive(LIMIT * 6).await {
        if stream.sender.send(frame, LIMIT).await.is_err() {
            return;
        }
    }
}

#[test]
#[ignore = "the other process of the tests in this folder"]
fn other_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let runtime = network();
    let open = Security::default();
    let handle = runtime.handle().clone();
    if role == "listen" {
        let (listener, mut accepted) = listen(&open, runtime.handle()).unwrap();
        println!("{MARK}{}", listener.local_address());
        runtime.spawn(async move {
            let _listener = listener;
            while let Some((_, stream)) = accepted.0.recv().await {
                handle.spawn(send_back(stream));
            }
        });
    } else {
        let opened = dialer(&open, runtime.handle());
        let stream = runtime.block_on(opened.open(&role, Channel::Session, LIMIT));
        runtime.spawn(send_back(stream.unwrap()));
    }
    // The end of the input is the end of the process that started this one.
    let _ = std::io::stdin().read(&mut [0]);
    runtime.shutdown_background();
}
