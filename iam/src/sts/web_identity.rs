//! `AssumeRoleWithWebIdentity`: a session for the token of an identity provider, instead of credentials.
//!
//! Follows <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html> and
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_iam-condition-keys.html>, "OIDC federation".
//! The token is verified with the keys in the documents, and the provider is one of the role's own account. The role's
//! trust policy decides alone, and has to name the provider.

use super::grant::{Grant, SessionOf, effective_request};
use super::refusal::{Code, StsError};
use super::request::{AssumeRole, SessionAttributes, check_form, check_session_policies, duration};
use super::token::{self, Claims, UnverifiedToken};
use super::{StsEnvironment, add_attributes, deny_reason, end, role_context, trust_policy};
use crate::actions::{ASSUME_ROLE_WITH_WEB_IDENTITY as ACTION, SET_SOURCE_IDENTITY, TAG_SESSION};
use crate::arn::{IamArn, SessionArn};
use crate::authorization::{Policies, Request, authorize};
use crate::identity::{Identities, Principal};
use crate::identity_provider::{Algorithm, OidcProvider, PublicKey};
use crate::policy::{Context, Policy, RequestPrincipal};
use crate::time::CLOCK_SKEW;
use time::UtcDateTime;

/// AWS's words for a token that it cannot verify.
const NOT_VALIDATED: &str = "The web identity token that was passed could not be validated.";
/// The claims that a trust policy can ask about, as condition keys of the provider.
const KEYS: [&str; 5] = ["amr", "aud", "email", "oaud", "sub"];

/// The request of somebody with a token.
///
/// Deliberately without `Debug`, so that no token can be printed by mistake.
pub struct AssumeRoleWithWebIdentity {
    /// The role, and what the session is limited by: tags and source identity are the token's to say.
    pub role: AssumeRole,
    /// The token.
    pub token: String,
}

/// A session that may begin, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FederatedGrant {
    /// The session.
    pub grant: Grant,
    /// The ARN of the identity provider.
    pub provider: String,
    /// The subject of the token.
    pub subject: String,
    /// The audience of the token.
    pub audience: String,
}

/// Whether whoever has the token may assume the role; the session if so. `is_signed` tells whether a key has made a
/// signature (the last argument) of bytes (the one before).
///
/// # Errors
/// [`Code::ValidationError`], [`Code::MalformedPolicyDocument`], [`Code::PackedPolicyTooLarge`],
/// [`Code::InvalidIdentityToken`], [`Code::ExpiredTokenException`] or [`Code::AccessDenied`].
pub fn assume_role_with_web_identity(
    request: &AssumeRoleWithWebIdentity,
    environment: &StsEnvironment<'_>,
    is_signed: impl FnOnce(Algorithm, &PublicKey, &[u8], &[u8]) -> bool,
) -> Result<FederatedGrant, StsError> {
    let AssumeRoleWithWebIdentity {
        role: request,
        token,
    } = request;
    let identities = environment.identities;
    let arn = check_form(request)?;
    let token = token::read(token).map_err(|why| {
        refused("The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)")
            .because(why.to_string())
    })?;
    let provider = verify(&token, &arn, identities, is_signed)?;
    let claims = &token.claims;
    check_times(claims, environment.now)?;
    let audience = audience(claims, provider)?;
    // Only now that the signature is verified.
    let request = &AssumeRole {
        tags: claims.tags.clone(),
        transitive_tag_keys: claims.transitive_tag_keys.clone(),
        source_identity: claims.source_identity.clone(),
        ..request.clone()
    };
    check_form(request)?;
    let packed_policy_size = check_session_policies(request, identities)?;
    let attributes = SessionAttributes::of(None, request)?;
    let provider_arn = format!(
        "arn:{}:iam::{}:oidc-provider/{}",
        arn.partition, arn.account, provider.url
    );
    let not_allowed = |action: &str, why: String| {
        StsError::new(
            Code::AccessDenied,
            format!("Not authorized to perform {action}"),
        )
        .because(format!(
            "{} of {provider_arn} for {}: {why}",
            quoted(&claims.subject),
            request.role_arn
        ))
    };
    let Some(role) = identities.principal(&request.role_arn) else {
        // Whether there is such a role is told to nobody.
        return Err(not_allowed(ACTION, "the role is in no document".into()));
    };
    let mut context = context(role, request, environment, provider, claims, audience);
    add_attributes(&mut context, &attributes);
    let tags = (!attributes.tags.is_empty()).then_some(TAG_SESSION);
    let source_identity = attributes.source_identity.map(|_| SET_SOURCE_IDENTITY);
    for action in [Some(ACTION), tags, source_identity].into_iter().flatten() {
        if let Some(reason) = refusal(action, role, &provider_arn, provider, &context) {
            return Err(not_allowed(action, reason));
        }
    }
    let duration = duration(false, role, request)?;
    let name = &request.role_session_name;
    Ok(FederatedGrant {
        grant: Grant {
            arn: SessionArn::of(&arn, name).to_string(),
            session_of: SessionOf::Role {
                assumed_role_id: role.unique_id.as_ref().map(|id| format!("{id}:{name}")),
            },
            expiration: end(environment.now, duration)?,
            packed_policy_size,
            source_identity: attributes.source_identity.map(str::to_owned),
            used_code: None,
            request: effective_request(request, duration, &attributes, None),
        },
        provider: provider_arn,
        subject: claims.subject.clone(),
        audience: audience.to_owned(),
    })
}

fn refused(message: impl Into<String>) -> StsError {
    StsError::new(Code::InvalidIdentityToken, message)
}

/// A claim in a line of a log, cut where it is long.
fn quoted(claim: &str) -> String {
    let mut text: String = claim.chars().take(200).collect();
    if text.len() < claim.len() {
        text.push('…');
    }
    text
}

/// The provider in the role's account whose key has signed the token.
fn verify<'i>(
    token: &UnverifiedToken<'_>,
    role: &IamArn<'_>,
    identities: &'i Identities,
    is_signed: impl FnOnce(Algorithm, &PublicKey, &[u8], &[u8]) -> bool,
) -> Result<&'i OidcProvider, StsError> {
    let issuer = &token.claims.issuer;
    let Some(provider) = identities.oidc_provider(role.account, issuer) else {
        let message = format!(
            "No OpenIDConnect provider found in your account for {}",
            quoted(issuer)
        );
        return Err(refused(message).because(format!(
            "no document has it as one of the account {}",
            role.account
        )));
    };
    let no_key = |why: String| {
        refused(
            "Couldn't retrieve verification key from your identity provider, please reference \
             AssumeRoleWithWebIdentity documentation for requirements",
        )
        .because(why)
    };
    let Some(keys) = identities.key_sets.get(issuer) else {
        return Err(no_key(format!("the keys of {issuer} are in no document")));
    };
    let Some(key) = keys.key(token.key_id.as_deref()) else {
        return Err(no_key(match &token.key_id {
            Some(id) => format!("{issuer} has no key with the kid {}", quoted(id)),
            None => format!("the token has no kid, and {issuer} has several keys"),
        }));
    };
    let not_validated = |why: &str| Err(refused(NOT_VALIDATED).because(why));
    if !key.fits(token.algorithm) {
        return not_validated("the alg of the token is not that of the key");
    }
    if !is_signed(token.algorithm, &key.key, token.signed, &token.signature) {
        return not_validated("the signature is not one of the key");
    }
    Ok(provider)
}

fn check_times(claims: &Claims, now: UtcDateTime) -> Result<(), StsError> {
    let skew = CLOCK_SKEW.whole_seconds();
    let now = now.unix_timestamp();
    if now >= claims.expires.saturating_add(skew) {
        return Err(StsError::new(
            Code::ExpiredTokenException,
            format!(
                "Token expired: current date/time {now} must be before the expiration date/time {}",
                claims.expires
            ),
        ));
    }
    let begins = [Some(claims.issued), claims.not_before];
    if begins.into_iter().flatten().any(|begin| begin > now + skew) {
        return Err(refused(NOT_VALIDATED).because("its iat or nbf is in the future"));
    }
    Ok(())
}

/// The audience that counts: `azp` where the token has one, as AWS has it, otherwise the only one that there is.
fn audience<'c>(claims: &'c Claims, provider: &OidcProvider) -> Result<&'c str, StsError> {
    let incorrect = |why: String| Err(refused("Incorrect token audience").because(why));
    let audience = match (&claims.authorized_party, &claims.audiences[..]) {
        (Some(party), _) => party,
        (None, [only]) => only,
        (None, _) => return incorrect("it has several audiences, and no azp".into()),
    };
    if !provider.client_ids.contains(audience) {
        let audience = quoted(audience);
        return incorrect(format!(
            "{audience} is not in the ClientIDList of {}",
            provider.url
        ));
    }
    Ok(audience)
}

/// The request context for the trust policy.
fn context(
    role: &Principal,
    request: &AssumeRole,
    environment: &StsEnvironment<'_>,
    provider: &OidcProvider,
    claims: &Claims,
    audience: &str,
) -> Context {
    let mut context = role_context(role, request, environment);
    // Nobody in the documents asks, and nothing says which region is asked. No document has a say in it.
    for prefix in [
        "aws:principal",
        "aws:multifactorauth",
        "aws:sourceidentity",
        "aws:tokenissuetime",
        "aws:userid",
        "aws:username",
        "aws:federatedprovider",
        "aws:requestedregion",
        &prefix(provider),
    ] {
        context.remove_prefix(prefix);
    }
    context.set("aws:PrincipalIsAWSService", "false");
    let mut set = |name: &str, values: Vec<String>| {
        if !values.is_empty() {
            context.set_all(&format!("{}:{name}", provider.url), values);
        }
    };
    set("aud", vec![audience.to_owned()]);
    set("sub", vec![claims.subject.clone()]);
    set("amr", claims.methods.clone());
    set("email", claims.email.iter().cloned().collect());
    if claims.authorized_party.is_some() {
        set("oaud", claims.audiences.clone());
    }
    context
}

/// How condition keys of the provider begin, in lower case.
fn prefix(provider: &OidcProvider) -> String {
    format!("{}:", provider.url.to_ascii_lowercase())
}

/// Why the provider's tokens cannot begin sessions of the role; `None` if its trust policy lets them.
fn refusal(
    action: &str,
    role: &Principal,
    provider_arn: &str,
    provider: &OidcProvider,
    context: &Context,
) -> Option<String> {
    let prefix = prefix(provider);
    let asked = role.trust_policy.iter().flat_map(Policy::context_keys);
    for key in asked {
        let folded = key.to_ascii_lowercase();
        // The policy could deny by a value that is not known here.
        if let Some(name) = folded.strip_prefix(&prefix)
            && !KEYS.contains(&name)
        {
            return Some(format!(
                "its trust policy asks for {key}, which is not supported"
            ));
        }
    }
    let policies = Policies {
        resource: trust_policy(role),
        resource_must_allow: true,
        ..Policies::default()
    };
    let caller = RequestPrincipal {
        arn: provider_arn,
        role_arn: None,
        unique_id: None,
    };
    let request = Request {
        action,
        resource: &role.arn,
        resource_account: None,
        context,
    };
    deny_reason(action, &authorize(&policies, &caller, &request))
}

#[cfg(test)]
mod tests;
