//! Virtual devices for multi-factor authentication, and the codes that they show.
//!
//! The codes are those of RFC 6238: HMAC-SHA-1, six digits, a new one every 30 seconds.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use time::UtcDateTime;

/// How long a code counts, in seconds.
const STEP: i64 = 30;
/// How many codes there are: those of six digits.
const CODES: u32 = 1_000_000;
/// How many digits a code has.
pub(crate) const DIGITS: usize = 6;

/// A device, as far as the documents tell.
///
/// Deliberately without `Debug`, so that no secret can be printed by mistake.
#[derive(Clone, Default)]
pub struct MfaDevice {
    /// The account and the name of the user whose device it is.
    pub(crate) user: Option<(String, String)>,
    /// The unique id of that user, if a document of the device has it.
    pub(crate) user_id: Option<String>,
    /// The secret that its codes are made of.
    pub(crate) seed: Option<Vec<u8>>,
}

impl MfaDevice {
    /// Whether it is of another user than the one with this unique id, such as one of the same name that was deleted;
    /// not if one of the two ids is unknown.
    pub(crate) fn is_of_another(&self, unique_id: Option<&str>) -> bool {
        let ids = self.user_id.as_deref().zip(unique_id);
        ids.is_some_and(|(of_device, id)| of_device != id)
    }
}

/// A step of 30 seconds, counted from 1970: the code of each counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeStep(u64);

impl CodeStep {
    /// The number of the step.
    pub fn number(self) -> u64 {
        self.0
    }

    /// When it begins.
    pub fn begin(self) -> UtcDateTime {
        let seconds = i64::try_from(self.0)
            .ok()
            .and_then(|step| step.checked_mul(STEP));
        let begin = seconds.and_then(|seconds| UtcDateTime::from_unix_timestamp(seconds).ok());
        // No step is beyond the time that it was found at.
        begin.unwrap_or(UtcDateTime::UNIX_EPOCH)
    }
}

/// The step of a device's code: the present one, the one before or the next, since no two clocks are equal. Compares in
/// constant time; `None` if it is a code of none of them.
pub(crate) fn step_of(seed: &[u8], code: &str, now: UtcDateTime) -> Option<CodeStep> {
    let present = u64::try_from(now.unix_timestamp().div_euclid(STEP)).ok()?;
    let mut found = 0;
    for step in [
        present.saturating_add(1),
        present.saturating_sub(1),
        present,
    ] {
        let is_it = self::code(seed, step)?.as_bytes().ct_eq(code.as_bytes());
        found.conditional_assign(&step, is_it);
    }
    (found > 0).then_some(CodeStep(found))
}

/// The code of a step, by RFC 4226.
fn code(seed: &[u8], step: u64) -> Option<String> {
    let mut hmac = Hmac::<Sha1>::new_from_slice(seed).ok()?;
    hmac.update(&step.to_be_bytes());
    let hash = hmac.finalize().into_bytes();
    let offset = usize::from(hash[hash.len() - 1] & 0xf);
    let four = hash.get(offset..offset + 4)?.try_into().ok()?;
    let number = u32::from_be_bytes(four) & 0x7fff_ffff;
    Some(format!("{:0DIGITS$}", number % CODES))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: &[u8] = b"12345678901234567890";

    /// Appendix B of RFC 6238, of whose eight digits the last six are the code of six.
    #[test]
    fn the_codes_of_the_rfc() {
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(SEED, seconds / 30).unwrap(), expected, "{seconds}");
        }
    }

    #[test]
    fn a_code_counts_in_its_step_and_in_those_beside_it() {
        let step = 1_111_111_111 / 30;
        let now = |seconds: i64| UtcDateTime::from_unix_timestamp(seconds).unwrap();
        let begin = step * 30;
        for (seconds, counts) in [
            (begin - 31, false),
            (begin - 30, true),
            (begin, true),
            (begin + 29, true),
            (begin + 59, true),
            (begin + 60, false),
        ] {
            let found = step_of(SEED, "050471", now(seconds));
            let expected = counts.then_some(CodeStep(step.try_into().unwrap()));
            assert_eq!(found, expected, "{seconds}");
        }
        for code in ["", "05047", "0504711", "050472", "50471", " 50471"] {
            assert_eq!(step_of(SEED, code, now(begin)), None, "{code}");
        }
        assert_eq!(step_of(b"another seed", "050471", now(begin)), None);
    }
}
