//! Source of the candidates of near negatives: a graph of the training facts in this process, or a graph store.

use std::sync::Arc;

use crate::config::{Config, ConfigError};
use crate::dataset::Dataset;
use crate::graph::{Builder, Graph};
use crate::sampler::{CandidateSource, GraphCandidates};

/// Makes the source that a configuration names.
///
/// # Errors
/// [`ConfigError::Invalid`] if the graph store cannot be reached, or has another graph than that of the training facts.
pub(super) fn candidate_source(
    config: &Config,
    dataset: &Dataset,
) -> Result<Arc<dyn CandidateSource>, ConfigError> {
    match &config.graph_store {
        None => {
            let graph = built(builder(dataset), dataset)?;
            Ok(Arc::new(GraphCandidates::new(Arc::new(graph))))
        }
        Some(address) => of_store(config, dataset, address),
    }
}

/// Builder of the graph of the training facts.
fn builder(dataset: &Dataset) -> Builder<'_> {
    let (entities, relations) = (dataset.entities.len(), dataset.relations.len());
    Builder::new(entities as u32, relations as u32).name(&dataset.name)
}

fn built(builder: Builder<'_>, dataset: &Dataset) -> Result<Graph, ConfigError> {
    let built = builder.build(&dataset.train);
    built.map_err(|error| ConfigError::invalid("near_negatives", error.to_string()))
}

#[cfg(not(feature = "net"))]
fn of_store(_: &Config, _: &Dataset, _: &str) -> Result<Arc<dyn CandidateSource>, ConfigError> {
    let reason = "this build has no network: build it with the feature net, or leave the key away";
    Err(ConfigError::invalid("graph_store", reason.to_owned()))
}

#[cfg(feature = "net")]
fn of_store(
    config: &Config,
    dataset: &Dataset,
    address: &str,
) -> Result<Arc<dyn CandidateSource>, ConfigError> {
    use crate::graph::Names;
    use crate::net::graph_store::{Remote, RemoteOptions};
    use crate::net::transport::Security;
    use crate::store::{Description, GraphStore, StoreCandidates};

    let invalid = |reason: String| ConfigError::invalid("graph_store", reason);
    let store = || {
        let token = config.graph_store_token_file.as_deref();
        let options = RemoteOptions {
            security: Security::read(token, config.graph_store_tls.as_deref())?,
            // A step waits no longer for its plan than for its worker.
            patience: config.step_timeout(),
            ..RemoteOptions::default()
        };
        Remote::new(&address.parse()?, &options)
    };
    let store = store().map_err(|error: crate::net::NetError| invalid(error.to_string()))?;
    let found = store.describe();
    let found = found.map_err(|error| invalid(error.to_string()))?;
    let (entities, relations) = (
        |id| dataset.entities.name(id),
        |id| dataset.relations.name(id),
    );
    let named = builder(dataset).names(
        Names {
            count: dataset.entities.len(),
            name: &entities,
        },
        Names {
            count: dataset.relations.len(),
            name: &relations,
        },
    );
    let wanted = Description::of(&built(named, dataset)?, found.most_facts);
    let counts = |of: &Description| [of.nodes, of.relations, of.facts];
    // A graph that was built without names is told by its numbers.
    let names = [0, wanted.names_digest].contains(&found.names_digest);
    if counts(&found) != counts(&wanted) || found.facts_digest != wanted.facts_digest || !names {
        let shown = |of: &Description| {
            format!(
                "{} nodes, {} relations and {} facts (digest {:016x}, of names {:016x})",
                of.nodes, of.relations, of.facts, of.facts_digest, of.names_digest
            )
        };
        return Err(invalid(format!(
            "{address} has the graph {:?} of {}; expected that of the training facts of {:?}, of {}: serve the file \
             that `shardloom graph build` makes of the same training facts",
            found.name,
            shown(&found),
            wanted.name,
            shown(&wanted),
        )));
    }
    let name = format!("the graph store at {address}");
    Ok(Arc::new(StoreCandidates::new(Arc::new(store), name)))
}
