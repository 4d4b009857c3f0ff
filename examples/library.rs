//! Trains through the library: `cargo run --release --example library -- umls key=value…`

use shardloom::config::{Layers, RECIPES};
use shardloom::dataset::{Dataset, LoadOptions};
use shardloom::executor::Executor;
use shardloom::kernel::Backend;
use shardloom::server::ParameterServer;
use shardloom::train::{
    EpochRecord, Observer, TrainError, TrainState, Trainer, initializer, shape,
};

/// Prints a line an epoch.
struct Lines;

impl Observer for Lines {
    fn epoch(
        &mut self,
        _: &ParameterServer,
        _: &TrainState,
        record: &EpochRecord,
    ) -> Result<(), TrainError> {
        let EpochRecord {
            epoch,
            loss,
            triples_per_second,
            ..
        } = record;
        print!("epoch {epoch}: loss {loss:.4}, {triples_per_second:.0} triples/s");
        println!(
            "{}",
            record
                .valid_mrr
                .map(|mrr| format!(", valid MRR {mrr:.4}"))
                .unwrap_or_default()
        );
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let recipe = arguments.next().unwrap_or_else(|| "genealogy".to_owned());
    let mut layers = Layers::new();
    if let Some(recipe) = RECIPES.iter().find(|r| r.name == recipe) {
        layers.text(recipe.name, recipe.text)?;
    }
    for argument in arguments {
        layers.assignment(&argument)?;
    }
    let config = layers.build()?;

    let dataset = Dataset::load(&config.dataset, &LoadOptions::default())?;
    let server = ParameterServer::new(
        Backend::cpu(),
        shape(&config, &dataset)?,
        config.storage(),
        &initializer(&config),
    )?;
    let mut trainer = Trainer::new(config, &dataset, Executor::new(&server)?)?;
    trainer.train(&mut Lines)?;
    let test = trainer.evaluate(&dataset.test, &mut Lines)?;
    if let Some(test) = test {
        println!(
            "test MRR {:.4}, hits@10 {:.4}, {:.1} s",
            test.both.mrr, test.both.hits_at_10, test.seconds
        );
    }
    Ok(())
}
