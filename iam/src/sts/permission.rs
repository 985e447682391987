//! Whether a caller may ask what the account's policies say: the simulations of IAM, which have no trust policy in
//! them.

use super::{StsEnvironment, StsError, resource_context};
use crate::arn::account_in;
use crate::authorization::{Request, authorize};
use crate::credentials::{self, Authenticated};
use crate::denial::{DenyReason, reason};
use crate::identity::Session;
use crate::request_context::add_principal;
use crate::sts::Code;

/// Checks that the caller's own policies allow `action` on `resource`, an ARN or `*`.
///
/// # Errors
/// [`Code::AccessDenied`], with the reason for whoever can read the documents; [`Code::InvalidClientTokenId`] for a user's
/// session that began without multi-factor authentication, which may call nothing of IAM's
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html>).
pub fn check_permission(
    caller: &Authenticated<'_>,
    action: &str,
    resource: &str,
    environment: &StsEnvironment<'_>,
) -> Result<(), StsError> {
    let is_without_mfa = |session: &Session| session.is_of_user() && !session.has_mfa;
    if caller.session.is_some_and(is_without_mfa) {
        let reason = "a user's session calls IAM only if it began with multi-factor authentication";
        return Err(
            StsError::new(Code::InvalidClientTokenId, credentials::INVALID).because(reason),
        );
    }
    let refused = |why: &DenyReason| {
        let (arn, reason) = (caller.arn(), reason(action, why));
        StsError::new(
            Code::AccessDenied,
            format!(
                "User: {arn} is not authorized to perform: {action} on resource: {resource} {reason}"
            ),
        )
    };
    let StsEnvironment {
        now, identities, ..
    } = *environment;
    let policies = identities
        .policies(caller.principal, caller.session)
        .map_err(|why| match why {
            // AWS has all documents, and so no words for one that is missing.
            DenyReason::Incomplete(_) => StsError::new(
                Code::AccessDenied,
                format!(
                    "User: {} is not authorized to perform: {action} on resource: {resource}",
                    caller.arn()
                ),
            )
            .because(reason(action, &why)),
            why => refused(&why),
        })?;
    let account = account_in(resource);
    let known = identities.principal(resource);
    let tags = known.map_or(&[][..], |principal| &principal.tags);
    let mut context = resource_context(account, tags, environment);
    add_principal(&mut context, now, caller.principal, caller.session);
    let asked = Request {
        action,
        resource,
        resource_account: account,
        context: &context,
    };
    let decision = authorize(&policies, &caller.request_principal(), &asked);
    DenyReason::of(&decision).map_or(Ok(()), |why| Err(refused(&why)))
}
