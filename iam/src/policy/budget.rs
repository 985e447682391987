//! How much the evaluation of one request may do, so that no document makes a login expensive.

/// The steps that are left, of which each looks at a character or two.
#[derive(Debug)]
pub struct Budget {
    left: usize,
}

/// The budget is used up: there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

impl Budget {
    /// The steps of one request. The policies of the largest account that AWS's quotas allow, with its
    /// own largest policies among them, take less than a tenth; it takes a fraction of a second.
    const MOST: usize = 50_000_000;

    /// A budget for what documents alone decide, whose lengths were checked as they were read.
    pub(crate) fn unlimited() -> Self {
        Self { left: usize::MAX }
    }

    /// Takes this many steps off.
    ///
    /// # Errors
    /// If there is none left then.
    pub fn spend(&mut self, steps: usize) -> Result<(), Exhausted> {
        self.left = self.left.saturating_sub(steps);
        if self.left == 0 {
            return Err(Exhausted);
        }
        Ok(())
    }

    /// A budget of this many steps.
    #[cfg(test)]
    pub(crate) fn of(left: usize) -> Self {
        Self { left }
    }

    /// How many steps of [`Budget::default`] were taken.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> usize {
        Self::MOST - self.left
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: Self::MOST }
    }
}
