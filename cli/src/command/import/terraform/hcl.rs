//! The source of a configuration, for what its plan does not hold: the expression around a value that is not
//! known yet. It is parsed by hcl-rs, and evaluated in [`super::expression`].

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use hcl::{Block, Body, Expression};

use crate::command::import::input::{MAX_INPUT, read_bounded};
use crate::shared::error::Error;

/// The most files of a module.
const MAX_FILES: usize = 1000;
/// The most modules.
const MAX_MODULES: usize = 1000;
/// How deep modules may be in modules.
const MAX_DEPTH: usize = 16;

/// A module, as its files say it.
#[derive(Default)]
pub struct Module {
    /// where it is
    pub directory: PathBuf,
    /// what `locals` hold
    pub locals: HashMap<String, Expression>,
    /// the defaults of variables
    pub defaults: HashMap<String, Expression>,
    /// the values of outputs
    pub outputs: HashMap<String, Expression>,
    /// the calls of other modules
    pub calls: HashMap<String, Body>,
    /// resources, and data sources (`true`), by type and name
    pub resources: HashMap<(bool, String, String), Body>,
}

/// All modules, each by the names of the calls that lead to it.
pub struct Source {
    modules: HashMap<Vec<String>, Module>,
}

impl Source {
    /// Reads the root module in `directory`, and those that it calls.
    ///
    /// # Errors
    /// A sentence, if something cannot be read or parsed, or a module calls itself.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let mut source = Self {
            modules: HashMap::new(),
        };
        let installed = installed(directory);
        source.add(directory, Vec::new(), &installed)?;
        Ok(source)
    }

    /// The module of these names.
    pub fn module(&self, names: &[String]) -> Option<&Module> {
        self.modules.get(names)
    }

    fn add(
        &mut self,
        directory: &Path,
        names: Vec<String>,
        installed: &HashMap<String, PathBuf>,
    ) -> Result<(), Error> {
        if names.len() > MAX_DEPTH {
            return Err(format!(
                "module.{} is nested deeper than {MAX_DEPTH}: does a module call itself?",
                names.join(".module.")
            )
            .into());
        }
        if self.modules.len() >= MAX_MODULES {
            return Err(format!("there are more than {MAX_MODULES} modules").into());
        }
        let module = read_module(directory)?;
        let mut children = Vec::new();
        for (name, body) in &module.calls {
            let mut path = names.clone();
            path.push(name.clone());
            let place = match literal(body, "source") {
                Some(local) if local.starts_with("./") || local.starts_with("../") => {
                    Some(directory.join(local))
                }
                // Where `terraform init` put it.
                _ => installed.get(&path.join(".")).cloned(),
            };
            children.extend(place.map(|place| (place, path)));
        }
        self.modules.insert(names, module);
        for (place, path) in children {
            self.add(&place, path, installed)?;
        }
        Ok(())
    }
}

/// The directories of the modules that `terraform init` fetched.
fn installed(directory: &Path) -> HashMap<String, PathBuf> {
    let Ok(text) = fs::read_to_string(directory.join(".terraform/modules/modules.json")) else {
        return HashMap::new();
    };
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let modules = json["Modules"].as_array().into_iter().flatten();
    modules
        .filter_map(|module| {
            let key = module["Key"].as_str()?;
            Some((key.to_owned(), directory.join(module["Dir"].as_str()?)))
        })
        .collect()
}

fn read_module(directory: &Path) -> Result<Module, Error> {
    let failed = |fault: std::io::Error| format!("could not read {}: {fault}", directory.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "tf") {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(
                format!("{} holds more than {MAX_FILES} files", directory.display()).into(),
            );
        }
    }
    paths.sort();
    let mut module = Module {
        directory: directory.to_owned(),
        ..Module::default()
    };
    for path in paths {
        let text = read_bounded(&path, MAX_INPUT)?;
        let body = hcl::parse(&text).map_err(|fault| format!("{}: {fault}", path.display()))?;
        for block in body.into_blocks() {
            module.take(block);
        }
    }
    Ok(module)
}

impl Module {
    fn take(&mut self, block: Block) {
        let labels: Vec<String> = block
            .labels
            .iter()
            .map(|label| label.as_str().to_owned())
            .collect();
        let body = block.body;
        match (block.identifier.as_str(), &labels[..]) {
            ("locals", []) => {
                let attributes = body.into_attributes();
                self.locals
                    .extend(attributes.map(|a| (a.key.as_str().to_owned(), a.expr)));
            }
            ("variable", [name]) => {
                if let Some(default) = attribute(&body, "default") {
                    self.defaults.insert(name.clone(), default.clone());
                }
            }
            ("output", [name]) => {
                if let Some(value) = attribute(&body, "value") {
                    self.outputs.insert(name.clone(), value.clone());
                }
            }
            ("module", [name]) => {
                self.calls.insert(name.clone(), body);
            }
            (kind @ ("resource" | "data"), [resource_type, name]) => {
                let key = (kind == "data", resource_type.clone(), name.clone());
                self.resources.insert(key, body);
            }
            _ => {}
        }
    }
}

/// The expression of an attribute.
pub fn attribute<'b>(body: &'b Body, name: &str) -> Option<&'b Expression> {
    let mut attributes = body.attributes();
    attributes
        .find(|attribute| attribute.key.as_str() == name)
        .map(|attribute| &attribute.expr)
}

/// The text of an attribute that is no more than a text.
fn literal<'b>(body: &'b Body, name: &str) -> Option<&'b str> {
    match attribute(body, name) {
        Some(Expression::String(text)) => Some(text),
        _ => None,
    }
}
