//! An HTTP client that never connects.
//!
//! The SDK's profile reader wants an HTTP client even for profiles that need none. With this one, a
//! profile that does need the network (single sign-on, a role to assume) ends in a clear error.

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;

/// Gives the client.
pub fn client() -> SharedHttpClient {
    http_client_fn(|_, _| SharedHttpConnector::new(Offline))
}

/// The error for a profile whose credentials would have to be fetched: single sign-on, a role, `aws login`.
pub const OVER_THE_NETWORK: &str = "this profile's credentials come over the network, which dsql-iam does not use: get \
     them with AWS's tools first, by aws configure export-credentials --format env, or through credential_process";

#[derive(Debug)]
struct Offline;

impl HttpConnector for Offline {
    fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::ready(Err(ConnectorError::user(OVER_THE_NETWORK.into())))
    }
}
