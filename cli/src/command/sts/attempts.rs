//! How often a caller may try a code of a device for multi-factor authentication.
//!
//! There are a million codes, of which three count at a time: whoever has a user's key, and not the device, must not
//! try them all. Ten in a quarter of an hour find the right one with 0.3 % in a day.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use dsql_iam_core::Authenticated;
use dsql_iam_core::sts::{Code, MfaCode, StsError};
use time::UtcDateTime;

/// How many codes that do not count a caller may try in [`PERIOD`] seconds.
const MAX_ATTEMPTS: u32 = 10;
/// For how long they are counted, in seconds.
const PERIOD: i64 = 15 * 60;

/// The codes that were tried in the present period and are not the device's, by caller.
#[derive(Default)]
pub struct Attempts(Mutex<(i64, HashMap<String, u32>)>);

impl Attempts {
    /// Decides on a request, and counts its code, if it has one, unless something else is wrong. Counted before it is
    /// verified, requests side by side have no more tries than others.
    ///
    /// # Errors
    /// [`Code::Throttling`] if the caller has tried too many; those of `decide`.
    pub fn decide<T>(
        &self,
        caller: &Authenticated<'_>,
        given: &MfaCode,
        now: UtcDateTime,
        decide: impl FnOnce() -> Result<T, StsError>,
    ) -> Result<T, StsError> {
        match given.token_code {
            Some(_) => self.counted(&caller.principal.arn, now, decide),
            None => decide(),
        }
    }

    fn counted<T>(
        &self,
        caller: &str,
        now: UtcDateTime,
        decide: impl FnOnce() -> Result<T, StsError>,
    ) -> Result<T, StsError> {
        self.count(caller, now)?;
        let decided = decide();
        if !matches!(&decided, Err(refusal) if refusal.is_wrong_code) {
            self.take_back(caller);
        }
        decided
    }

    fn take_back(&self, caller: &str) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = attempts.1.get_mut(caller) {
            *count = count.saturating_sub(1);
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
                "{caller} has tried more than {MAX_ATTEMPTS} wrong codes of devices in {} minutes",
                PERIOD / 60
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
            assert_eq!(code("alice", PERIOD), Ok(()));
        }
        assert_eq!(code("alice", 2 * PERIOD - 1), Err(Code::Throttling));
        assert_eq!(code("bob", 2 * PERIOD - 1), Ok(()));
        assert_eq!(code("alice", 2 * PERIOD), Ok(()));
    }

    #[test]
    fn only_a_wrong_code_is_an_attempt() {
        let attempts = Attempts::default();
        let try_with = |outcome: Result<(), StsError>| {
            attempts.counted("alice", UtcDateTime::UNIX_EPOCH, || outcome)
        };
        let refused = StsError::new(Code::AccessDenied, "by a policy");
        for _ in 0..3 * MAX_ATTEMPTS {
            assert_eq!(try_with(Ok(())), Ok(()));
            assert_eq!(try_with(Err(refused.clone())), Err(refused.clone()));
        }
        let wrong = StsError {
            is_wrong_code: true,
            ..refused
        };
        for _ in 0..MAX_ATTEMPTS {
            assert_eq!(try_with(Err(wrong.clone())), Err(wrong.clone()));
        }
        assert_eq!(try_with(Ok(())).unwrap_err().code, Code::Throttling);
    }
}
