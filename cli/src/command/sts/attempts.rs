//! How often a caller may try a code of a device for multi-factor authentication.
//!
//! There are a million codes, of which three count at a time: whoever has a user's key, and not the device, must not
//! try them all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use dsql_iam_core::Authenticated;
use dsql_iam_core::sts::{Code, MfaCode, StsError};
use time::UtcDateTime;

/// How many codes a caller may try in [`PERIOD`] seconds.
const MAX_ATTEMPTS: u32 = 10;
/// For how long they are counted, in seconds: as long as a device shows a code.
const PERIOD: i64 = 30;

/// The codes that were tried in the present period, by caller.
#[derive(Default)]
pub struct Attempts(Mutex<(i64, HashMap<String, u32>)>);

impl Attempts {
    /// Counts a code, if the request has one.
    ///
    /// # Errors
    /// [`Code::Throttling`] if the caller has tried too many, whether they were right or not.
    pub fn check(
        &self,
        caller: &Authenticated<'_>,
        given: &MfaCode,
        now: UtcDateTime,
    ) -> Result<(), StsError> {
        match given.token_code {
            Some(_) => self.count(&caller.principal.arn, now),
            None => Ok(()),
        }
    }

    fn count(&self, caller: &str, now: UtcDateTime) -> Result<(), StsError> {
        let now = now.unix_timestamp().div_euclid(PERIOD);
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (period, counts) = &mut *attempts;
        if *period != now {
            *period = now;
            counts.clear();
        }
        let count = counts.entry(caller.to_owned()).or_default();
        *count = count.saturating_add(1);
        if *count > MAX_ATTEMPTS {
            let reason = format!(
                "{caller} has tried more than {MAX_ATTEMPTS} codes of devices in {PERIOD} seconds"
            );
            return Err(StsError::new(Code::Throttling, "Rate exceeded").because(reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_few_attempts_in_each_period() {
        let attempts = Attempts::default();
        let at = |seconds| UtcDateTime::from_unix_timestamp(seconds).unwrap();
        let code = |caller, seconds| attempts.count(caller, at(seconds)).map_err(|no| no.code);
        for _ in 0..MAX_ATTEMPTS {
            assert_eq!(code("alice", 60), Ok(()));
        }
        assert_eq!(code("alice", 89), Err(Code::Throttling));
        assert_eq!(code("bob", 89), Ok(()));
        assert_eq!(code("alice", 90), Ok(()));
    }
}
