//! Several leaders and many cuts: which one counts, and which ones go.

use std::fs;

use shardloom::net::cut::Pruned;

use super::*;

#[test]
fn a_replaced_leader_spoils_nothing() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    save(&cuts, &attempt(100, 7)).unwrap();
    // The old leader's holders write files of step 200 while the new leader saves that step.
    let (old, new) = (attempt(200, 7), attempt(200, 8));
    let file = write_shard(&cuts, &old, shape(ShardId::entities(0), 5), 77).unwrap();
    let saved = save(&cuts, &new).unwrap();
    write_shard(&cuts, &old, shape(ShardId::entities(1), 4), 77).unwrap();
    assert_eq!(latest(&cuts, Check::Everything), (Some(200), vec![]));
    assert!(!saved.files.contains(&file));
    // The old leader cannot save any cut, at whatever step.
    let error = save(&cuts, &attempt(300, 7)).unwrap_err().to_string();
    assert_eq!(
        error,
        "leadership epoch 7 has ended: epoch 8 has saved a cut of step 200"
    );
    assert_eq!(latest(&cuts, Check::Everything), (Some(200), vec![]));
    // An old leader's cut that was saved just before counts less, though its step is later.
    let late = run.path().join("late");
    fs::create_dir(&late).unwrap();
    save(&super::cuts(&late), &attempt(300, 7)).unwrap();
    fs::remove_dir_all(run.path().join("cuts/00000300")).unwrap();
    fs::rename(late.join("cuts/00000300"), run.path().join("cuts/00000300")).unwrap();
    assert_eq!(latest(&cuts, Check::Everything), (Some(200), vec![]));
}

#[test]
fn a_manifest_is_created_once() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    let first = save(&cuts, &attempt(100, 1)).unwrap();
    // The same rows again, by the next leader: the cut is there.
    save(&cuts, &attempt(100, 2)).unwrap();
    assert_eq!(cuts.read(Step(100)), Ok(first));
    // Other rows, by the same leader.
    let others = |now: &Attempt| {
        let write = |(shard, rows)| write_shard(&cuts, now, shape(shard, rows), 5).unwrap();
        manifest(now, SHARDS.map(write).to_vec())
    };
    let again = Attempt {
        generation: Generation(9),
        ..attempt(100, 1)
    };
    let error = cuts.finish(&others(&again)).unwrap_err().to_string();
    assert_eq!(
        error,
        "step 100 has a cut of leadership epoch 1 already, with other values"
    );
    // Other rows, by a later leader, who made the steps again.
    let later = others(&attempt(100, 3));
    cuts.finish(&later).unwrap();
    assert_eq!(cuts.read(Step(100)), Ok(later));
    assert!(matches!(
        cuts.finish(&others(&again)),
        Err(CutError::Superseded { newer: 3, .. })
    ));

    // Many at once, each with its own rows: one succeeds.
    let now: Vec<CutManifest> = (1..9)
        .map(|n| {
            let now = Attempt {
                generation: Generation(n),
                ..attempt(200, 3)
            };
            let file = |(shard, rows)| write_shard(&cuts, &now, shape(shard, rows), n).unwrap();
            manifest(&now, SHARDS.map(file).to_vec())
        })
        .collect();
    let saved: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = now
            .iter()
            .map(|cut| scope.spawn(|| cuts.finish(cut)))
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended
            .map(|saved| match saved {
                Ok(()) => true,
                Err(CutError::Taken { epoch: 3, .. }) => false,
                Err(error) => panic!("{error}"),
            })
            .collect()
    });
    assert_eq!(saved.iter().filter(|&&saved| saved).count(), 1);
    let winner = saved.iter().position(|&saved| saved).unwrap();
    assert_eq!(cuts.read(Step(200)).as_ref(), Ok(&now[winner]));
    assert!(cuts.check(&now[winner], Check::Everything).is_ok());
}

#[test]
fn the_last_two_complete_cuts_stay() {
    let run = tempfile::tempdir().unwrap();
    let cuts = cuts(run.path());
    assert_eq!(cuts.prune(), Ok(Pruned::default()));
    let folder = run.path().join("cuts");
    for step in [100, 200, 300, 400] {
        save(&cuts, &attempt(step, 1)).unwrap();
    }
    // An attempt that never ended, one that goes on, and files of a failed attempt at a complete cut.
    let begun = |step, epoch| {
        write_shard(
            &cuts,
            &attempt(step, epoch),
            shape(ShardId::entities(0), 5),
            1,
        )
        .unwrap()
    };
    begun(250, 1);
    begun(500, 1);
    let stray = begun(400, 9).file;
    fs::write(folder.join("00000400/.manifest.json.x1.partial"), "").unwrap();
    // Files of somebody else.
    fs::write(folder.join("00000200/notes.txt"), "").unwrap();
    fs::write(folder.join("notes.txt"), "").unwrap();
    // The third cut loses a file: it is no longer complete.
    fs::remove_file(
        folder
            .join("00000300")
            .join(attempt(300, 1).file_name(ShardId::entities(0))),
    )
    .unwrap();

    let pruned = cuts.prune().unwrap();
    assert_eq!(pruned.kept, [400, 200].map(Step));
    assert_eq!(pruned.removed, [100, 250, 300].map(Step));
    let names = |folder: &Path| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        names(&folder),
        ["00000200", "00000400", "00000500", "notes.txt"]
    );
    assert!(!folder.join("00000400").join(stray).exists());
    assert_eq!(names(&folder.join("00000400")).len(), 4);
    assert_eq!(latest(&cuts, Check::Everything), (Some(400), vec![]));

    // A reader that was opened before goes on.
    let cut = cuts.read(Step(200)).unwrap();
    let reader = cuts.reader(&cut, SHARDS[0].0).unwrap();
    save(&cuts, &attempt(500, 1)).unwrap();
    assert_eq!(cuts.prune().unwrap().removed, [Step(200)]);
    assert_eq!(read_all(reader).unwrap(), values(20_000, 20));
    assert_eq!(names(&folder.join("00000200")), ["notes.txt"]);
}
