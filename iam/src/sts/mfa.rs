//! The code of a device for multi-factor authentication, as proof of who asks.

use super::refusal::{Code, StsError, constraint};
use crate::arn::IamArn;
use crate::credentials::Authenticated;
use crate::identity::Identities;
use crate::mfa::{CodeStep, DIGITS, step_of};
use std::fmt;
use time::UtcDateTime;

/// AWS's words for a code that is not the device's, or was used before.
const WRONG_CODE: &str = "MultiFactorAuthentication failed with invalid MFA one time pass code. ";
/// AWS's words for a device that is not the caller's.
const NO_DEVICE: &str = "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial \
     number is valid and associated with this user.";
/// AWS's words for one of the two without the other.
const INCOMPLETE: &str =
    "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code.";

/// A device and the code that it shows, as a request names them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct MfaCode {
    /// `SerialNumber`: the ARN of a virtual device.
    pub serial_number: Option<String>,
    /// `TokenCode`
    pub token_code: Option<String>,
}

impl fmt::Debug for MfaCode {
    /// Without the code, so that it cannot be printed by mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("MfaCode");
        shown.field("serial_number", &self.serial_number);
        shown.finish_non_exhaustive()
    }
}

/// A code that was right. It counts once, which whoever stores the session has to see to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedCode {
    /// The serial number of the device.
    pub serial_number: String,
    /// The step of the code.
    pub step: CodeStep,
}

impl UsedCode {
    /// The refusal of a code that has begun a session already.
    pub fn again(&self) -> StsError {
        let serial = &self.serial_number;
        denied(WRONG_CODE).because(format!("this code of {serial} has been used"))
    }
}

fn denied(message: &str) -> StsError {
    StsError::new(Code::AccessDenied, message)
}

/// A device or a code that does not count.
fn wrong(message: &str) -> StsError {
    StsError {
        is_wrong_code: true,
        ..denied(message)
    }
}

impl MfaCode {
    /// Checks what can be judged without the documents.
    pub(super) fn check_form(&self) -> Result<(), StsError> {
        if let Some(serial) = &self.serial_number {
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=/:,.@-".contains(&byte);
            if !(9..=256).contains(&serial.len()) || !serial.bytes().all(is_word) {
                let text = "have 9 to 256 letters, digits or characters of _+=/:,.@-";
                // It is the code, if the two were mixed up.
                return Err(constraint("…", "serialNumber", text));
            }
        }
        if let Some(code) = &self.token_code
            && (code.len() != DIGITS || !code.bytes().all(|byte| byte.is_ascii_digit()))
        {
            let text = "have 6 digits";
            return Err(constraint("…", "tokenCode", text));
        }
        Ok(())
    }

    /// Checks the code, if there is one: the device has to be the caller's, a user or a user's session.
    ///
    /// # Errors
    /// [`Code::AccessDenied`], with [`StsError::is_wrong_code`].
    pub(super) fn verify(
        &self,
        caller: &Authenticated<'_>,
        identities: &Identities,
        now: UtcDateTime,
    ) -> Result<Option<UsedCode>, StsError> {
        let (serial, code) = match (&self.serial_number, &self.token_code) {
            (None, None) => return Ok(None),
            (Some(serial), Some(code)) => (serial, code),
            _ => return Err(wrong(INCOMPLETE)),
        };
        let no_device = |why: &str| wrong(NO_DEVICE).because(format!("{serial} {why}"));
        let Some(device) = identities.mfa_devices.get(serial) else {
            return Err(no_device("is in no document of devices"));
        };
        let arn = IamArn::parse(caller.arn()).ok();
        let of_caller = arn.map(|arn| (arn.account.to_owned(), arn.name.to_owned()));
        if device.user.is_none() || device.user != of_caller {
            return Err(no_device("is not a device of the caller"));
        }
        if device.is_of_another(caller.known_user_id().as_deref()) {
            return Err(no_device("is a device of another user of that name"));
        }
        let Some(seed) = &device.seed else {
            return Err(no_device("has no Base32StringSeed in the documents"));
        };
        match step_of(seed, code, now) {
            Some(step) => Ok(Some(UsedCode {
                serial_number: serial.clone(),
                step,
            })),
            None => Err(wrong(WRONG_CODE)),
        }
    }
}
