//! Nodes that train with negatives near the facts.

use std::sync::Arc;

use shardloom::graph::Builder;
use shardloom::net::graph_store::{Server, ServerOptions};
use shardloom::train::NoObserver;

use super::{Cluster, alone, config, family, tables};

const NEAR: &str =
    "objective = \"negatives\"\nnegatives = 8\nmodel = \"distmult\"\nnear_negatives = \"khop:2\"";

#[test]
fn nodes_make_the_tables_of_one_process_with_near_negatives_and_with_those_of_a_server() {
    let dataset = family();
    let (nodes, relations) = (dataset.entities.len(), dataset.relations.len());
    let graph = Builder::new(nodes as u32, relations as u32).build(&dataset.train);
    let server = Server::start(Arc::new(graph.unwrap()), &ServerOptions::default()).unwrap();
    let expected = alone(&config(NEAR));
    let uniform = alone(&config(&NEAR.replace("near_negatives = \"khop:2\"", "")));
    assert!(expected != uniform);
    let store = format!("{NEAR}\ngraph_store = \"{}\"", server.addresses()[0]);
    for text in [NEAR, &store] {
        let cluster = Cluster::new(config(text));
        let sessions = [cluster.join(), cluster.join()];
        let mut trainer = cluster.trainer(2);
        trainer.train(&mut NoObserver).unwrap();
        assert!(tables(trainer.server()) == expected, "{text}");
        for session in sessions {
            let ended = cluster.runtime.block_on(session).unwrap();
            assert!(format!("{ended:?}").contains("finished"), "{ended:?}");
        }
    }
    server.ender().drain();
    server.wait();
}
