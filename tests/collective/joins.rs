//! Processes that join the group of a generation.

use std::sync::Arc;
use std::time::Duration;

use shardloom::ids::Generation;
use shardloom::net::collective::{Join, Joins, ask};
use shardloom::net::{FrameStream, NetError, stream};

const LIMIT: Duration = Duration::from_secs(5);

/// Asks to join as a process with `ranks`. Returns both ends' answers.
async fn join(
    joins: &Arc<Joins>,
    generation: u64,
    world: usize,
    ranks: &[usize],
) -> [Result<Option<FrameStream>, NetError>; 2] {
    let [here, there] = stream::pair(["here", "there"]);
    let join = Join {
        generation: Generation(generation),
        world,
        ranks: ranks.to_vec(),
    };
    let accepted = joins.accept(here, LIMIT);
    let (asked, accepted) = tokio::join!(ask(there, &join, 2 * LIMIT), accepted);
    [asked.map(Some), accepted.map(|()| None)]
}

fn refusals(answers: [Result<Option<FrameStream>, NetError>; 2]) -> [String; 2] {
    answers.map(|answer| answer.unwrap_err().to_string())
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_its_generation() {
    let joins = Arc::<Joins>::default();
    let early = tokio::spawn({
        let joins = joins.clone();
        async move { join(&joins, 4, 3, &[1, 2]).await }
    });
    tokio::time::sleep(LIMIT / 2).await;
    assert!(!early.is_finished());
    let peers = joins
        .collect(Generation(4), 3, vec![vec![1, 2]], LIMIT)
        .await;
    let peers = peers.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (&*peers[0].ranks, peers[0].stream.peer()),
        (&[1, 2][..], "there")
    );
    let [asked, accepted] = early.await.unwrap();
    assert!(accepted.is_ok());
    assert_eq!(asked.unwrap().unwrap().peer(), "here");

    // All are there.
    let late = refusals(join(&joins, 4, 3, &[1, 2]).await);
    let text = "refused: generation 4 waits for no process with the ranks [1, 2]";
    assert_eq!(
        late,
        ["here", "this process"].map(|who| format!("{who} {text}"))
    );
}

#[tokio::test(start_paused = true)]
async fn wrong_requests_are_refused_with_a_sentence() {
    let joins = Arc::<Joins>::default();
    let [asked, _] = refusals(join(&joins, 4, 3, &[1]).await);
    assert_eq!(asked, "here refused: generation 4 did not begin within 5s");

    let waiting = tokio::spawn({
        let joins = joins.clone();
        async move {
            joins
                .collect(Generation(4), 3, vec![vec![1], vec![2]], LIMIT)
                .await
        }
    });
    tokio::task::yield_now().await;
    let cases: [(u64, usize, &[usize], &str); 3] = [
        (3, 3, &[1], "generation 3 is over: generation 4 follows"),
        (4, 2, &[1], "generation 4 has 3 ranks, not 2"),
        (
            4,
            3,
            &[1, 2],
            "generation 4 waits for no process with the ranks [1, 2]",
        ),
    ];
    for (generation, world, ranks, reason) in cases {
        let found = refusals(join(&joins, generation, world, ranks).await);
        assert_eq!(found[0], format!("here refused: {reason}"));
        assert_eq!(found[1], format!("this process refused: {reason}"));
    }
    let joined = join(&joins, 4, 3, &[2]).await;
    assert!(joined.iter().all(Result::is_ok));
    let missing = waiting.await.unwrap().unwrap_err();
    assert!(missing.is_lost());
    let text = "the process of the ranks [1] is lost: it did not join generation 4 within 5s";
    assert_eq!(missing.to_string(), text);
}

/// A process that says nothing, and one that closes the stream.
#[tokio::test(start_paused = true)]
async fn silence_ends() {
    let joins = Joins::default();
    let [here, there] = stream::pair(["here", "there"]);
    let silent = joins.accept(here, LIMIT).await.unwrap_err();
    assert_eq!(silent.to_string(), "there did not answer within 5s");
    drop(there);
    let [here, there] = stream::pair(["here", "there"]);
    drop(there);
    let gone = joins.accept(here, LIMIT).await.unwrap_err();
    assert_eq!(
        gone.to_string(),
        "there refused: it has left without a word"
    );
}
