//! Hosts whose links go down: network namespaces, each with an address of its own.
//!
//! Needs the rights to make namespaces, and `ip`; says SKIPPED without them, or fails where
//! SHARDLOOM_REQUIRE_NAMESPACES is set.

use std::process::Command;

use super::security::{TOKEN, write_certificates};
use super::{Place, Process, until};

/// Hosts on one switch.
struct Hosts {
    name: String,
    count: usize,
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

impl Hosts {
    fn new(count: usize) -> Result<Hosts, String> {
        let name = format!("sl{}", std::process::id());
        // Removed even if a command fails.
        let hosts = Hosts { name, count };
        let switch = hosts.host(0);
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add switch type bridge"))?;
        ip(&format!("-n {switch} link set switch up"))?;
        for number in 1..=count {
            let host = hosts.host(number);
            ip(&format!("netns add {host}"))?;
            ip(&format!(
                "link add eth0 netns {host} type veth peer name port{number} netns {switch}"
            ))?;
            ip(&format!(
                "-n {switch} link set port{number} master switch up"
            ))?;
            ip(&format!("-n {host} link set lo up"))?;
            ip(&format!(
                "-n {host} address add 10.77.0.{number}/24 dev eth0"
            ))?;
            ip(&format!("-n {host} link set eth0 up"))?;
        }
        Ok(hosts)
    }

    /// Name of a host, from 1; 0 is the switch.
    fn host(&self, number: usize) -> String {
        format!("{}h{number}", self.name)
    }

    /// Takes the link of a host down, or up again.
    fn link(&self, number: usize, state: &str) {
        let switch = self.host(0);
        ip(&format!("-n {switch} link set port{number} {state}")).unwrap();
    }

    /// Starts the program on a host.
    fn start(&self, number: usize, arguments: &[String]) -> Process {
        let mut command = Command::new("ip");
        command
            .args([
                "netns",
                "exec",
                &self.host(number),
                env!("CARGO_BIN_EXE_shardloom"),
            ])
            .args(arguments);
        Process::spawn(
            command,
            &[("SHARDLOOM_TOKEN", TOKEN), ("SHARDLOOM_LOG", "info")],
        )
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for number in 0..=self.count {
            // A host may not have been made.
            let _ = ip(&format!("netns delete {}", self.host(number)));
        }
    }
}

#[test]
fn one_side_of_a_partition_commits_and_the_other_joins_again() {
    let hosts = match Hosts::new(3) {
        Ok(hosts) => hosts,
        Err(error) => {
            let required = std::env::var_os("SHARDLOOM_REQUIRE_NAMESPACES").is_some();
            assert!(!required, "{error}");
            println!("SKIPPED: no network namespaces: {error}");
            return;
        }
    };
    let place = Place::new();
    let more = ["--batch-size", "250"];
    let tls = place.path("tls");
    write_certificates(&tls);
    let tls = tls.display().to_string();
    let listen = |number: usize| format!("10.77.0.{number}:0");
    let arguments = [
        &more[..],
        &["--epochs", "1000000", "--replicas", "2", "--threads", "1"],
        &["--tls", &tls, "--listen", &listen(1)],
    ];
    let mut leader = hosts.start(1, &place.arguments("run", &arguments.concat()));
    let (address, _) = place.leader_of("run");
    let work = |number: usize| {
        let join = [
            "worker",
            "--join",
            &address,
            "--threads",
            "1",
            "--tls",
            &tls,
            "--listen",
        ];
        let mut join: Vec<String> = join.map(str::to_owned).into();
        join.push(listen(number));
        hosts.start(number, &join)
    };
    let workers = [work(2), work(3)];
    let joins = |worker: &Process| worker.said().matches("joins the run").count();
    let wait_for = |counts: [usize; 2]| {
        until("they join", || {
            workers
                .iter()
                .zip(counts)
                .all(|(worker, count)| joins(worker) >= count)
        });
        place.reach("run", place.epochs("run") + 3);
    };
    wait_for([1, 1]);

    // A minority: the others go on.
    let lost = |worker: &Process| {
        let said = worker.said();
        said.matches("is lost").count() + said.matches("did not answer").count()
    };
    hosts.link(3, "down");
    until("it is lost", || lost(&workers[1]) > 0);
    place.reach("run", place.epochs("run") + 3);
    hosts.link(3, "up");
    wait_for([1, 2]);

    // The leader: nobody else commits, and no other side has a leader.
    let before = [lost(&workers[0]), lost(&workers[1])];
    hosts.link(1, "down");
    until("both workers lose the leader", || {
        workers
            .iter()
            .zip(before)
            .all(|(worker, before)| lost(worker) > before)
    });
    place.reach("run", place.epochs("run") + 3);
    hosts.link(1, "up");
    wait_for([2, 3]);
    assert_eq!(
        std::fs::read_dir(place.path("run").join("leaders"))
            .unwrap()
            .count(),
        1
    );
    place.end_as_alone("run", &mut leader, &more);
}
