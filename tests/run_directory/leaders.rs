//! The rules of a registry, for every backend.

use std::sync::Arc;
use std::time::Duration;

use shardloom::ids::Incarnation;
use shardloom::net::registry::{
    Candidate, Claim, LeaderRecord, MemoryRegistry, RELEASE, Registry, RegistryError, Token,
};

pub fn candidate(owner: u128) -> Candidate {
    Candidate {
        owner: Incarnation(owner),
        address: format!("127.0.0.1:{owner}"),
        token: Some(Token::new(format!("secret-{owner}"))),
    }
}

pub fn won(claim: Claim) -> LeaderRecord {
    match claim {
        Claim::Won(record) => record,
        Claim::Lost(record) => panic!("lost to {record:?}"),
    }
}

/// Rules of an empty registry of run `umls-0`; `again` opens the same records once more.
async fn conformance(registry: Arc<dyn Registry>, again: impl Fn() -> Arc<dyn Registry>) {
    let ms = Duration::from_millis;
    assert_eq!(registry.current().await, Ok(None));
    let unknown = registry.acquire(1, candidate(1)).await.unwrap_err();
    assert!(
        matches!(
            unknown,
            RegistryError::Unknown {
                newest: 0,
                after: 1,
                ..
            }
        ),
        "{unknown}"
    );

    let first = won(registry.acquire(0, candidate(1)).await.unwrap());
    assert_eq!(
        (first.epoch, first.owner, &*first.run),
        (1, Incarnation(1), "umls-0")
    );
    assert_eq!((&*first.address, &*first.release), ("127.0.0.1:1", RELEASE));
    assert_eq!(first.token.as_ref().unwrap().text(), "secret-1");
    assert!(!format!("{first:?}").contains("secret"), "{first:?}");
    assert_eq!(again().current().await, Ok(Some(first.clone())));

    // Another candidate loses; the owner's repeated call does not.
    assert_eq!(
        again().acquire(0, candidate(2)).await,
        Ok(Claim::Lost(first.clone()))
    );
    assert_eq!(
        again().acquire(0, candidate(1)).await,
        Ok(Claim::Won(first.clone()))
    );

    // Who watches sees the next epoch, and nothing else.
    assert_eq!(registry.watch(1, ms(30)).await, Ok(None));
    assert_eq!(registry.watch(0, ms(0)).await, Ok(Some(first.clone())));
    let watching = tokio::spawn({
        let registry = again();
        async move { registry.watch(1, Duration::from_secs(20)).await }
    });
    tokio::time::sleep(ms(20)).await;
    let second = won(registry.acquire(1, candidate(2)).await.unwrap());
    assert_eq!(second.epoch, 2);
    assert_eq!(watching.await.unwrap(), Ok(Some(second.clone())));

    // Epochs never go back, and an earlier owner cannot repeat its call any more.
    assert_eq!(
        registry.acquire(0, candidate(1)).await,
        Ok(Claim::Lost(second.clone()))
    );
    assert_eq!(
        registry.acquire(1, candidate(3)).await,
        Ok(Claim::Lost(second.clone()))
    );
    let unknown = registry.acquire(7, candidate(1)).await.unwrap_err();
    assert!(
        matches!(
            unknown,
            RegistryError::Unknown {
                newest: 2,
                after: 7,
                ..
            }
        ),
        "{unknown}"
    );

    // Many at once: one wins each epoch.
    for after in 2..12 {
        let claims: Vec<_> = (0..8)
            .map(|owner| {
                let registry = again();
                tokio::spawn(async move { registry.acquire(after, candidate(owner)).await })
            })
            .collect();
        let mut winners = Vec::new();
        for claim in claims {
            match claim.await.unwrap().unwrap() {
                Claim::Won(record) => winners.push(record),
                Claim::Lost(record) => assert_eq!(record.epoch, after + 1),
            }
        }
        let [winner] = &winners[..] else {
            panic!("{winners:?}");
        };
        assert_eq!(registry.current().await.unwrap().as_ref(), Some(winner));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_in_memory() {
    let registry = MemoryRegistry::new("umls-0");
    let again = registry.clone();
    conformance(Arc::new(registry), move || Arc::new(again.clone())).await;
}

#[cfg(feature = "net")]
mod store {
    use std::fs;
    use std::path::Path;

    use shardloom::net::registry::StoreRegistry;

    use super::*;

    fn open(run: &Path) -> StoreRegistry {
        StoreRegistry::open(run, "umls-0").unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn records_in_the_runs_directory() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().to_owned();
        conformance(Arc::new(open(&path)), move || Arc::new(open(&path))).await;
    }

    /// Damages the record of epoch 1 and returns the failure to read it.
    async fn damaged(run: &Path, text: &[u8]) -> RegistryError {
        fs::write(run.join("leaders/00000001.json"), text).unwrap();
        let error = open(run).current().await.unwrap_err();
        assert_eq!(open(run).watch(0, Duration::ZERO).await.unwrap_err(), error);
        error
    }

    #[tokio::test]
    async fn records_that_are_of_no_use_are_refused_and_their_epoch_is_used() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path();
        won(open(run).acquire(0, candidate(1)).await.unwrap());
        let text = fs::read(run.join("leaders/00000001.json")).unwrap();

        // Cut short at every byte; the line's end is of no importance.
        for length in 0..text.len() - 1 {
            let error = damaged(run, &text[..length]).await;
            assert!(
                matches!(error, RegistryError::Damaged { epoch: 1, .. }),
                "{length}: {error}"
            );
        }
        fs::write(run.join("leaders/00000001.json"), &text).unwrap();
        // A bit flipped in every byte: the record is refused, or has the same values (in white space).
        let record = open(run).current().await.unwrap();
        let mut refused = 0;
        for at in 0..text.len() {
            for bit in [0, 3, 5] {
                let mut text = text.clone();
                text[at] ^= 1 << bit;
                fs::write(run.join("leaders/00000001.json"), &text).unwrap();
                match open(run).current().await {
                    Ok(read) => assert_eq!(read, record, "byte {at}, bit {bit}"),
                    Err(error) => {
                        assert_eq!(error.epoch(), Some(1), "{error}");
                        refused += 1;
                    }
                }
            }
        }
        assert!(refused > text.len() * 2, "{refused} of {}", text.len() * 3);

        let json = String::from_utf8(text).unwrap();
        let release = format!("\"release\": \"{RELEASE}\"");
        let other = json.replace(&release, "\"release\": \"9.0.0\"");
        let error = damaged(run, other.as_bytes()).await.to_string();
        let expected = format!(
            "is of release 9.0.0, and this program is {RELEASE}: use the same release everywhere"
        );
        assert!(error.ends_with(&expected), "{error}");

        fs::write(run.join("leaders/00000001.json"), &json).unwrap();
        let error = StoreRegistry::open(run, "other")
            .unwrap()
            .current()
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is of run \"umls-0\", not of \"other\""),
            "{error}"
        );

        let error = damaged(run, b"hello").await;
        assert!(
            error
                .to_string()
                .contains("leaders/00000001.json is damaged: "),
            "{error}"
        );
        // Epoch 1 is used, by whomever: the next leader gets epoch 2.
        open(run).acquire(0, candidate(2)).await.unwrap_err();
        let after = error.epoch().unwrap();
        assert_eq!(
            won(open(run).acquire(after, candidate(2)).await.unwrap()).epoch,
            2
        );
        assert_eq!(open(run).current().await.unwrap().unwrap().epoch, 2);
    }

    #[tokio::test]
    async fn a_record_of_another_epoch_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path();
        won(open(run).acquire(0, candidate(1)).await.unwrap());
        let [first, fifth] = ["leaders/00000001.json", "leaders/00000005.json"];
        fs::copy(run.join(first), run.join(fifth)).unwrap();
        let error = open(run).current().await.unwrap_err().to_string();
        assert!(
            error.contains("00000005.json is damaged: it is of epoch 1;"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn foreign_files_are_no_records() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path();
        won(open(run).acquire(0, candidate(1)).await.unwrap());
        for name in [
            "00000009.json#1",
            "9.json",
            "notes.txt",
            "0000000x.json",
            "99999999999.json",
            "00000009",
        ] {
            fs::write(run.join("leaders").join(name), "foreign").unwrap();
        }
        fs::create_dir(run.join("leaders/00000008.json")).unwrap();
        assert_eq!(open(run).current().await.unwrap().unwrap().epoch, 1);
        assert_eq!(
            won(open(run).acquire(1, candidate(2)).await.unwrap()).epoch,
            2
        );
    }

    #[tokio::test]
    async fn directories_that_are_gone_or_files_are_sentences() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("run");
        let error = StoreRegistry::open(&run, "umls-0").unwrap_err().to_string();
        assert!(
            error.starts_with("cannot open ") && error.contains("run: No such file"),
            "{error}"
        );
        fs::create_dir(&run).unwrap();
        let registry = open(&run);
        fs::remove_dir(&run).unwrap();
        let error = registry
            .acquire(0, candidate(1))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("leaders: No such file"), "{error}");
        assert!(!run.exists(), "the directory of a run is not made anew");
        fs::create_dir(&run).unwrap();
        fs::write(run.join("leaders"), "").unwrap();
        let error = registry
            .acquire(0, candidate(1))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot "), "{error}");
    }

    /// The object store panics at such a path when a record exists already.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_path_that_is_not_utf8_is_a_sentence() {
        use std::os::unix::ffi::OsStrExt;
        let directory = tempfile::tempdir().unwrap();
        let run = directory
            .path()
            .join(std::ffi::OsStr::from_bytes(b"run-\xff"));
        fs::create_dir(&run).unwrap();
        let error = StoreRegistry::open(&run, "umls-0").unwrap_err().to_string();
        assert!(error.ends_with(": its path is not UTF-8"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn files_with_tokens_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path();
        let mode = |path: &str| fs::metadata(run.join(path)).unwrap().permissions().mode() & 0o777;
        // A folder that somebody made before becomes private, too.
        fs::create_dir(run.join("leaders")).unwrap();
        fs::set_permissions(run.join("leaders"), PermissionsExt::from_mode(0o755)).unwrap();
        won(open(run).acquire(0, candidate(1)).await.unwrap());
        assert_eq!(mode("leaders"), 0o700);
        assert_eq!(mode("leaders/00000001.json"), 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn a_read_only_directory_is_a_sentence() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o555)).unwrap();
        let run = directory.path().to_str().unwrap();
        crate::process::run("leaders::store::acquires_in_a_read_only_directory", &[run]);
    }

    #[cfg(unix)]
    #[test]
    #[ignore = "part of a_read_only_directory_is_a_sentence"]
    fn acquires_in_a_read_only_directory() {
        let Some(arguments) = crate::process::arguments() else {
            return;
        };
        crate::process::become_nobody();
        let registry = open(Path::new(&arguments[0]));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let error = runtime
            .block_on(registry.acquire(0, candidate(1)))
            .unwrap_err();
        assert!(
            matches!(&error, RegistryError::Io { action: "write", reason, .. }
            if reason.starts_with("Permission denied")),
            "{error}"
        );
        assert_eq!(
            runtime.block_on(registry.current()),
            Ok(None),
            "nothing is left behind"
        );
    }
}
