//! `dsql-iam sts`: a Security Token Service of one's own, which SDKs find through
//! `AWS_ENDPOINT_URL_STS`, and credentials as a container gets them.
//!
//! | request | answer |
//! |---|---|
//! | `POST /`, signed, `Action=AssumeRole` | a session of a role, stored where the server finds it |
//! | `POST /`, signed, `Action=GetCallerIdentity` | who signed it |
//! | `POST /`, signed, `Action=GetSessionToken` | a session of the user who signed it |
//! | `POST /`, signed, `Action=SimulatePrincipalPolicy` or `SimulateCustomPolicy` | what policies decide |
//! | `POST /`, `Action=AssumeRoleWithWebIdentity` | a session of a role, for a token of an identity provider |
//! | `GET /credentials` with the token | a session of the role of `--container-role`, if that is given |
//!
//! Anything else is refused. A request has bounded size and time, and there is a bounded number of
//! connections. Each refusal is a line on standard error with the reason that the documents give;
//! whoever asked hears AWS's words. No secret is ever part of either.

mod answer;
mod attempts;
mod clocks;
mod iam;
mod query;
mod verification;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use dsql_iam_core::directory::{self, Fingerprint, Snapshot};
use dsql_iam_core::session_store::{self, StoredSession};
use dsql_iam_core::sigv4::{ReceivedRequest, SignedRequest};
use dsql_iam_core::sts::{
    AssumeRole, AssumeRoleWithWebIdentity, Grant, NewKey, StsEnvironment, StsError,
    assume_role_with_web_identity, caller_with_secret, get_session_token,
};
use dsql_iam_core::{
    Authenticated, ConnectionFacts, Identities, PresentedCredentials, is_same_secret, printable,
    printable_up_to,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use time::UtcDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::assume_role::{self, DEFAULT_REGION, Place};
use super::{Report, token};
use crate::shared::error::Error;
use crate::shared::region;
use crate::shared::sessions::{self, NotBegun};
use answer::Answer;
use attempts::Attempts;
use clocks::{Clock, Clocks};
use query::Action;

/// The service that requests are signed for.
const SERVICE: &str = "sts";
/// The longest body, in bytes: more than all parameters that AWS allows can have.
const MAX_BODY: usize = 512 * 1024;
/// How long a request may take to arrive, head and body each.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often expired sessions are removed.
const CLEANUP: Duration = Duration::from_secs(60);
/// How many connections there may be at a time; others wait.
const MAX_CONNECTIONS: usize = 64;
/// The most characters of a sentence in the log: the longest reasons name a hundred statements.
const MAX_LINE: usize = 4000;
/// The shortest token for container credentials: whoever has it gets the role.
const MIN_TOKEN: usize = 16;
/// Where container credentials are.
const CREDENTIALS_PATH: &str = "/credentials";

/// The arguments of `dsql-iam sts`.
#[derive(Args)]
#[command(after_help = "\
Example:
  dsql-iam sts --listen 127.0.0.1:8300 &
  export AWS_ENDPOINT_URL_STS=http://127.0.0.1:8300 AWS_ENDPOINT_URL_IAM=http://127.0.0.1:8300

and in AWS_CONFIG_FILE, beside the profile admin:
  [profile assumed]
  role_arn = arn:aws:iam::012345678912:role/example
  source_profile = admin

With --container-role, credentials for AWS_CONTAINER_CREDENTIALS_FULL_URI too, for clients that show the
token in AWS_CONTAINER_AUTHORIZATION_TOKEN. There is no TLS: it is made for one machine.")]
pub struct Arguments {
    /// The address to listen on; a port of 0 is any that is free
    #[arg(long, value_name = "ADDRESS", default_value_t = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8300))]
    listen: SocketAddr,

    #[command(flatten)]
    place: Place,

    /// How many sessions a user or role may have begun that are not over
    #[arg(long, value_name = "NUMBER", default_value_t = sessions::DEFAULT_QUOTA)]
    session_quota: u64,

    /// The role that container credentials are for
    #[arg(long, value_name = "ARN")]
    container_role: Option<String>,

    /// The AWS profile that assumes that role; credentials in the environment are then not looked
    /// at
    #[arg(long)]
    profile: Option<String>,
}

/// The state that all connections share.
struct State {
    arguments: Arguments,
    /// The role that container credentials are for, and the token that they are given for.
    container: Option<(String, String)>,
    loaded: Mutex<Option<(Fingerprint, Arc<Identities>)>>,
    attempts: Attempts,
}

/// Serves until the process is ended.
///
/// # Errors
/// A sentence, if it cannot begin.
pub async fn run(arguments: Arguments) -> Result<Report, Error> {
    let is_loopback = arguments.listen.ip().is_loopback();
    let mut container = None;
    if let Some(role) = &arguments.container_role {
        // Not an option, since others can see those.
        let token = std::env::var("AWS_CONTAINER_AUTHORIZATION_TOKEN").unwrap_or_default();
        if token.len() < MIN_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "AWS_CONTAINER_AUTHORIZATION_TOKEN has to have at least {MIN_TOKEN} characters, \
                 none of them a space: whoever has it gets the role"
            )
            .into());
        }
        if !is_loopback {
            return Err(format!(
                "{} is not a loopback address, and container credentials are for loopback only",
                arguments.listen
            )
            .into());
        }
        container = Some((role.clone(), token));
    }
    let state = Arc::new(State {
        arguments,
        container,
        loaded: Mutex::new(None),
        attempts: Attempts::default(),
    });
    state.identities()?;
    let wanted = state.arguments.listen;
    let listener = TcpListener::bind(wanted).await;
    let listener = listener.map_err(|fault| {
        format!(
            "could not listen on {wanted} ({fault}): give another --listen, with port 0 for any"
        )
    })?;
    let address = listener.local_addr().map_err(Error::of)?;
    for service in ["STS", "IAM"] {
        println!("export AWS_ENDPOINT_URL_{service}=http://{address}");
    }
    if state.container.is_some() {
        println!("export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://{address}{CREDENTIALS_PATH}");
    }
    if is_loopback {
        eprintln!("dsql-iam: listening on {address}, which only this machine can reach");
    } else {
        eprintln!(
            "dsql-iam: warning: listening on {address}, which other machines can reach, without \
             TLS: whoever can read along sees the sessions that begin"
        );
    }
    tokio::spawn(keep_removing(state.arguments.place.iam_directory.clone()));
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return Err("there are no connections left".into());
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(fault) => {
                eprintln!("dsql-iam: a connection could not be accepted: {fault}");
                // Out of file descriptors, say: that takes a moment to get better.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let state = Arc::clone(&state);
        tokio::spawn(serve(stream, peer, state, Arc::new(permit)));
    }
}

/// Removes expired sessions from time to time, beside the requests: none of them waits for it.
async fn keep_removing(directory: PathBuf) {
    let mut interval = tokio::time::interval(CLEANUP);
    let mut clocks = Clocks::new(UtcDateTime::now(), Instant::now());
    loop {
        interval.tick().await;
        let now = UtcDateTime::now();
        match clocks.look(now, Instant::now()) {
            Clock::Steady => {
                let directory = directory.clone();
                let remove = move || sessions::remove_expired(&directory, usize::MAX, now);
                let _ = spawn_blocking(remove).await;
            }
            Clock::Set => eprintln!(
                "dsql-iam: the clock was set, or the machine slept: no session is removed for an hour"
            ),
            Clock::Waiting => {}
        }
    }
}

/// The place of a connection among [`MAX_CONNECTIONS`]. The work on its request holds it too: that goes on after the
/// connection has ended.
type Permit = Arc<OwnedSemaphorePermit>;

async fn serve(stream: TcpStream, peer: SocketAddr, state: Arc<State>, permit: Permit) {
    let service = service_fn(|request| {
        let (state, permit) = (Arc::clone(&state), Arc::clone(&permit));
        async move { Ok::<_, Infallible>(answer(state, peer, request, permit).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(MAX_BODY)
        .serve_connection(TokioIo::new(stream), service);
    // One request; a client that goes away, breaks the protocol or does not read its answer is its
    // own affair.
    let _ = timeout(PATIENCE * 4, connection).await;
}

async fn answer(
    state: Arc<State>,
    peer: SocketAddr,
    request: Request<Incoming>,
    permit: Permit,
) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let is_for_container = parts.uri.path() == CREDENTIALS_PATH;
    let Answer(status, content_type, text) =
        match timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await {
            Err(_) => query::fault(
                408,
                "RequestTimeout",
                "The request took too long to arrive.",
            ),
            Ok(Err(_)) => query::fault(
                413,
                "RequestEntityTooLarge",
                "The request is incomplete or too large.",
            ),
            Ok(Ok(_)) if is_for_container => {
                container_credentials(state, peer, parts, permit).await
            }
            Ok(Ok(body)) => {
                let body = body.to_bytes();
                let answered = spawn_blocking(move || {
                    let _permit = permit;
                    state.sts(&parts, &body, peer)
                });
                let answered = answered.await;
                answered.unwrap_or_else(|_| query::internal_failure())
            }
        };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

impl State {
    /// The identities in the documents, which are read again if they have changed.
    fn identities(&self) -> Result<Arc<Identities>, Error> {
        let path = &self.arguments.place.iam_directory;
        let now = UtcDateTime::now();
        let found = directory::fingerprint(path, now).map_err(Error::of)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((fingerprint, identities)) = &*loaded
            && *fingerprint == found
        {
            return Ok(Arc::clone(identities));
        }
        let snapshot = Snapshot::read(path).map_err(Error::of)?;
        let identities = Arc::new(snapshot.identities().map_err(Error::of)?);
        *loaded = Some((snapshot.fingerprint(now), Arc::clone(&identities)));
        Ok(identities)
    }

    /// Answers a request of the service's own protocol.
    fn sts(&self, parts: &Parts, body: &[u8], peer: SocketAddr) -> Answer {
        if parts.uri.path() != "/" || parts.method != Method::POST || parts.uri.query().is_some() {
            let message = "Requests are sent with POST to /, with their parameters in the body.";
            return query::fault(404, "InvalidAction", message);
        }
        let Some(headers) = headers(&parts.headers) else {
            let message = "The headers are not of printable ASCII characters.";
            return query::fault(400, "IncompleteSignature", message);
        };
        let received = ReceivedRequest {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            headers: &headers,
            body,
        };
        let identities = match self.identities() {
            Ok(identities) => identities,
            Err(fault) => {
                eprintln!("dsql-iam: {fault}");
                return query::internal_failure();
            }
        };
        let is_for_iam = iam::is_asked(&received);
        match self.perform(received, &identities, peer) {
            Ok(answer) => answer,
            Err(Fault::Refused(refusal)) => {
                log(peer, &refusal);
                let code = refusal.code;
                let fault = if is_for_iam { iam::fault } else { query::fault };
                fault(code.status(), code.name(), &refusal.message)
            }
            Err(Fault::Failed(fault)) => {
                eprintln!("dsql-iam: {fault}");
                query::internal_failure()
            }
        }
    }

    fn perform(
        &self,
        received: ReceivedRequest<'_>,
        identities: &Identities,
        peer: SocketAddr,
    ) -> Result<Answer, Fault> {
        if let Some(request) = query::unsigned(&received)? {
            return self.with_web_identity(&request, identities, peer);
        }
        let signed = SignedRequest::parse(received)?;
        let stored = self.stored(signed.access_key_id())?;
        let environment = StsEnvironment {
            stored: stored.as_ref(),
            ..self.environment(identities, signed.region(), peer)
        };
        if iam::is_asked(&received) {
            let caller = signed.caller(iam::SERVICE, &environment)?;
            let performed = iam::perform(&received, &caller, &environment)?;
            if let Some(sentence) = performed.refusal {
                log_refusal(peer, &sentence);
            }
            return Ok(performed.answer);
        }
        let caller = signed.caller(SERVICE, &environment)?;
        match query::parse(&received)? {
            Action::GetCallerIdentity => Ok(query::caller_identity(&caller)),
            Action::AssumeRole(request) => {
                let (grant, key) = self.begin(&caller, &request, &environment)?;
                Ok(query::assumed_role(&grant, &key))
            }
            Action::GetSessionToken(request) => {
                let decide = || get_session_token(&caller, &request, &environment);
                let (mfa, now) = (&request.mfa, environment.now);
                let grant = self.attempts.decide(&caller, mfa, now, decide)?;
                let key = self.store(&grant, &caller.principal.arn, environment.now)?;
                let end = grant.expiration_text();
                eprintln!("dsql-iam: {} got a session until {end}", caller.arn());
                Ok(query::session_token(&grant, &key))
            }
        }
    }

    /// Begins a session for whoever has a token of an identity provider.
    fn with_web_identity(
        &self,
        request: &AssumeRoleWithWebIdentity,
        identities: &Identities,
        peer: SocketAddr,
    ) -> Result<Answer, Fault> {
        // The request does not say which region it is for.
        let environment = self.environment(identities, "", peer);
        let verify = verification::is_signed;
        let begun = assume_role_with_web_identity(request, &environment, verify)?;
        let key = self.store(&begun.grant, &begun.provider, environment.now)?;
        let (arn, end) = (&begun.grant.arn, begun.grant.expiration_text());
        let (provider, subject) = (&begun.provider, printable(&begun.subject));
        eprintln!("dsql-iam: {subject} of {provider} began {arn} until {end}");
        Ok(query::assumed_role_with_web_identity(&begun, &key))
    }

    /// The session of an access key that was begun here.
    fn stored(&self, access_key_id: &str) -> Result<Option<StoredSession>, Fault> {
        let directory = &self.arguments.place.iam_directory;
        session_store::find(directory, access_key_id, UtcDateTime::now())
            .map_err(|fault| Fault::Failed(Error::of(fault)))
    }

    fn environment<'s>(
        &'s self,
        identities: &'s Identities,
        region: &'s str,
        peer: SocketAddr,
    ) -> StsEnvironment<'s> {
        StsEnvironment {
            now: UtcDateTime::now(),
            identities,
            stored: None,
            region,
            connection: ConnectionFacts {
                source_ip: Some(peer.ip()),
                is_tls: false,
            },
        }
    }

    fn begin(
        &self,
        caller: &Authenticated<'_>,
        request: &AssumeRole,
        environment: &StsEnvironment<'_>,
    ) -> Result<(Grant, NewKey), Fault> {
        let decide = || dsql_iam_core::sts::assume_role(caller, request, environment);
        let (mfa, now) = (&request.mfa, environment.now);
        let grant = self.attempts.decide(caller, mfa, now, decide)?;
        let key = self.store(&grant, &caller.principal.arn, environment.now)?;
        let end = grant.expiration_text();
        eprintln!("dsql-iam: {} began {} until {end}", caller.arn(), grant.arn);
        Ok((grant, key))
    }

    /// Stores the session, which counts for `owner`.
    fn store(&self, grant: &Grant, owner: &str, now: UtcDateTime) -> Result<NewKey, Fault> {
        let directory = &self.arguments.place.iam_directory;
        let quota = self.arguments.session_quota;
        Ok(sessions::begin(grant, owner, quota, directory, now)?)
    }
}

/// Why there is no answer.
enum Fault {
    /// The caller is refused.
    Refused(StsError),
    /// Something is wrong here, which the caller need not know.
    Failed(Error),
}

impl From<StsError> for Fault {
    fn from(refusal: StsError) -> Self {
        Self::Refused(refusal)
    }
}

impl From<NotBegun> for Fault {
    fn from(fault: NotBegun) -> Self {
        match fault {
            NotBegun::Refused(refusal) => Self::Refused(refusal),
            NotBegun::Failed(fault) => Self::Failed(fault),
        }
    }
}

fn log(peer: SocketAddr, refusal: &StsError) {
    log_refusal(peer, &assume_role::sentence(refusal));
}

/// One line of bounded length, whatever the request tried to put into it.
fn log_refusal(peer: SocketAddr, sentence: &str) {
    let line = printable_up_to(sentence, MAX_LINE);
    eprintln!("dsql-iam: refused, from {}: {line}", peer.ip());
}

/// Names and values; `None` if one cannot be read as text.
fn headers(map: &HeaderMap) -> Option<Vec<(&str, &str)>> {
    let pairs = map.iter();
    pairs
        .map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect()
}

/// Answers as a container's credentials endpoint does:
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>.
async fn container_credentials(
    state: Arc<State>,
    peer: SocketAddr,
    parts: Parts,
    permit: Permit,
) -> Answer {
    let failed = |status: u16, code: &str, message: &str| {
        Answer::json(status, &json!({ "code": code, "message": message }))
    };
    let Some((role, expected)) = state.container.clone() else {
        return failed(404, "NotFound", "No --container-role was given.");
    };
    if parts.method != Method::GET {
        return failed(405, "MethodNotAllowed", "Credentials are read with GET.");
    }
    let mut sent = parts.headers.get_all(AUTHORIZATION).iter();
    let only = sent.next().filter(|_| sent.next().is_none());
    let is_allowed = only
        .and_then(|value| value.to_str().ok())
        .is_some_and(|sent| is_same_secret(sent, &expected));
    if !is_allowed {
        eprintln!(
            "dsql-iam: refused, from {}: not the token for container credentials",
            peer.ip()
        );
        return failed(401, "AccessDenied", "The authorization token is not right.");
    }
    let profile = state.arguments.profile.as_deref();
    let region = region::configured(profile).await;
    let credentials = match token::credentials(profile, region.clone()).await {
        Ok(credentials) => credentials,
        Err(fault) => {
            eprintln!("dsql-iam: {fault}");
            return failed(
                500,
                "InternalFailure",
                "There are no credentials to ask with.",
            );
        }
    };
    let begun = spawn_blocking(move || -> Result<_, Fault> {
        let _permit = permit;
        let identities = state.identities().map_err(Fault::Failed)?;
        let region = region.as_ref().map_or(DEFAULT_REGION, AsRef::as_ref);
        let stored = state.stored(credentials.access_key_id())?;
        let environment = StsEnvironment {
            stored: stored.as_ref(),
            ..state.environment(&identities, region, peer)
        };
        let presented = PresentedCredentials {
            access_key_id: credentials.access_key_id(),
            session_token: credentials.session_token(),
        };
        let secret = credentials.secret_access_key();
        let caller = caller_with_secret(presented, secret, &environment)?;
        let request = AssumeRole {
            role_arn: role.clone(),
            role_session_name: "container".to_owned(),
            ..AssumeRole::default()
        };
        let (grant, key) = state.begin(&caller, &request, &environment)?;
        Ok((role, grant, key))
    });
    match begun.await {
        Ok(Ok((role, grant, key))) => Answer::json(
            200,
            &json!({
                "RoleArn": role,
                "AccessKeyId": key.id,
                "SecretAccessKey": key.secret,
                "Token": key.session_token,
                "Expiration": query::expiration(&grant),
            }),
        ),
        Ok(Err(Fault::Refused(refusal))) => {
            log(peer, &refusal);
            failed(refusal.code.status(), refusal.code.name(), &refusal.message)
        }
        Ok(Err(Fault::Failed(fault))) => {
            eprintln!("dsql-iam: {fault}");
            failed(500, "InternalFailure", "The session could not be begun.")
        }
        Err(_) => failed(500, "InternalFailure", "The session could not be begun."),
    }
}
