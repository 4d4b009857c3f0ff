//! Records of leaders in a run's directory.

use std::fs;

use proptest::prelude::*;
use shardloom::ids::Incarnation;
use shardloom::net::registry::{Candidate, Registry, RegistryError, StoreRegistry, Token};

use crate::mutations::{changed, changes};
use crate::panics;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn any_change_of_a_record_is_refused(changes in changes()) {
        let before = panics();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let run = tempfile::tempdir().unwrap();
        let registry = StoreRegistry::open(run.path(), "umls-0").unwrap();
        let candidate = Candidate {
            owner: Incarnation(1 << 90),
            address: "127.0.0.1:4100".to_owned(),
            token: Some(Token::new("00112233445566778899aabbccddeeff")),
        };
        runtime.block_on(registry.acquire(0, candidate)).unwrap();
        let valid = runtime.block_on(registry.current()).unwrap();
        let file = run.path().join("leaders/00000001.json");
        let text = fs::read(&file).unwrap();
        fs::write(&file, changed(&text, &changes)).unwrap();
        match runtime.block_on(registry.current()) {
            // White space, or a number written in another way.
            Ok(record) => prop_assert_eq!(record, valid),
            Err(error) => prop_assert_eq!(error.epoch(), Some(1), "{}", error),
        }
        prop_assert_eq!(panics(), before);
    }
}

#[test]
fn a_record_of_another_run_is_told_from_a_damaged_one() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let run = tempfile::tempdir().unwrap();
    let candidate = Candidate {
        owner: Incarnation(1),
        address: "127.0.0.1:4100".to_owned(),
        token: None,
    };
    let first = StoreRegistry::open(run.path(), "umls-0").unwrap();
    runtime.block_on(first.acquire(0, candidate)).unwrap();
    let other = StoreRegistry::open(run.path(), "umls-1").unwrap();
    let error = runtime.block_on(other.current()).unwrap_err();
    assert!(matches!(error, RegistryError::OtherRun { .. }), "{error}");
}
