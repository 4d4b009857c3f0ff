//! Recipes, on a graph that takes no time.

use shardloom::config::{Layers, RECIPES};

use crate::{family, outcome};

#[test]
fn every_recipe_lowers_its_loss_on_any_graph() {
    let dataset = family();
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
            format!("batch_size={}", given.batch_size.min(60)),
        ];
        for assignment in &small {
            layers.assignment(assignment).unwrap();
        }
        let (losses, _) = outcome(&layers.build().unwrap(), &dataset);
        println!("{}: {losses:?}", recipe.name);
        assert!(losses[2] < losses[0], "{}: {losses:?}", recipe.name);
    }
}
