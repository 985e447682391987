//! The packages that the chosen steps need, installed or asked for in one go before the first step.

use std::collections::BTreeSet;

use anyhow::Result;
use nix::unistd::geteuid;

use super::step::{Name, Source};
use crate::{apt, prerequisites};

/// Packages that are missing.
#[derive(Default)]
pub(super) struct Packages {
    /// Steps fail without these.
    pub required: BTreeSet<String>,
    /// A step, or a part of it, is skipped without these.
    pub optional: BTreeSet<String>,
}

impl Packages {
    /// The packages that `steps` need with each of the `sources` of a PostgreSQL, and the system lacks.
    ///
    /// # Errors
    /// If a PostgreSQL that is named cannot be used.
    pub fn of(steps: &[Name], sources: &[Source]) -> Result<Self> {
        let mut packages = Self::default();
        for step in steps {
            packages.add(*step);
        }
        if steps.iter().any(|step| step.needs_postgres()) {
            for source in sources {
                packages.required.extend(match source {
                    Source::Found(named) => prerequisites::packages(named.as_deref())?,
                    Source::Major(major) => prerequisites::packages_of(*major),
                });
            }
        }
        Ok(packages)
    }

    fn add(&mut self, step: Name) {
        match step {
            Name::Python => {
                self.optional.extend(apt::VALGRIND.missing());
                self.optional.extend(apt::browser_packages());
                self.optional.extend(apt::PACKAGE_TOOLS.missing());
            }
            Name::Core => self.optional.extend(apt::UNPACKERS.missing()),
            Name::Package => {
                self.optional.extend(apt::PACKAGE_TOOLS.missing());
                if geteuid().is_root() {
                    self.optional.extend(apt::DEBOOTSTRAP.missing());
                }
            }
            Name::Java => self.required.extend(apt::MAVEN.missing()),
            Name::Ha => self.required.extend(apt::PATRONI.missing()),
            Name::Image if geteuid().is_root() => {
                self.optional.extend(apt::DEBOOTSTRAP.missing());
                self.optional.extend(apt::DOCKER.missing());
            }
            _ => {}
        }
        if matches!(step, Name::Python | Name::Readme | Name::Ha | Name::Image) {
            self.required.extend(apt::python_packages());
        }
        if matches!(step, Name::Python | Name::Readme | Name::Node) {
            self.required.extend(apt::node_packages());
        }
        if matches!(step, Name::Python | Name::Readme | Name::Java) {
            self.required.extend(apt::java_packages());
        }
    }

    /// Installs them all.
    ///
    /// # Errors
    /// If that cannot be done and something is required: with the line that installs all of them.
    pub fn install(&self) -> Result<()> {
        match apt::install(&(&self.required | &self.optional)) {
            Err(error) if self.required.is_empty() => {
                println!("some tests will be skipped: {error:#}");
                Ok(())
            }
            outcome => outcome,
        }
    }
}
