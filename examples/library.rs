//! Trains through the library: `cargo run --release --example library -- umls key=value…`

use std::ops::ControlFlow;

use shardloom::config::{Layers, RECIPES};
use shardloom::dataset::{Dataset, LoadOptions};
use shardloom::train::{NoObserver, TrainEvent, Trainer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let recipe = arguments.next().unwrap_or_else(|| "genealogy".to_owned());
    let mut layers = Layers::new();
    if let Some(recipe) = RECIPES.iter().find(|r| r.name == recipe) {
        layers.text(recipe.name, recipe.text)?;
    }
    layers.assignment("device=cpu")?;
    for argument in arguments {
        layers.assignment(&argument)?;
    }
    let config = layers.build()?;

    let dataset = Dataset::load(&config.dataset, &LoadOptions::default())?;
    let mut trainer = Trainer::open(config, &dataset)?;
    // An observer receives every event; `ControlFlow::Break(())` would stop the run.
    trainer.train(&mut |event: TrainEvent<'_>| {
        if let TrainEvent::EpochDone { record, .. } = event {
            let valid = record.valid_mrr.map(|mrr| format!(", valid MRR {mrr:.4}"));
            println!(
                "epoch {}: loss {:.4}, {:.0} triples/s{}",
                record.epoch,
                record.loss,
                record.triples_per_second,
                valid.unwrap_or_default()
            );
        }
        ControlFlow::Continue(())
    })?;
    if let Some(test) = trainer.evaluate(&dataset.test, &mut NoObserver)? {
        println!(
            "test MRR {:.4}, hits@10 {:.4}, {:.1} s",
            test.both.mrr, test.both.hits_at_10, test.seconds
        );
    }
    Ok(())
}
