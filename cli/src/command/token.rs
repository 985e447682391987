//! `dsql-iam token`: signs a request to connect, as every AWS SDK's DSQL signer does.

use std::error::Error as _;
use std::net::Ipv6Addr;

use aws_config::SdkConfig;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dsql::auth_token::{AuthToken, AuthTokenGenerator, Config};
use aws_sdk_dsql::config::Region;
use aws_sdk_dsql::error::BoxError;
use aws_smithy_async::time::SystemTimeSource;
use clap::Args;
use url::Url;

use super::Report;
use crate::shared::error::Error;
use crate::shared::{offline, region};

/// The arguments of `dsql-iam token`.
#[derive(Args)]
#[command(after_help = "\
Example:
  export PGPASSWORD=$(dsql-iam token --admin --hostname \"$PGHOST\")
  psql --host \"$PGHOST\" --username admin --dbname postgres

Credentials come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or from the
profile (AWS_PROFILE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE), as in AWS's own tools.")]
pub struct Arguments {
    /// The cluster's host name, which the token is signed for
    #[arg(long, value_name = "HOST", value_parser = hostname)]
    hostname: String,

    /// The cluster's region [default: the one in the host name, else AWS_REGION, else the profile's]
    #[arg(long)]
    region: Option<String>,

    /// Ask for dsql:DbConnectAdmin, which the role `admin` needs; all other roles need DbConnect
    #[arg(long)]
    admin: bool,

    /// How long the token can be used, in seconds: from 1 to 604800, which is a week
    #[arg(long, value_name = "SECONDS", default_value_t = 900,
          value_parser = clap::value_parser!(u64).range(1..=604_800))]
    expires_in: u64,

    /// The AWS profile to sign with; credentials in the environment are then not looked at
    #[arg(long)]
    profile: Option<String>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum NoToken {
    /// Nobody to sign as.
    #[error(
        "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a \
         profile that has some with --profile or AWS_PROFILE"
    )]
    NoCredentials,

    /// Those that there are would have to be fetched, as of the variable in the environment.
    #[error(
        "no AWS credentials found but those of {0}, which come over the network, which dsql-iam does not use: get \
         them with AWS's tools first, by aws configure export-credentials --format env"
    )]
    Fetched(&'static str),

    /// There is a place for credentials, but what is there cannot be used.
    #[error("the AWS credentials could not be read: {0}")]
    BrokenCredentials(String),

    /// The signature is for one region, and none was named.
    #[error(
        "no region: the host name {0:?} holds none, so give --region, set AWS_REGION, or add a \
         region to the profile"
    )]
    NoRegion(String),

    /// The SDK could not make a token of it.
    #[error("the token could not be signed: {0}")]
    Signing(BoxError),
}

/// The token.
///
/// # Errors
/// The sentence of [`NoToken`].
pub async fn run(arguments: Arguments) -> Result<Report, Error> {
    let token = generate(arguments).await.map_err(Error::of)?;
    Ok(token.as_str().to_owned().into())
}

/// Takes what the user typed, gives the token, without a newline.
async fn generate(arguments: Arguments) -> Result<AuthToken, NoToken> {
    let profile = arguments.profile.as_deref();
    let region = match arguments.region {
        Some(name) => Some(Region::new(name)),
        None => match region::in_hostname(&arguments.hostname) {
            Some(region) => Some(region),
            None => region::configured(profile).await,
        },
    };
    let credentials = credentials(profile, region.clone()).await?;
    let region = region.ok_or_else(|| NoToken::NoRegion(arguments.hostname.clone()))?;

    let request = Config::builder()
        .hostname(arguments.hostname)
        .region(region)
        .credentials(credentials)
        .expires_in(arguments.expires_in)
        .build()
        .map_err(NoToken::Signing)?;
    let generator = AuthTokenGenerator::new(request);
    let sdk = SdkConfig::builder()
        .time_source(SystemTimeSource::new())
        .build();
    let token = if arguments.admin {
        generator.db_connect_admin_auth_token(&sdk).await
    } else {
        generator.db_connect_auth_token(&sdk).await
    };
    token.map_err(NoToken::Signing)
}

/// Finds credentials where AWS's tools find them, as far as that needs no network: in the
/// environment, then in the profile; with `--profile`, in the profile alone.
pub async fn credentials(
    profile: Option<&str>,
    region: Option<Region>,
) -> Result<Credentials, NoToken> {
    let offline = ProviderConfig::default()
        .with_region(region)
        .with_http_client(offline::client());
    let mut from_profile = ProfileFileCredentialsProvider::builder().configure(&offline);
    match profile {
        Some(name) => from_profile = from_profile.profile_name(name),
        None => {
            let environment = EnvironmentVariableCredentialsProvider::new();
            match environment.provide_credentials().await {
                Err(CredentialsError::CredentialsNotLoaded(_)) => {}
                found => return found.map_err(|error| NoToken::BrokenCredentials(reason(&error))),
            }
        }
    }
    let found = from_profile.build().provide_credentials().await;
    found.map_err(|error| match (&error, error.source()) {
        (CredentialsError::CredentialsNotLoaded(_), None) => match fetched() {
            Some(variable) if profile.is_none() => NoToken::Fetched(variable),
            _ => NoToken::NoCredentials,
        },
        _ => NoToken::BrokenCredentials(reason(&error)),
    })
}

/// The variable of the environment by which AWS's tools would fetch credentials.
fn fetched() -> Option<&'static str> {
    [
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ]
    .into_iter()
    .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// The innermost cause of an error: the SDK's outer ones say little. Of a kind of profile that it was built
/// without, as it fetches its credentials, it tells the cargo feature.
fn reason(error: &CredentialsError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let reason = innermost.to_string();
    if reason.contains("cargo feature") {
        return offline::OVER_THE_NETWORK.to_owned();
    }
    reason
}

/// Takes a host name or an address, with or without a port, gives it as a URL has it: in lower case, an
/// address in its shortest form, of IPv6 in brackets. The SDK signs the name as it is given, and prints it as
/// part of a URL; if these two differed, the token would be good for nothing.
fn hostname(text: &str) -> Result<String, Error> {
    let fits = |character: char| character.is_ascii_alphanumeric() || ".-_:[]".contains(character);
    let name = match text.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => text.to_owned(),
    };
    // Without the scheme's own port, which a URL leaves out.
    let url = Url::parse(&format!("postgres://{name}/")).ok();
    let is_port = |url: &Url| url.port().map_or(!name.ends_with(':'), |port| port != 0);
    let host = url
        .filter(|url| text.chars().all(fits) && is_port(url))
        .and_then(|url| {
            let port = url.port();
            let https = Url::parse(&format!("https://{}/", url.host_str()?)).ok()?;
            let host = https.host_str()?.to_owned();
            Some(port.map_or(host.clone(), |port| format!("{host}:{port}")))
        });
    host.ok_or_else(|| "it is not a host name".into())
}

#[cfg(test)]
mod tests {
    use super::hostname;

    #[test]
    fn a_host_name_is_only_that() {
        for (text, name) in [
            ("LocalHost:5432", "localhost:5432"),
            ("localhost:0443", "localhost:443"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("0:0:0:0:0:0:0:1", "[::1]"),
            ("FE80::A", "[fe80::a]"),
            ("[::1]", "[::1]"),
            ("[0:0::1]:5432", "[::1]:5432"),
            ("a_b.example", "a_b.example"),
        ] {
            assert_eq!(hostname(text).as_deref(), Ok(name), "{text}");
        }
        for text in [
            "",
            "a b",
            "https://a",
            "a/b",
            "a?b",
            "user@a",
            "a:b",
            "a:",
            "a:0",
            "a:99999",
            ":",
            ":1",
            "[",
            "]",
            "[]",
            "[a]",
            "[::1",
            "::1]",
            "[::1]5",
            "a[::1]",
            "a:1:2",
            "10.0.0.256",
            "localhost.1",
            "xn--a",
        ] {
            assert!(hostname(text).is_err(), "{text}");
        }
    }
}
