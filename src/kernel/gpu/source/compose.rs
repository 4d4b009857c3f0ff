//! Composes a shader from its file and the files that it imports. `shaders/README.md` lists the
//! directives that WGSL files may use.

use std::collections::{BTreeMap, BTreeSet};

/// A file of WGSL with directives.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// Path below `shaders/`, without `.wgsl`.
    pub path: &'static str,
    pub text: &'static str,
}

/// The parts of a shader that differ between the variants of its stage.
#[derive(Debug, Default)]
pub(super) struct Variant {
    /// The file that `#import FOLDER/*` stands for, by folder.
    pub choices: BTreeMap<&'static str, &'static str>,
    /// The declaration that `#extern NAME` stands for, by name.
    pub externs: BTreeMap<&'static str, String>,
}

/// A mistake in the files of a shader, or in the choices of its stage.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("shaders/{file}.wgsl, line {line}: {problem}")]
pub(in crate::kernel::gpu) struct ComposeError {
    pub file: String,
    pub line: usize,
    pub problem: Problem,
}

#[derive(Debug, PartialEq, thiserror::Error)]
pub(in crate::kernel::gpu) enum Problem {
    #[error("shaders/{0}.wgsl does not exist")]
    NoFile(String),
    #[error("files import each other in a circle: {}", .0.join(", "))]
    Circle(Vec<String>),
    #[error("the stage chooses no file of shaders/shared/{0}")]
    NoChoice(String),
    #[error("the stage chooses a file of shaders/shared/{0}, but no file imports the choice")]
    UnusedChoice(String),
    #[error("the stage does not declare {0}")]
    NoExtern(String),
    #[error("no import before this line has the template {0}")]
    NoTemplate(String),
    #[error("the template {0} does not end with #end")]
    NoEnd(String),
    #[error("#{0} is not a directive with its arguments")]
    NoDirective(String),
}

/// The text of the shader at `path`, every import before the file that asks for it, and once.
///
/// # Errors
/// [`ComposeError`] names the file and the line of the mistake.
pub(super) fn compose(
    files: &[File],
    path: &str,
    variant: &Variant,
) -> Result<String, ComposeError> {
    let mut composer = Composer {
        files,
        variant,
        open: Vec::new(),
        done: BTreeSet::new(),
        templates: BTreeMap::new(),
        text: String::new(),
    };
    let start = Place {
        file: path,
        line: 1,
    };
    composer.import(path, start)?;
    for folder in variant.choices.keys() {
        if !composer.done.contains(&format!("{folder}/*")) {
            return start.fail(Problem::UnusedChoice((*folder).into()));
        }
    }
    Ok(composer.text)
}

struct Composer<'a> {
    files: &'a [File],
    variant: &'a Variant,
    /// Paths of the files that are being read, each imported by the one before.
    open: Vec<String>,
    /// Paths, choices, externs and uses of templates that the text has already.
    done: BTreeSet<String>,
    templates: BTreeMap<String, Template>,
    text: String,
}

/// Lines between `#template` and `#end`.
#[derive(Clone)]
struct Template {
    file: String,
    /// The word that an argument replaces.
    parameter: Option<String>,
    lines: Vec<(usize, String)>,
}

#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    line: usize,
}

impl Place<'_> {
    fn fail<T>(self, problem: Problem) -> Result<T, ComposeError> {
        Err(ComposeError {
            file: self.file.into(),
            line: self.line,
            problem,
        })
    }
}

impl Composer<'_> {
    fn import(&mut self, path: &str, place: Place<'_>) -> Result<(), ComposeError> {
        if let Some(first) = self.open.iter().position(|open| open == path) {
            return place.fail(Problem::Circle(self.open[first..].to_vec()));
        }
        if !self.done.insert(path.into()) {
            return Ok(());
        }
        let Some(file) = self.files.iter().find(|file| file.path == path) else {
            return place.fail(Problem::NoFile(path.into()));
        };
        self.open.push(path.into());
        let lines: Vec<_> = (1..).zip(file.text.lines().map(str::to_owned)).collect();
        let own = self.lines(path, &lines)?;
        self.open.pop();
        self.text += &format!("\n// shaders/{path}.wgsl\n{own}");
        Ok(())
    }

    /// Lines without their directives. Imports go to the text of the whole shader.
    fn lines(&mut self, file: &str, lines: &[(usize, String)]) -> Result<String, ComposeError> {
        let mut own = String::new();
        let mut rest = lines.iter();
        while let Some((line, text)) = rest.next() {
            let Some(directive) = text.strip_prefix('#') else {
                own += &format!("{text}\n");
                continue;
            };
            let place = Place { file, line: *line };
            let directive = directive.split("//").next().unwrap_or_default().trim();
            match directive.split_whitespace().collect::<Vec<_>>()[..] {
                ["import", name] => {
                    let path = self.resolve(name, place)?;
                    self.import(&format!("shared/{path}"), place)?;
                }
                ["extern", name, ..] => own += &self.declaration(name, place)?,
                ["template", name, ref parameter @ ..] if parameter.len() < 2 => {
                    let body = rest.as_slice();
                    let Some(end) = body.iter().position(|(_, text)| text == "#end") else {
                        return place.fail(Problem::NoEnd(name.into()));
                    };
                    let template = Template {
                        file: file.into(),
                        parameter: parameter.first().map(|&word| word.to_owned()),
                        lines: body[..end].to_vec(),
                    };
                    self.templates.insert(name.into(), template);
                    rest = body[end + 1..].iter();
                }
                ["use", name, ref argument @ ..] if argument.len() < 2 => {
                    own += &self.expand(name, argument.first().copied(), place)?;
                }
                _ => return place.fail(Problem::NoDirective(directive.into())),
            }
        }
        Ok(own)
    }

    /// The path below `shared/` of an import, which may be a choice.
    fn resolve(&mut self, name: &str, place: Place<'_>) -> Result<String, ComposeError> {
        let Some(folder) = name.strip_suffix("/*") else {
            return Ok(name.into());
        };
        let Some(choice) = self.variant.choices.get(folder) else {
            return place.fail(Problem::NoChoice(folder.into()));
        };
        self.done.insert(name.into());
        Ok(format!("{folder}/{choice}"))
    }

    fn declaration(&mut self, name: &str, place: Place<'_>) -> Result<String, ComposeError> {
        let Some(declaration) = self.variant.externs.get(name) else {
            return place.fail(Problem::NoExtern(name.into()));
        };
        Ok(match self.done.insert(format!("extern {name}")) {
            true => format!("{declaration}\n"),
            false => String::new(),
        })
    }

    fn expand(
        &mut self,
        name: &str,
        argument: Option<&str>,
        place: Place<'_>,
    ) -> Result<String, ComposeError> {
        let Some(template) = self.templates.get(name).cloned() else {
            return place.fail(Problem::NoTemplate(name.into()));
        };
        let mut lines = template.lines;
        match (&template.parameter, argument) {
            (Some(parameter), Some(argument)) => {
                for (_, text) in &mut lines {
                    *text = text.replace(parameter.as_str(), argument);
                }
            }
            (None, None) => {}
            _ => return place.fail(Problem::NoDirective(format!("use {name}"))),
        }
        match self.done.insert(format!("use {name} {argument:?}")) {
            true => self.lines(&template.file, &lines),
            false => Ok(String::new()),
        }
    }
}
