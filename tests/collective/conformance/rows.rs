//! All-reduces of gradient rows in the memory of devices.

use std::sync::Arc;

use shardloom::collective::{Call, CollectiveError, Reduce, Term, Wire};
use shardloom::kernel::Backend;

use super::results::{assert_same, reduced, reduction, through, values};
use super::{LONG, Rank, SHORT, call, group, together};

/// Lengths that fill no vector and no workgroup evenly, and one that takes several threads.
const LENGTHS: [usize; 6] = [0, 1, 3, 1000, 4097, 300_004];

type Engines = Arc<Vec<Backend>>;

/// All rules about rows. Rank `r` has the engine `engine(r)`. `exact` says that sums are made on the
/// host, so that weighted means too have the bits of a plain all-reduce.
pub async fn rows(
    make: impl Fn(usize) -> Vec<Rank>,
    engine: impl Fn(usize) -> Backend,
    exact: bool,
) {
    for world in [1, 2, 3, 8] {
        let ranks = group(&make, world);
        let engines: Engines = Arc::new((0..world).map(&engine).collect());
        let mut sequence = 0;
        for len in LENGTHS {
            for wire in [Wire::Exact, Wire::F16, Wire::Bf16] {
                for kind in 0..3 {
                    sequence += 2;
                    let call = call(&*ranks[0], sequence).wire(wire);
                    // Rows that travel as halves have been on the host.
                    let exact = exact || kind == 0 || wire != Wire::Exact;
                    results(&ranks, &engines, call, len, kind, exact).await;
                }
            }
        }
        if world > 1 {
            own_memory(&ranks, &engines, sequence + 2).await;
            disagreements(&ranks, &engines, sequence + 3).await;
            missing_ranks(&ranks, &engines, sequence + 6).await;
        }
    }
}

/// Every rank brings its values and gives the memory of earlier rows back with them.
async fn reduce(
    ranks: &[Rank],
    engines: &Engines,
    call: Call,
    own: impl Fn(usize) -> (Vec<f32>, Reduce) + Copy + Send + Sync + 'static,
) -> Vec<Result<Vec<f32>, CollectiveError>> {
    let all = together(ranks, |c| {
        let engines = engines.clone();
        async move {
            let engine = &engines[c.rank()];
            let (values, reduce) = own(c.rank());
            let poison = engine.upload(&vec![f32::NAN; values.len()], None).unwrap();
            let rows = engine.upload(&values, Some(poison)).unwrap();
            let rows = c.all_reduce_rows(call, engine, rows, reduce).await?;
            engine.check_rows(&rows).expect("the result is at home");
            let mut found = vec![f32::NAN; 7];
            engine.download(&rows, &mut found).unwrap();
            Ok(found)
        }
    });
    all.await
}

async fn results(
    ranks: &[Rank],
    engines: &Engines,
    call: Call,
    len: usize,
    kind: usize,
    exact: bool,
) {
    let (world, tag, wire) = (ranks.len(), call.sequence, call.wire);
    let own = move |rank| (values::<f32>(rank, tag, len), reduction(kind, rank));
    let expected = through(reduced::<f32>(world, tag, len, wire, kind), wire);
    let mut first: Option<Vec<f32>> = None;
    for call in [call, call.next()] {
        for (rank, found) in reduce(ranks, engines, call, own)
            .await
            .into_iter()
            .enumerate()
        {
            let what = format!("{wire}, {len} values, reduction {kind}, rank {rank}/{world}");
            let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
            if exact {
                assert_same(&found, &expected, &what);
            }
            assert_eq!(found.len(), len, "{what}");
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                // Values are up to 16, weights' sums cancel: some roundings of a sum.
                let bound = 32.0 * f32::EPSILON * world as f32;
                assert!(
                    (found - expected).abs() <= bound,
                    "{what}: {found} {expected} at {i}"
                );
            }
            let first = first.get_or_insert_with(|| found.clone());
            assert_same(&found, first, &format!("{what}: not the bits of all"));
        }
    }
}

/// A rank that writes to the memory of its result leaves the results of other ranks as they are.
async fn own_memory(ranks: &[Rank], engines: &Engines, sequence: u64) {
    let all = together(ranks, |c| {
        let engines = engines.clone();
        async move {
            let engine = &engines[c.rank()];
            let rows = engine.upload(&[1.0; 100], None).unwrap();
            let call = call(&*c, sequence);
            let sum = c.all_reduce_rows(call, engine, rows, Reduce::Sum).await;
            sum.unwrap()
        }
    });
    let mut sums = all.await;
    let mut own = Vec::new();
    while let Some(last) = sums.pop() {
        let mut found = Vec::new();
        engines[sums.len()].download(&last, &mut found).unwrap();
        assert_eq!(found, [ranks.len() as f32; 100]);
        let engine = &engines[sums.len()];
        own.push((
            engine,
            engine
                .upload(&[sums.len() as f32; 100], Some(last))
                .unwrap(),
        ));
    }
    for (rank, (engine, rows)) in own.into_iter().rev().enumerate() {
        let mut found = Vec::new();
        engine.download(&rows, &mut found).unwrap();
        assert_eq!(found, [rank as f32; 100]);
    }
}

/// Lengths, reductions or wires that differ fail on every rank.
async fn disagreements(ranks: &[Rank], engines: &Engines, sequence: u64) {
    let odd = ranks.len() - 1;
    for (aspect, sequence) in (sequence..sequence + 3).enumerate() {
        let terms = [
            [Term::Length(6), Term::Length(5)],
            [Term::Reduce("mean"), Term::Reduce("sum")],
            [Term::Wire(Wire::Bf16), Term::Wire(Wire::Exact)],
        ][aspect];
        let all = together(ranks, |c| {
            let engines = engines.clone();
            async move {
                let engine = &engines[c.rank()];
                let differs = |of: usize| of == aspect && c.rank() == odd;
                let values = vec![0.0; if differs(0) { 6 } else { 5 }];
                let reduce = if differs(1) {
                    Reduce::Mean
                } else {
                    Reduce::Sum
                };
                let wire = if differs(2) { Wire::Bf16 } else { Wire::Exact };
                let rows = engine.upload(&values, None).unwrap();
                let call = call(&*c, sequence).wire(wire);
                let result = c.all_reduce_rows(call, engine, rows, reduce).await;
                result.map(|rows| rows.len()).unwrap_err()
            }
        });
        let errors = all.await;
        let CollectiveError::Mismatch {
            found, expected, ..
        } = errors[0]
        else {
            panic!("{}", errors[0]);
        };
        assert!(
            [[found, expected], [expected, found]].contains(&terms),
            "{}",
            errors[0]
        );
        assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    }
}

/// All ranks that came fail with the missing rank's name, and the missing rank fails with `Late`.
async fn missing_ranks(ranks: &[Rank], engines: &Engines, sequence: u64) {
    let last = ranks.len() - 1;
    let come = |ranks: &[Rank], sequence, timeout| {
        let ranks = ranks.to_vec();
        let engines = engines.clone();
        async move {
            let all = together(&ranks, |c| {
                let engines = engines.clone();
                async move {
                    let engine = &engines[c.rank()];
                    let rows = engine.upload(&[2.0; 9], None).unwrap();
                    let call = Call::new(c.generation(), sequence, timeout);
                    let mean = c.all_reduce_rows(call, engine, rows, Reduce::Mean).await?;
                    let mut found = Vec::new();
                    engine.download(&mean, &mut found).unwrap();
                    Ok(found)
                }
            });
            all.await
        }
    };
    let missing = vec![last];
    let gone = Err(CollectiveError::Timeout {
        sequence,
        missing: missing.clone(),
    });
    let results = come(&ranks[..last], sequence, SHORT).await;
    assert!(results.iter().all(|result| *result == gone), "{results:?}");
    let late = Err(CollectiveError::Late {
        sequence,
        next: sequence + 1,
        missing,
    });
    assert_eq!(come(&ranks[last..], sequence, LONG).await, [late]);
    for mean in come(ranks, sequence + 1, LONG).await {
        assert_eq!(mean, Ok(vec![2.0; 9]), "the next call works");
    }
}
