//! Evaluating values that refer to one another: each once, within bounds, and never in a circle. Terraform and
//! CloudFormation have expressions of their own, and this in common.

use std::collections::HashMap;

use super::value::Value;

use crate::shared::error::Error;

/// How many expressions are evaluated.
const MAX_STEPS: usize = 2_000_000;
/// How large a value may become.
const MAX_SIZE: usize = 500_000;
/// How far references may lead from one to the next.
const MAX_TRAIL: usize = 200;

/// How far the evaluation of one input has come.
#[derive(Default)]
pub struct Progress {
    known: HashMap<String, Value>,
    trail: Trail,
    steps: usize,
}

impl Progress {
    /// Counts a step.
    ///
    /// # Errors
    /// A sentence, if there were too many.
    pub fn spend(&mut self) -> Result<(), Error> {
        self.steps += 1;
        match self.steps > MAX_STEPS {
            true => Err(format!("to evaluate it takes more than {MAX_STEPS} steps").into()),
            false => Ok(()),
        }
    }

    /// The value that was found for `name`. If there is none yet, it is to be computed now, and handed to
    /// [`Self::finish`].
    ///
    /// # Errors
    /// A sentence, if `name` refers to itself.
    pub fn begin(&mut self, name: &str) -> Result<Option<Value>, Error> {
        if let Some(known) = self.known.get(name) {
            return Ok(Some(known.clone()));
        }
        self.trail.enter(name)?;
        Ok(None)
    }

    /// Keeps the value of the name that was begun last, and gives it.
    ///
    /// # Errors
    /// A sentence, if it is too large.
    pub fn finish(&mut self, name: String, value: Value) -> Result<Value, Error> {
        self.trail.leave();
        if value.size() > MAX_SIZE {
            return Err(format!("{name} is too large").into());
        }
        self.known.insert(name, value.clone());
        Ok(value)
    }
}

/// The way from one value to the next that it refers to.
#[derive(Default)]
struct Trail(Vec<String>);

impl Trail {
    /// Goes on to this one.
    ///
    /// # Errors
    /// A sentence, if it was on the way already, or the way is too long.
    fn enter(&mut self, name: &str) -> Result<(), Error> {
        if let Some(start) = self.0.iter().position(|known| known == name) {
            let cycle = self.0[start..].join(" -> ");
            return Err(format!("a value refers to itself: {cycle} -> {name}").into());
        }
        if self.0.len() >= MAX_TRAIL {
            return Err(format!(
                "{name}: more than {MAX_TRAIL} references lead from one to the next"
            )
            .into());
        }
        self.0.push(name.to_owned());
        Ok(())
    }

    /// Goes back.
    fn leave(&mut self) {
        self.0.pop();
    }
}
