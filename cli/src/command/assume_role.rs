//! `dsql-iam assume-role`: begins a session of a role without AWS, and stores it where the server
//! finds it.
//!
//! Follows <https://docs.aws.amazon.com/cli/latest/reference/sts/assume-role.html> and, for
//! `credential_process`,
//! <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dsql_iam_core::session_store;
use dsql_iam_core::sts::{
    AssumeRole, Grant, MfaCode, NewKey, StsEnvironment, StsError, assume_role, caller_with_secret,
};
use dsql_iam_core::{ConnectionFacts, Identities, PresentedCredentials};
use serde_json::{Value, json};
use time::UtcDateTime;

use super::{Report, token};
use crate::shared::error::Error;
use crate::shared::sessions::{self, NotBegun};
use crate::shared::shorthand::Fields;
use crate::shared::{file_argument, region};

/// The region that AWS's own service of this kind is in, if none is named.
pub const DEFAULT_REGION: &str = "us-east-1";

/// How many files of expired sessions are removed each time: several for each that is made, and too few to wait for.
const MAX_REMOVED: usize = 50;

/// The arguments of `dsql-iam assume-role`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam assume-role --profile admin --role-session-name me \\
    --role-arn arn:aws:iam::012345678912:role/example

As a profile in AWS_CONFIG_FILE, whose sessions every SDK renews:
  [profile assumed]
  credential_process = dsql-iam assume-role --profile admin --role-session-name me --role-arn \\
    arn:aws:iam::012345678912:role/example --format credential-process

(in one line). Nothing is asked of AWS: who may assume the role stands in the IAM directory.")]
pub struct Arguments {
    /// The role
    #[arg(long, value_name = "ARN")]
    role_arn: String,

    /// The name of the session, for its ARN
    #[arg(long, value_name = "NAME")]
    role_session_name: String,

    /// How long it lasts, in seconds, from 900 to what the role allows [default: 3600]
    #[arg(long, value_name = "SECONDS")]
    duration_seconds: Option<u32>,

    /// A session policy: as JSON, or the file that holds it
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,

    /// Managed policies that are session policies too
    #[arg(long, value_name = "ARN", num_args = 1..)]
    policy_arns: Vec<String>,

    /// Session tags, each as Key=KEY,Value=VALUE
    #[arg(long, value_name = "TAG", num_args = 1.., value_parser = tag)]
    tags: Vec<(String, String)>,

    /// Keys of tags that sessions begun by this one get too
    #[arg(long, value_name = "KEY", num_args = 1..)]
    transitive_tag_keys: Vec<String>,

    /// The external id, if the role's trust policy asks for sts:ExternalId
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,

    /// The source identity of the session, for its whole life
    #[arg(long, value_name = "NAME")]
    source_identity: Option<String>,

    /// The ARN of a device for multi-factor authentication of the user who asks
    #[arg(long, value_name = "ARN", requires = "token_code")]
    serial_number: Option<String>,

    /// The code that the device shows
    #[arg(long, value_name = "CODE", requires = "serial_number")]
    token_code: Option<String>,

    /// The AWS profile that asks; credentials in the environment are then not looked at
    #[arg(long)]
    profile: Option<String>,

    #[command(flatten)]
    place: Place,

    /// The format of the output
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
}

/// Where the identities are.
#[derive(Args, Clone)]
pub struct Place {
    /// The directory of the IAM documents
    #[arg(long, value_name = "DIR", env = "DSQL_IAM_DIRECTORY")]
    pub iam_directory: PathBuf,

    /// Without effect: for command lines and profiles that have it
    #[arg(long = "cluster-arn", value_name = "ARN", hide = true)]
    _cluster_arn: Option<String>,
}

/// The values of `--format`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As `aws sts assume-role` prints it
    Json,
    /// As a profile's `credential_process` has to print it
    CredentialProcess,
}

/// Begins the session, gives what is to be printed.
///
/// # Errors
/// A sentence: AWS's, with the reason that the documents give.
pub async fn run(arguments: Arguments) -> Result<Report, Error> {
    let profile = arguments.profile.as_deref();
    let region = region::configured(profile).await;
    let credentials = token::credentials(profile, region.clone())
        .await
        .map_err(Error::of)?;
    let request = arguments.request()?;
    let directory = &arguments.place.iam_directory;
    let identities = Identities::load(directory).map_err(Error::of)?;
    let now = UtcDateTime::now();
    let stored = session_store::find(directory, credentials.access_key_id(), now);
    let stored = stored.map_err(Error::of)?;
    let environment = StsEnvironment {
        now,
        identities: &identities,
        stored: stored.as_ref(),
        region: region.as_ref().map_or(DEFAULT_REGION, AsRef::as_ref),
        // Nothing goes over a network here, so nobody can listen.
        connection: ConnectionFacts {
            source_ip: None,
            is_tls: true,
        },
    };
    let presented = PresentedCredentials {
        access_key_id: credentials.access_key_id(),
        session_token: credentials.session_token(),
    };
    let caller = caller_with_secret(presented, credentials.secret_access_key(), &environment)
        .map_err(|refusal| sentence(&refusal))?;
    let grant =
        assume_role(&caller, &request, &environment).map_err(|refusal| sentence(&refusal))?;
    let owner = &caller.principal.arn;
    let begun = sessions::begin(&grant, owner, sessions::DEFAULT_QUOTA, directory, now);
    let key = begun.map_err(|fault| match fault {
        NotBegun::Refused(refusal) => sentence(&refusal).into(),
        NotBegun::Failed(fault) => fault,
    })?;
    let printed = match arguments.format {
        Format::Json => grant.response(&key),
        Format::CredentialProcess => for_credential_process(&grant, &key),
    };
    let directory = directory.clone();
    let remove = move || sessions::remove_expired(&directory, MAX_REMOVED, now);
    Ok(Report {
        afterwards: Some(Box::new(remove)),
        ..format!("{printed:#}").into()
    })
}

/// A refusal for whoever can read the documents.
pub fn sentence(refusal: &StsError) -> String {
    match &refusal.reason {
        Some(reason) => format!("{refusal} ({reason})"),
        None => refusal.to_string(),
    }
}

fn for_credential_process(grant: &Grant, key: &NewKey) -> Value {
    json!({
        "Version": 1,
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "SessionToken": key.session_token,
        "Expiration": grant.expiration_text(),
    })
}

impl Arguments {
    fn request(&self) -> Result<AssumeRole, Error> {
        let arns = self.policy_arns.iter();
        Ok(AssumeRole {
            role_arn: self.role_arn.clone(),
            role_session_name: self.role_session_name.clone(),
            duration_seconds: self.duration_seconds,
            policy: self.policy.as_deref().map(policy).transpose()?,
            // The AWS CLI has them as `arn=ARN`.
            policy_arns: arns
                .map(|arn| arn.strip_prefix("arn=").unwrap_or(arn).to_owned())
                .collect(),
            tags: self.tags.clone(),
            transitive_tag_keys: self.transitive_tag_keys.clone(),
            external_id: self.external_id.clone(),
            source_identity: self.source_identity.clone(),
            mfa: MfaCode {
                serial_number: self.serial_number.clone(),
                token_code: self.token_code.clone(),
            },
        })
    }
}

/// The policy itself, or the content of the file that is named.
fn policy(text: &str) -> Result<String, Error> {
    let is_path = !text.trim_start().starts_with('{') && !text.starts_with(file_argument::PREFIX);
    let argument = match is_path {
        true => format!("{}{text}", file_argument::PREFIX),
        false => text.to_owned(),
    };
    file_argument::contents(argument).map_err(|fault| format!("--policy: {fault}").into())
}

/// A session tag in the AWS CLI's shorthand.
fn tag(text: &str) -> Result<(String, String), Error> {
    let mut fields = Fields::read("Key=KEY,Value=VALUE", &["Key", "Value"], text)?;
    Ok((fields.needed("Key")?, fields.needed("Value")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_written_as_in_the_aws_cli() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(tag("Key=team,Value='a,b=c'"), pair("team", "a,b=c"));
        assert_eq!(tag("Value=blue,Key=team"), pair("team", "blue"));
        assert_eq!(tag("Key=team,Value="), pair("team", ""));
        for text in [
            "",
            "team=blue",
            "Key=team",
            "Key=a,Value=b,c",
            "Key=a,Value=b,C=d",
        ] {
            let fault = tag(text).unwrap_err().to_string();
            assert!(
                fault.ends_with("it is written as Key=KEY,Value=VALUE"),
                "{fault}"
            );
        }
    }
}
