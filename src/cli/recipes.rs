//! `shardloom recipes`: configurations of known quality.

use std::io::Write;

use shardloom::config::{Config, RECIPES, find_recipe};

use super::CommandResult;

/// List the built-in recipes, or print one
///
/// A recipe is a config file: `shardloom recipes NAME > my.toml` is a good start for your own.
#[derive(Debug, clap::Args)]
pub struct RecipesArgs {
    /// The recipe to print.
    name: Option<String>,
    /// Print every configuration key with its meaning and default instead.
    #[arg(long, conflicts_with = "name")]
    keys: bool,
}

/// Runs the command.
pub fn run(args: RecipesArgs) -> CommandResult {
    let mut out = std::io::stdout().lock();
    if args.keys {
        let defaults = toml::Table::try_from(Config::default())?;
        for (key, about) in Config::KEYS {
            let default = defaults.get(*key).map(|v| format!(" [default: {v}]"));
            writeln!(out, "{key:<26}{}{}", about, default.unwrap_or_default())?;
        }
        return Ok(out.flush()?);
    }
    match args.name {
        Some(name) => write!(out, "{}", find_recipe(&name)?.text)?,
        None => {
            for recipe in RECIPES {
                writeln!(out, "{:<34}{}", recipe.name, recipe.summary())?;
            }
        }
    }
    Ok(out.flush()?)
}
