//! The schedule of a seed: its faults, and when they end.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::sleep;

use super::network::Host;
use super::process::{HOSTS, Processes, Role};
use super::world::World;

/// Milliseconds within which faults begin.
const BEGIN: u64 = 3500;
/// Milliseconds that a fault takes, at most.
const LONGEST: u64 = 6000;

/// Causes the faults of the world's seed, one after the other or several at once.
pub async fn schedule(world: Arc<World>, processes: Processes) {
    let count = world.random(|random| random.random_range(1..=6));
    let mut times: Vec<u64> = (0..count)
        .map(|_| world.random(|random| random.random_range(0..BEGIN)))
        .collect();
    times.sort_unstable();
    let mut tasks = tokio::task::JoinSet::new();
    let mut at = 0;
    for time in times {
        sleep(Duration::from_millis(time - at)).await;
        at = time;
        tasks.spawn(fault(Arc::clone(&world), processes.clone()));
    }
    while tasks.join_next().await.is_some() {}
    // Somebody leads in the end, and the others follow.
    heal(&world, 0..HOSTS, 0..HOSTS);
    if world.leader().is_none() {
        processes.run(0, Role::Leader);
    }
    if world.random(|random| random.random_range(0..2)) == 0 {
        world.say("a process joins");
        let newest = (HOSTS - 1..HOSTS).find(|host| world.leader() != Some(*host));
        if let Some(host) = newest {
            processes.run(host, Role::Worker);
        }
    }
    std::future::pending::<()>().await;
}

fn between(
    world: &World,
    hosts: std::ops::Range<Host>,
    others: std::ops::Range<Host>,
    change: impl Fn(&mut super::network::Condition),
) {
    for a in hosts {
        for b in others.clone() {
            if a != b {
                world.network.change(a, b, &change);
            }
        }
    }
}

fn heal(world: &World, hosts: std::ops::Range<Host>, others: std::ops::Range<Host>) {
    between(world, hosts, others, |link| *link = Default::default());
}

/// Causes one fault, and ends it.
async fn fault(world: Arc<World>, processes: Processes) {
    let (host, other, kind, millis, delay) = world.random(|random| {
        (
            random.random_range(0..HOSTS),
            random.random_range(1..HOSTS),
            random.random_range(0..10),
            random.random_range(20..LONGEST),
            random.random_range(5..300),
        )
    });
    let other = (host + other) % HOSTS;
    let while_it_lasts = Duration::from_millis(millis);
    match kind {
        0 | 1 => {
            world.say(format!("fault: host {host} is killed, for {millis} ms"));
            let led = world.leader() == Some(host);
            processes.kill(host);
            sleep(while_it_lasts).await;
            // A leader that is killed is followed by another, or by itself; the host may have begun to lead meanwhile.
            let led = led || world.leader() == Some(host);
            let role = if led { Role::Leader } else { Role::Worker };
            processes.run(host, role);
        }
        2 => {
            let Some(host) = world.leader() else { return };
            let next = (host + 1 + (other % (HOSTS - 1))) % HOSTS;
            world.say(format!(
                "fault: leader {host} is killed, {next} leads after {millis} ms"
            ));
            processes.kill(host);
            sleep(while_it_lasts.min(Duration::from_secs(3))).await;
            processes.run(next, Role::Leader);
            sleep(Duration::from_millis(500)).await;
            // The host may have begun to lead meanwhile.
            if world.leader() != Some(host) {
                processes.run(host, Role::Worker);
            }
        }
        3 => {
            let Some(host) = world.leader() else { return };
            let next = (host + 1 + (other % (HOSTS - 1))) % HOSTS;
            world.say(format!(
                "fault: leader {host} is alone, {next} leads, for {millis} ms"
            ));
            between(&world, host..host + 1, 0..HOSTS, |link| link.down = true);
            sleep(while_it_lasts.min(Duration::from_secs(3))).await;
            processes.run(next, Role::Leader);
            sleep(while_it_lasts).await;
            heal(&world, host..host + 1, 0..HOSTS);
        }
        4 => {
            world.say(format!("fault: host {host} is alone, for {millis} ms"));
            between(&world, host..host + 1, 0..HOSTS, |link| link.down = true);
            sleep(while_it_lasts).await;
            heal(&world, host..host + 1, 0..HOSTS);
        }
        5 => {
            world.say(format!(
                "fault: no link between {host} and {other}, for {millis} ms"
            ));
            world.network.change(host, other, |link| link.down = true);
            sleep(while_it_lasts).await;
            world.network.change(host, other, |link| link.down = false);
        }
        9 => {
            world.say(format!("fault: host {host} leaves"));
            world.leave(host);
        }
        6 => {
            world.say(format!("fault: streams between {host} and {other} are cut"));
            world
                .network
                .cut(|hosts| hosts.contains(&host) && hosts.contains(&other));
        }
        7 => {
            world.say(format!(
                "fault: {delay} ms to and from {host}, for {millis} ms"
            ));
            between(&world, host..host + 1, 0..HOSTS, |link| {
                link.delay = delay / 2..delay
            });
            sleep(while_it_lasts).await;
            heal(&world, host..host + 1, 0..HOSTS);
        }
        _ => {
            world.mangle();
            world.say(format!(
                "fault: frames of {host} are repeated and reordered"
            ));
            between(&world, host..host + 1, 0..HOSTS, |link| link.mangled = 50);
            sleep(while_it_lasts).await;
            heal(&world, host..host + 1, 0..HOSTS);
        }
    }
}
