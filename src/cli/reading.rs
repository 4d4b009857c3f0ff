//! Flags for reading the files of a graph: the same wherever a graph is named.

use shardloom::config::{Config, ConfigError, Layers};
use shardloom::dataset::{BlankNodes, Columns, Heading, Quotes, ReadOptions, Separator};

/// Flags for reading the files of a graph.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "How files are read")]
pub struct ReadArgs {
    /// The columns of head, relation, tail and, if there is one, weight, by name or by number, as in
    /// 1,3,2 or subject,predicate,object [default: as the heading has them, else 1,2,3].
    #[arg(long, value_name = "HEAD,RELATION,TAIL[,WEIGHT]")]
    columns: Option<Columns>,
    /// Whether the first row is a heading, which is left out [default: auto].
    #[arg(long, value_enum)]
    heading: Option<Heading>,
    /// Separator of fields [default: auto].
    #[arg(long, value_enum)]
    separator: Option<Separator>,
    /// Whether fields may stand in double quotes [default: auto].
    #[arg(long, value_enum)]
    quotes: Option<Quotes>,
    /// Leave out lines that begin with #.
    #[arg(long)]
    comments: bool,
    /// RDF: the IRI that relative ones resolve against.
    #[arg(long, value_name = "IRI")]
    base: Option<String>,
    /// RDF: leave out facts whose tail is a literal.
    #[arg(long)]
    no_literals: bool,
    /// RDF: how far labels of blank nodes reach [default: file].
    #[arg(long, value_enum)]
    blank_nodes: Option<BlankNodes>,
    /// Leave out lines that do not fit, and count them, instead of refusing the file.
    #[arg(long)]
    skip_bad_lines: bool,
}

impl ReadArgs {
    /// The names of these arguments, for those that exclude them.
    pub const ALL: [&str; 9] = [
        "columns",
        "heading",
        "separator",
        "quotes",
        "comments",
        "base",
        "no_literals",
        "blank_nodes",
        "skip_bad_lines",
    ];

    /// Lays what was given over a configuration.
    pub fn over(&self, config: &mut Config) {
        if self.columns.is_some() {
            config.columns.clone_from(&self.columns);
        }
        if self.base.is_some() {
            config.base.clone_from(&self.base);
        }
        config.heading = self.heading.unwrap_or(config.heading);
        config.separator = self.separator.unwrap_or(config.separator);
        config.quotes = self.quotes.unwrap_or(config.quotes);
        config.blank_nodes = self.blank_nodes.unwrap_or(config.blank_nodes);
        config.comments |= self.comments;
        config.literals &= !self.no_literals;
        config.skip_bad_lines |= self.skip_bad_lines;
    }

    /// The options given, and defaults for the rest.
    pub fn options(&self) -> ReadOptions {
        let mut config = Config::default();
        self.over(&mut config);
        config.reading()
    }

    /// Lays what was given over layers of a configuration.
    ///
    /// # Errors
    /// None: the values were parsed already.
    pub fn layer(&self, layers: &mut Layers) -> Result<(), ConfigError> {
        fn name(value: Option<impl clap::ValueEnum>) -> Option<toml::Value> {
            let value = value?.to_possible_value()?;
            Some(value.get_name().into())
        }
        let given: [(&str, Option<toml::Value>); 9] = [
            (
                "columns",
                self.columns.as_ref().map(|c| c.to_string().into()),
            ),
            ("heading", name(self.heading)),
            ("separator", name(self.separator)),
            ("quotes", name(self.quotes)),
            ("comments", self.comments.then_some(true.into())),
            ("base", self.base.clone().map(Into::into)),
            ("literals", self.no_literals.then_some(false.into())),
            ("blank_nodes", name(self.blank_nodes)),
            ("skip_bad_lines", self.skip_bad_lines.then_some(true.into())),
        ];
        for (key, value) in given {
            if let Some(value) = value {
                layers.set(&format!("--{}", key.replace('_', "-")), key, value)?;
            }
        }
        Ok(())
    }
}
