//! AWS's query protocol as the Security Token Service has it: parameters in a form, answers in XML.
//!
//! Follows <https://docs.aws.amazon.com/STS/latest/APIReference/CommonParameters.html> and
//! <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>.

use std::collections::BTreeMap;

use aws_smithy_xml::encode::{ScopeWriter, XmlWriter};
use dsql_iam_core::sigv4::ReceivedRequest;
use dsql_iam_core::sts::{
    AssumeRole, AssumeRoleWithWebIdentity, Code, FederatedGrant, GetSessionToken, Grant, MfaCode,
    NewKey, SessionOf, StsError,
};
use dsql_iam_core::{Authenticated, is_hidden};

use super::answer::{Answer, request_id};

/// The version of the interface, which requests name.
const VERSION: &str = "2011-06-15";
/// The namespace of the answers.
const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";
/// The content type of requests.
const FORM: &str = "application/x-www-form-urlencoded";

/// The action of a request.
pub enum Action {
    /// A session of a role.
    AssumeRole(AssumeRole),
    /// The caller.
    GetCallerIdentity,
    /// A session of the user who asks.
    GetSessionToken(GetSessionToken),
}

/// The parameters of a request, each once.
pub struct Parameters(BTreeMap<String, String>);

fn invalid(message: impl Into<String>) -> StsError {
    StsError::new(Code::ValidationError, message)
}

/// Reads what a request asks for. A parameter that is not known is an error: it could have been
/// meant to narrow the session.
///
/// # Errors
/// [`Code::InvalidAction`] or [`Code::ValidationError`].
pub fn parse(received: &ReceivedRequest<'_>) -> Result<Action, StsError> {
    let mut parameters = Parameters::of(received)?;
    let (action, version) = parameters.action();
    let parsed = match (action.as_str(), version.as_str()) {
        ("AssumeRole", VERSION) => Action::AssumeRole(parameters.assume_role()?),
        ("GetCallerIdentity", VERSION) => Action::GetCallerIdentity,
        ("GetSessionToken", VERSION) => Action::GetSessionToken(GetSessionToken {
            duration_seconds: parameters.duration()?,
            mfa: parameters.mfa(),
        }),
        _ => return Err(no_operation(&action, &version)),
    };
    parameters.end()?;
    Ok(parsed)
}

impl Parameters {
    /// Those of a request.
    ///
    /// # Errors
    /// [`Code::ValidationError`] for what is no form, or has a parameter twice.
    pub fn of(received: &ReceivedRequest<'_>) -> Result<Self, StsError> {
        let mut types = received.headers.iter();
        let content_type = types.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let is_form = content_type.is_some_and(|(_, value)| {
            let kind = value.split(';').next().unwrap_or_default();
            kind.trim().eq_ignore_ascii_case(FORM)
        });
        if !is_form {
            return Err(invalid(format!("The content type has to be {FORM}.")));
        }
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(received.body) {
            if parameters
                .insert(name.to_string(), value.into_owned())
                .is_some()
            {
                return Err(invalid(format!("Duplicate parameter {name}.")));
            }
        }
        Ok(Self(parameters))
    }

    /// The action and its version.
    pub fn action(&mut self) -> (String, String) {
        let (action, version) = (self.take("Action"), self.take("Version"));
        (action.unwrap_or_default(), version.unwrap_or_default())
    }

    /// Those that are left.
    pub fn rest(self) -> BTreeMap<String, String> {
        self.0
    }

    /// Checks that nothing is left.
    fn end(self) -> Result<(), StsError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(invalid(format!("Parameter {name} is not known."))),
        }
    }
}

/// There is no such action.
pub fn no_operation(action: &str, version: &str) -> StsError {
    let message = format!("Could not find operation {action} for version {version}");
    StsError::new(Code::InvalidAction, message)
}

/// A request that clients do not sign, since an identity provider vouches for the caller; `None` if the request is for
/// anything else. A signature that is there all the same is not looked at.
///
/// # Errors
/// As [`parse`]; also for a SAML assertion, which cannot be verified here.
pub fn unsigned(
    received: &ReceivedRequest<'_>,
) -> Result<Option<AssumeRoleWithWebIdentity>, StsError> {
    let mut pairs = form_urlencoded::parse(received.body);
    let action = pairs.find(|(name, _)| name == "Action");
    match action.as_ref().map(|(_, value)| &**value) {
        Some("AssumeRoleWithWebIdentity" | "AssumeRoleWithSAML") => {}
        _ => return Ok(None),
    }
    let mut parameters = Parameters::of(received)?;
    match parameters.action() {
        (action, version) if action == "AssumeRoleWithWebIdentity" && version == VERSION => {}
        (action, version) => {
            let reason = match action.as_str() {
                "AssumeRoleWithSAML" => {
                    "SAML assertions of an identity provider cannot be verified here".to_owned()
                }
                _ => format!("the version of the interface is {VERSION}"),
            };
            return Err(no_operation(&action, &version).because(reason));
        }
    }
    let request = parameters.assume_role_with_web_identity()?;
    parameters.end()?;
    Ok(Some(request))
}

impl Parameters {
    /// One that may be missing, and stays; a client may write one that is missing as empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// One that may be missing.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// One that has to be there.
    ///
    /// # Errors
    /// [`Code::ValidationError`] if it is not.
    pub fn needed(&mut self, name: &str) -> Result<String, StsError> {
        self.take(name).ok_or_else(|| {
            invalid(format!(
                "1 validation error detected: Value null at '{name}' failed to satisfy \
                 constraint: Member must not be null"
            ))
        })
    }

    /// `NAME.member.1…`, `NAME.member.2…`, …, as far as they go.
    fn members<T>(
        &mut self,
        name: &str,
        mut read: impl FnMut(&mut Self, &str) -> Result<Option<T>, StsError>,
    ) -> Result<Vec<T>, StsError> {
        // Some clients write an empty list so.
        if self.0.get(name).is_some_and(String::is_empty) {
            self.take(name);
        }
        let mut list = Vec::new();
        while let Some(member) = read(self, &format!("{name}.member.{}", list.len() + 1))? {
            list.push(member);
        }
        Ok(list)
    }

    fn assume_role(&mut self) -> Result<AssumeRole, StsError> {
        Ok(AssumeRole {
            tags: self.members("Tags", |parameters, member| {
                let Some(key) = parameters.take(&format!("{member}.Key")) else {
                    return Ok(None);
                };
                let value = parameters.needed(&format!("{member}.Value"))?;
                Ok(Some((key, value)))
            })?,
            transitive_tag_keys: self.members("TransitiveTagKeys", |parameters, member| {
                Ok(parameters.take(member))
            })?,
            external_id: self.take("ExternalId"),
            source_identity: self.take("SourceIdentity"),
            mfa: self.mfa(),
            ..self.session()?
        })
    }

    fn duration(&mut self) -> Result<Option<u32>, StsError> {
        let duration = self.take("DurationSeconds").map(|text| {
            let fault = |_| invalid("DurationSeconds is not a whole number of seconds");
            text.parse::<u32>().map_err(fault)
        });
        duration.transpose()
    }

    fn mfa(&mut self) -> MfaCode {
        MfaCode {
            serial_number: self.take("SerialNumber"),
            token_code: self.take("TokenCode"),
        }
    }

    /// The parameters of every session of a role.
    fn session(&mut self) -> Result<AssumeRole, StsError> {
        Ok(AssumeRole {
            role_arn: self.needed("RoleArn")?,
            role_session_name: self.needed("RoleSessionName")?,
            duration_seconds: self.duration()?,
            policy: self.take("Policy"),
            policy_arns: self.members("PolicyArns", |parameters, member| {
                Ok(parameters.take(&format!("{member}.arn")))
            })?,
            ..AssumeRole::default()
        })
    }

    fn assume_role_with_web_identity(&mut self) -> Result<AssumeRoleWithWebIdentity, StsError> {
        if self.take("ProviderId").is_some() {
            return Err(invalid(
                "ProviderId is for OAuth 2.0 access tokens, which are not supported: send an OpenID Connect ID token.",
            ));
        }
        Ok(AssumeRoleWithWebIdentity {
            role: self.session()?,
            token: self.needed("WebIdentityToken")?,
        })
    }
}

/// The end of a session as the service writes it.
pub fn expiration(grant: &Grant) -> String {
    grant.expiration_text().replace("+00:00", "Z")
}

/// The answer to `GetCallerIdentity`.
pub fn caller_identity(caller: &Authenticated<'_>) -> Answer {
    respond("GetCallerIdentity", |result| {
        element(result, "Arn", caller.arn());
        element(result, "UserId", &caller.user_id());
        element(result, "Account", caller.account());
    })
}

/// The answer to `GetSessionToken`.
pub fn session_token(grant: &Grant, key: &NewKey) -> Answer {
    respond("GetSessionToken", |result| session(result, grant, key))
}

/// The answer to `AssumeRole`.
pub fn assumed_role(grant: &Grant, key: &NewKey) -> Answer {
    respond("AssumeRole", |result| session(result, grant, key))
}

/// The answer to `AssumeRoleWithWebIdentity`.
pub fn assumed_role_with_web_identity(federated: &FederatedGrant, key: &NewKey) -> Answer {
    respond("AssumeRoleWithWebIdentity", |result| {
        element(result, "SubjectFromWebIdentityToken", &federated.subject);
        element(result, "Audience", &federated.audience);
        session(result, &federated.grant, key);
        element(result, "Provider", &federated.provider);
    })
}

fn session(result: &mut ScopeWriter<'_, '_>, grant: &Grant, key: &NewKey) {
    if let SessionOf::Role { assumed_role_id } = &grant.session_of {
        let mut user = result.start_el("AssumedRoleUser").finish();
        if let Some(id) = assumed_role_id {
            element(&mut user, "AssumedRoleId", id);
        }
        element(&mut user, "Arn", &grant.arn);
        user.finish();
    }
    let mut credentials = result.start_el("Credentials").finish();
    element(&mut credentials, "AccessKeyId", &key.id);
    element(&mut credentials, "SecretAccessKey", &key.secret);
    element(&mut credentials, "SessionToken", &key.session_token);
    element(&mut credentials, "Expiration", &expiration(grant));
    credentials.finish();
    if let Some(size) = grant.packed_policy_size {
        element(result, "PackedPolicySize", &size.to_string());
    }
    if let Some(identity) = &grant.source_identity {
        element(result, "SourceIdentity", identity);
    }
}

/// The answer to what is refused.
pub fn fault(status: u16, code: &str, message: &str) -> Answer {
    error(NAMESPACE, status, code, message)
}

/// The answer to a request that is refused, in the namespace of its service.
pub fn error(namespace: &str, status: u16, code: &str, message: &str) -> Answer {
    let mut text = String::new();
    let mut document = XmlWriter::new(&mut text);
    let mut root = document
        .start_el("ErrorResponse")
        .write_ns(namespace, None)
        .finish();
    let mut error = root.start_el("Error").finish();
    let at_fault = if status < 500 { "Sender" } else { "Receiver" };
    element(&mut error, "Type", at_fault);
    element(&mut error, "Code", code);
    element(&mut error, "Message", message);
    error.finish();
    element(&mut root, "RequestId", &request_id());
    root.finish();
    Answer::xml(status, text)
}

/// The answer to what cannot be answered for a reason that is not the caller's.
pub fn internal_failure() -> Answer {
    let message = "The request processing has failed because of an unknown error, exception or \
                   failure.";
    fault(500, "InternalFailure", message)
}

fn respond(action: &str, write: impl FnOnce(&mut ScopeWriter<'_, '_>)) -> Answer {
    answer(NAMESPACE, action, write)
}

/// The answer to an action, in the namespace of its service.
pub fn answer(
    namespace: &str,
    action: &str,
    write: impl FnOnce(&mut ScopeWriter<'_, '_>),
) -> Answer {
    let mut text = String::new();
    let mut document = XmlWriter::new(&mut text);
    let (response, result) = (format!("{action}Response"), format!("{action}Result"));
    let mut root = document
        .start_el(&response)
        .write_ns(namespace, None)
        .finish();
    let mut scope = root.start_el(&result).finish();
    write(&mut scope);
    scope.finish();
    let mut metadata = root.start_el("ResponseMetadata").finish();
    element(&mut metadata, "RequestId", &request_id());
    metadata.finish();
    root.finish();
    Answer::xml(200, text)
}

/// An element with this text, but for characters that XML cannot hold or that hide others.
pub fn element(scope: &mut ScopeWriter<'_, '_>, name: &str, text: &str) {
    let mut element = scope.start_el(name).finish();
    element.data(&text.replace(is_hidden, " "));
    element.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, content_type: &str) -> Result<Action, StsError> {
        parse(&ReceivedRequest {
            method: "POST",
            path: "/",
            headers: &[("Content-Type", content_type)],
            body: body.as_bytes(),
        })
    }

    const ASSUME: &str = "Action=AssumeRole&Version=2011-06-15&RoleArn=a%3Ab&RoleSessionName=me";

    #[test]
    fn every_parameter_finds_its_place() {
        let body = format!(
            "{ASSUME}&DurationSeconds=900&Policy=%7B+%7D&PolicyArns.member.1.arn=p&\
             PolicyArns.member.2.arn=q&Tags.member.1.Key=k&Tags.member.1.Value=v&\
             TransitiveTagKeys.member.1=k&ExternalId=e&SourceIdentity=s&SerialNumber=d&\
             TokenCode=123456"
        );
        let Ok(Action::AssumeRole(request)) =
            read(&body, "application/x-www-form-urlencoded; charset=utf-8")
        else {
            panic!("it is one")
        };
        let expected = AssumeRole {
            role_arn: "a:b".into(),
            role_session_name: "me".into(),
            duration_seconds: Some(900),
            policy: Some("{ }".into()),
            policy_arns: vec!["p".into(), "q".into()],
            tags: vec![("k".into(), "v".into())],
            transitive_tag_keys: vec!["k".into()],
            external_id: Some("e".into()),
            source_identity: Some("s".into()),
            mfa: MfaCode {
                serial_number: Some("d".into()),
                token_code: Some("123456".into()),
            },
        };
        assert_eq!(request, expected);
        assert!(read(&format!("{ASSUME}&Tags=&PolicyArns="), FORM).is_ok());
    }

    #[test]
    fn whatever_is_not_known_is_refused() {
        use Code::{InvalidAction, ValidationError};
        for (more, code) in [
            ("&Polcy=%7B%7D", ValidationError),
            ("&RoleArn=twice", ValidationError),
            (
                "&Tags.member.2.Key=k&Tags.member.2.Value=v",
                ValidationError,
            ),
            ("&Tags.member.1.Key=k", ValidationError),
            ("&Tags=k", ValidationError),
            ("&DurationSeconds=-1", ValidationError),
            ("&DurationSeconds=", ValidationError),
            ("&ProvidedContexts.member.1.ProviderArn=x", ValidationError),
        ] {
            let refusal = read(&format!("{ASSUME}{more}"), FORM).err().unwrap();
            assert_eq!(refusal.code, code, "{more}");
        }
        for (body, code) in [
            ("", InvalidAction),
            ("Action=AssumeRole", InvalidAction),
            (
                "Action=GetFederationToken&Version=2011-06-15",
                InvalidAction,
            ),
            (
                "Action=GetSessionToken&Version=2011-06-15&Policy=%7B%7D",
                ValidationError,
            ),
            ("Action=AssumeRole&Version=2011-06-15", ValidationError),
            (
                "Action=GetCallerIdentity&Version=2011-06-15&More=1",
                ValidationError,
            ),
        ] {
            assert_eq!(read(body, FORM).err().unwrap().code, code, "{body}");
        }
        assert!(read(ASSUME, "application/json").is_err());
    }

    fn read_unsigned(body: &str) -> Result<Option<AssumeRoleWithWebIdentity>, StsError> {
        unsigned(&ReceivedRequest {
            method: "POST",
            path: "/",
            headers: &[("Content-Type", FORM)],
            body: body.as_bytes(),
        })
    }

    #[test]
    fn a_token_takes_the_place_of_a_signature_for_one_action_alone() {
        let body =
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=a%3Ab&RoleSessionName=me";
        let more =
            "&WebIdentityToken=a.b.c&DurationSeconds=900&PolicyArns.member.1.arn=p&Policy=%7B%7D";
        let request = read_unsigned(&format!("{body}{more}")).unwrap().unwrap();
        let expected = AssumeRole {
            role_arn: "a:b".into(),
            role_session_name: "me".into(),
            duration_seconds: Some(900),
            policy: Some("{}".into()),
            policy_arns: vec!["p".into()],
            ..AssumeRole::default()
        };
        assert_eq!((request.role, request.token.as_str()), (expected, "a.b.c"));
        for (more, code) in [
            ("", Code::ValidationError),
            (
                "&WebIdentityToken=a&WebIdentityToken=b",
                Code::ValidationError,
            ),
            (
                "&WebIdentityToken=a&Action=AssumeRole",
                Code::ValidationError,
            ),
            ("&WebIdentityToken=a&ProviderId=p", Code::ValidationError),
            ("&WebIdentityToken=a&ExternalId=e", Code::ValidationError),
            (
                "&WebIdentityToken=a&Tags.member.1.Key=k",
                Code::ValidationError,
            ),
            (
                "&WebIdentityToken=a&SourceIdentity=s",
                Code::ValidationError,
            ),
        ] {
            let refusal = read_unsigned(&format!("{body}{more}")).err().unwrap();
            assert_eq!(refusal.code, code, "{more}");
        }
        let later = body.replace("2011-06-15", "2012-06-15");
        let saml = "Action=AssumeRoleWithSAML&Version=2011-06-15";
        for (body, reason) in [
            (later.as_str(), "the version of the interface is 2011-06-15"),
            (
                saml,
                "SAML assertions of an identity provider cannot be verified here",
            ),
        ] {
            let refusal = read_unsigned(body).err().unwrap();
            assert_eq!(refusal.code, Code::InvalidAction);
            assert_eq!(refusal.reason.as_deref(), Some(reason));
        }
        // All others have to be signed.
        for body in [
            ASSUME,
            "",
            "Version=2011-06-15",
            &format!("{ASSUME}&Action=AssumeRoleWithWebIdentity"),
        ] {
            assert!(read_unsigned(body).unwrap().is_none(), "{body}");
        }
        assert!(read(&format!("{body}{more}"), FORM).is_err());
    }

    #[test]
    fn an_answer_is_xml_whatever_it_quotes() {
        let Answer(status, _, text) = fault(400, "ValidationError", "<a>\u{1}&\n\"");
        assert_eq!(status, 400);
        assert!(
            text.contains("<Message>&lt;a&gt; &amp; &quot;</Message>"),
            "{text}"
        );
    }
}
