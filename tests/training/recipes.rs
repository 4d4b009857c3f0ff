//! Recipes, on a graph that takes no time.

use shardloom::config::{Layers, RECIPES};

use crate::{assert_oracles_losses, few_facts};

#[test]
fn every_recipe_lowers_its_loss_as_the_oracle_does() {
    let dataset = few_facts();
    for recipe in RECIPES {
        let mut layers = Layers::new();
        layers.text(recipe.name, recipe.text).unwrap();
        let given = layers.build().unwrap();
        // Rows, draws and steps for a small graph; all else as it stands.
        let small = [
            "dataset=genealogy".to_owned(),
            "device=cpu".to_owned(),
            "epochs=3".to_owned(),
            "validate_every=0".to_owned(),
            format!("dim={}", given.dim.min(40)),
            format!("batch_size={}", given.batch_size.min(30)),
        ];
        for assignment in &small {
            layers.assignment(assignment).unwrap();
        }
        let config = layers.build().unwrap();
        let losses = assert_oracles_losses(&config, &dataset);
        println!("{}: {losses:?}", recipe.name);
        assert!(losses[2] < losses[0], "{}: {losses:?}", recipe.name);
    }
}
