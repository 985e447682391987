//! The settings (GUCs), `dsql_iam.*`: their defaults, then their descriptions. Only the administrator sets them, in
//! `postgresql.conf`, with `ALTER SYSTEM`, or on the server's command line; `amzn_cluster_id` is the client's.

use dsql_iam_core::{BadCluster, Cluster, ID_LEN, parse_linked};
use dsql_iam_server::{Limits, hba};
use pgrx::guc::GucCheckError;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_guard, pg_sys};
use std::ffi::{CStr, CString, OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Directory that holds the IAM documents, relative to the data directory or absolute. By default it is outside
/// the data directory: base backups and standbys get all that is in there, and would get the secrets.
static IAM_DIRECTORY: GucSetting<Option<CString>> =
    GucSetting::<Option<CString>>::new(Some(c"/etc/dsql_iam"));
/// The account that owns the cluster.
static ACCOUNT_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// The cluster's region.
static REGION: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// The cluster's id.
static CLUSTER_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// Further host names of the cluster.
static ENDPOINTS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
/// Clusters of other regions that are the same database.
static LINKED_CLUSTERS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static LOOPBACK_ENDPOINTS: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Roles that log in with their SCRAM password.
static EXEMPT_ROLES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static MANAGE_HBA: GucSetting<bool> = GucSetting::<bool>::new(true);
static INSTALL_SYNTAX: GucSetting<bool> = GucSetting::<bool>::new(true);
static ASYNC_INDEXES: GucSetting<bool> = GucSetting::<bool>::new(false);
static REQUIRE_TLS: GucSetting<bool> = GucSetting::<bool>::new(true);
static REQUIRE_SNI: GucSetting<bool> = GucSetting::<bool>::new(false);
/// Where each decision is written as a line of JSON.
static AUDIT_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static MAX_CONNECTIONS: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_CONNECTION_RATE: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_CONNECTION_BURST: GucSetting<i32> = GucSetting::<i32>::new(1000);
static MAX_LOGGED_REFUSALS: GucSetting<i32> = GucSetting::<i32>::new(60);
static MAX_CONNECTION_DURATION: GucSetting<i32> = GucSetting::<i32>::new(3600);
static MAX_CONNECTION_OVERTIME: GucSetting<i32> = GucSetting::<i32>::new(300);
/// The client's `options=-c amzn-cluster-id=ID`.
static AMZN_CLUSTER_ID: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(Some(c""));
static EXPLAIN_DENIALS: GucSetting<bool> = GucSetting::<bool>::new(false);
static RESTRICT_PARAMETERS: GucSetting<bool> = GucSetting::<bool>::new(false);

/// A function that PostgreSQL calls with the new value of a setting, at each reload too.
type AssignHook = unsafe extern "C-unwind" fn(*const c_char, *mut c_void);

/// The functions to be called when settings are read again. Each must be guarded against panics.
pub struct AssignHooks {
    /// For `dsql_iam.iam_directory`, which still has its old value then.
    pub iam_directory: AssignHook,
    /// For the cluster's settings.
    pub other: AssignHook,
}

/// The functions that PostgreSQL calls for a setting.
#[derive(Default)]
struct Hooks {
    check: Option<CheckHook>,
    assign: Option<AssignHook>,
}

/// Makes the settings known to PostgreSQL.
pub fn register(hooks: AssignHooks) {
    let cluster = |check: CheckHook| Hooks {
        check: Some(check),
        assign: Some(hooks.other),
    };
    string(
        c"dsql_iam.iam_directory",
        c"Directory with the IAM documents, as the AWS command line prints them.",
        c"A relative path starts at the data directory. Documents that hold a secret must have mode 0600. Without this directory nobody can log in with a token.",
        &IAM_DIRECTORY,
        GucContext::Sighup,
        Hooks {
            check: None,
            assign: Some(hooks.iam_directory),
        },
    );
    string(
        c"dsql_iam.account_id",
        c"AWS account that the cluster belongs to: twelve digits.",
        c"Principals of other accounts are refused. Without it nobody can log in with a token.",
        &ACCOUNT_ID,
        GucContext::Sighup,
        cluster(check_account_id),
    );
    string(
        c"dsql_iam.region",
        c"AWS region of the cluster, for example us-east-1.",
        c"Tokens signed for another region are refused. Without it nobody can log in with a token.",
        &REGION,
        GucContext::Sighup,
        cluster(check_region),
    );
    string(
        c"dsql_iam.cluster_id",
        c"Id of the cluster: 26 characters of a-z and 0-9.",
        c"Names the cluster in its ARN and in its endpoint, ID.dsql.REGION.on.aws. Without it nobody can log in with a token.",
        &CLUSTER_ID,
        GucContext::Sighup,
        cluster(check_cluster_id),
    );
    string(
        c"dsql_iam.endpoints",
        c"Further host names that tokens may be signed for, separated by commas.",
        c"The cluster's own endpoint, ID.dsql.REGION.on.aws, is always accepted.",
        &ENDPOINTS,
        GucContext::Sighup,
        cluster(check_endpoints),
    );
    boolean(
        c"dsql_iam.loopback_endpoints",
        c"Accepts tokens that were signed for localhost, 127.0.0.1 or ::1.",
        c"For development: every other server that has this on accepts the same tokens.",
        &LOOPBACK_ENDPOINTS,
        GucContext::Sighup,
    );
    string(
        c"dsql_iam.linked_clusters",
        c"Clusters of other regions that are linked with this one: ID@REGION, separated by commas.",
        c"A token for the endpoint of one of them is judged by its region and its ARN. None by default.",
        &LINKED_CLUSTERS,
        GucContext::Sighup,
        cluster(check_linked_clusters),
    );
    register_behaviour();
    register_limits();
    // From here on a misspelled dsql_iam setting is reported instead of silently kept.
    #[cfg(feature = "pg14")]
    // SAFETY: the argument is a C string.
    unsafe {
        pgrx::pg_sys::EmitWarningsOnPlaceholders(c"dsql_iam".as_ptr());
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: the argument is a C string.
    unsafe {
        pgrx::pg_sys::MarkGUCPrefixReserved(c"dsql_iam".as_ptr());
    }
}

/// The settings for logins and statements.
fn register_behaviour() {
    string(
        c"dsql_iam.exempt_roles",
        c"Roles that log in over TCP with their SCRAM password and never with a token.",
        c"Separated by commas; none by default. Aurora DSQL has no password authentication for anybody.",
        &EXEMPT_ROLES,
        GucContext::Postmaster,
        Hooks {
            check: Some(check_exempt_roles),
            assign: None,
        },
    );
    boolean(
        c"dsql_iam.manage_hba",
        c"Brings the library's own hba file into force while the library is loaded.",
        c"If off, TCP connections need a line with the method trust in pg_hba.conf to be asked for a token; take that line out before the library.",
        &MANAGE_HBA,
        GucContext::Postmaster,
    );
    boolean(
        c"dsql_iam.install_syntax",
        c"Lets AWS IAM GRANT and AWS IAM REVOKE through the server's grammar.",
        c"If off, sys.iam_grant and sys.iam_revoke do the same, and the server's table of keywords is not touched.",
        &INSTALL_SYNTAX,
        GucContext::Postmaster,
    );
    boolean(
        c"dsql_iam.async_indexes",
        c"Takes CREATE INDEX ASYNC and answers it with a job, as Aurora DSQL does.",
        c"The index is built at once. An index that is really called async needs quotes then. Needs dsql_iam.install_syntax.",
        &ASYNC_INDEXES,
        GucContext::Postmaster,
    );
    boolean(
        c"dsql_iam.require_tls",
        c"Refuses connections without TLS before a token is asked for.",
        c"Protects tokens from being read on the way; loopback is no exception.",
        &REQUIRE_TLS,
        GucContext::Sighup,
    );
    boolean(
        c"dsql_iam.require_sni",
        c"Refuses clients that do not name a server by Server Name Indication, nor a cluster with amzn-cluster-id.",
        c"As Aurora DSQL does. Where the server has no OpenSSL the name cannot be read, and only amzn-cluster-id counts.",
        &REQUIRE_SNI,
        GucContext::Sighup,
    );
    boolean(
        c"dsql_iam.explain_denials",
        c"Tells the client the reason of a denial that otherwise only the log holds.",
        c"For development. Tells strangers which access keys, roles and mappings exist.",
        &EXPLAIN_DENIALS,
        GucContext::Sighup,
    );
    boolean(
        c"dsql_iam.restrict_parameters",
        c"Refuses the session parameters that Aurora DSQL does not take, and SET ROLE.",
        c"In sessions that began with a token; the startup packet counts too.",
        &RESTRICT_PARAMETERS,
        GucContext::Sighup,
    );
    string(
        c"dsql_iam.audit_file",
        c"File to which each decision is appended as a line of JSON, in the form of AWS CloudTrail's events.",
        c"A relative path starts at the data directory. None by default. While it cannot be written, nobody can log in with a token.",
        &AUDIT_FILE,
        GucContext::Sighup,
        Hooks::default(),
    );
}

/// The settings for the number of connections, and their lifetime.
fn register_limits() {
    number(
        c"dsql_iam.max_connections",
        c"Maximum number of connections with a token at a time; 0 for no limit of its own.",
        c"Aurora DSQL's quota is 10000. PostgreSQL's max_connections applies as well.",
        &MAX_CONNECTIONS,
        GucFlags::default(),
    );
    number(
        c"dsql_iam.max_connection_rate",
        c"Maximum number of logins admitted a second, on average; 0 for no limit.",
        c"Aurora DSQL's quota is 100.",
        &MAX_CONNECTION_RATE,
        GucFlags::default(),
    );
    number(
        c"dsql_iam.max_connection_burst",
        c"Maximum number of logins admitted at once where max_connection_rate is set.",
        c"Aurora DSQL's quota is 1000.",
        &MAX_CONNECTION_BURST,
        GucFlags::default(),
    );
    number(
        c"dsql_iam.max_connection_duration",
        c"Lifetime of a session that began with a token; 0 for no limit.",
        c"It ends between two statements. A change applies to sessions that begin after it.",
        &MAX_CONNECTION_DURATION,
        GucFlags::UNIT_S,
    );
    number(
        c"dsql_iam.max_connection_overtime",
        c"Time that a transaction has left if it is open when its session has to end.",
        c"After that the session is terminated with the transaction.",
        &MAX_CONNECTION_OVERTIME,
        GucFlags::UNIT_S,
    );
    number(
        c"dsql_iam.max_logged_refusals",
        c"How many refused logins of one address, and of one principal, are logged in a minute; 0 for all.",
        c"The others are counted, and one line says how many there were. An IPv6 address counts as its network of 48 bits. All together have 16 times as many.",
        &MAX_LOGGED_REFUSALS,
        GucFlags::default(),
    );
    string(
        c"amzn_cluster_id",
        c"Id of the cluster that the client wants, for clients without Server Name Indication.",
        c"Sent as options=-c amzn-cluster-id=ID. Another cluster's is refused.",
        &AMZN_CLUSTER_ID,
        GucContext::Backend,
        Hooks::default(),
    );
}

fn string(
    name: &'static CStr,
    summary: &'static CStr,
    explanation: &'static CStr,
    setting: &'static GucSetting<Option<CString>>,
    context: GucContext,
    hooks: Hooks,
) {
    // SAFETY: the check hooks are guarded against panics, and the assign hooks as [`AssignHooks`] asks.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            name,
            summary,
            explanation,
            setting,
            context,
            GucFlags::default(),
            hooks.check,
            hooks.assign,
            None,
        );
    }
}

/// A function that PostgreSQL asks whether a setting may have a new value.
type CheckHook = unsafe extern "C-unwind" fn(
    *mut *mut c_char,
    *mut *mut c_void,
    pg_sys::GucSource::Type,
) -> bool;

/// Whether a setting may have a new value: a malformed one is refused only to a statement, such as ALTER SYSTEM.
///
/// A malformed value in a file is taken, at a start as at a reload: then nobody logs in. If it were refused there,
/// the one before would stay in force, or the default. A session reads the files between two statements, also within
/// a transaction.
///
/// # Safety
/// `new` must point to the new value, a C string or null.
unsafe fn accepts(new: *mut *mut c_char, fault: impl FnOnce(&str) -> Option<String>) -> bool {
    // SAFETY: the caller's promise; a pointer of the server's that is only compared. Notes the DETAIL for the
    // server's own error.
    unsafe {
        let is_statement = !pg_sys::ActivePortal.is_null();
        if !is_statement || (*new).is_null() {
            return true;
        }
        let Some(fault) = fault(&CStr::from_ptr(*new).to_string_lossy()) else {
            return true;
        };
        GucCheckError::default().with_detail(fault).apply();
        false
    }
}

/// The fault of one of the cluster's settings, among others that have none. Empty stands for none at all.
fn cluster_fault(account: &str, region: &str, id: &str, endpoints: &str) -> Option<String> {
    let or = |given: &str, valid: &str| match given {
        "" => valid.to_owned(),
        given => given.to_owned(),
    };
    let (account, region) = (or(account, "012345678912"), or(region, "us-east-1"));
    let id = or(id, &"a".repeat(ID_LEN));
    let cluster = Cluster::new(&account, &region, &id, endpoints);
    cluster.err().map(|fault| format!("{fault}."))
}

/// A check hook that asks `$fault`, a function of the new value.
macro_rules! check_hook {
    ($name:ident, $fault:expr) => {
        #[pg_guard]
        unsafe extern "C-unwind" fn $name(
            new: *mut *mut c_char,
            _extra: *mut *mut c_void,
            _source: pg_sys::GucSource::Type,
        ) -> bool {
            // SAFETY: PostgreSQL's own arguments.
            unsafe { accepts(new, $fault) }
        }
    };
}

check_hook!(check_account_id, |it| cluster_fault(it, "", "", ""));
check_hook!(check_region, |it| cluster_fault("", it, "", ""));
check_hook!(check_cluster_id, |it| cluster_fault("", "", it, ""));
check_hook!(check_endpoints, |it| cluster_fault("", "", "", it));
check_hook!(check_linked_clusters, |list| {
    parse_linked(list).err().map(|fault| format!("{fault}."))
});
check_hook!(check_exempt_roles, |list| {
    let lines = hba::own_lines(&names(list), Path::new(""));
    lines.err().map(|fault| format!("{fault}."))
});

fn boolean(
    name: &'static CStr,
    summary: &'static CStr,
    explanation: &'static CStr,
    setting: &'static GucSetting<bool>,
    context: GucContext,
) {
    GucRegistry::define_bool_guc(
        name,
        summary,
        explanation,
        setting,
        context,
        GucFlags::default(),
    );
}

fn number(
    name: &'static CStr,
    summary: &'static CStr,
    explanation: &'static CStr,
    setting: &'static GucSetting<i32>,
    flags: GucFlags,
) {
    GucRegistry::define_int_guc(
        name,
        summary,
        explanation,
        setting,
        0,
        i32::MAX / 1000,
        GucContext::Sighup,
        flags,
    );
}

fn text(setting: &GucSetting<Option<CString>>) -> String {
    setting
        .get()
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The server's data directory.
pub fn data_directory() -> PathBuf {
    // SAFETY: set before any library is loaded, and never changed.
    let path = unsafe { CStr::from_ptr(pgrx::pg_sys::DataDir) };
    PathBuf::from(path.to_string_lossy().into_owned())
}

/// The value of one of the server's own settings, as it stands there; `None` if it has none.
pub fn of_server(name: &CStr) -> Option<PathBuf> {
    // SAFETY: a C string; a name that no setting has is no error, and the answer is copied at once.
    unsafe {
        let value = pgrx::pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null())
            .then(|| PathBuf::from(OsStr::from_bytes(CStr::from_ptr(value).to_bytes())))
    }
}

/// A path of a setting, which starts at the data directory unless it is absolute.
pub fn absolute(path: &str) -> PathBuf {
    data_directory().join(path)
}

/// `dsql_iam.iam_directory`, absolute.
pub fn iam_directory() -> PathBuf {
    absolute(&text(&IAM_DIRECTORY))
}

/// The cluster that the settings describe.
///
/// # Errors
/// [`BadCluster`] names the setting that is missing or malformed.
pub fn cluster() -> Result<Cluster, BadCluster> {
    let cluster = Cluster::new(
        &text(&ACCOUNT_ID),
        &text(&REGION),
        &text(&CLUSTER_ID),
        &text(&ENDPOINTS),
    )?
    .with_linked(&text(&LINKED_CLUSTERS))?;
    Ok(if LOOPBACK_ENDPOINTS.get() {
        cluster.with_loopback_endpoints()
    } else {
        cluster
    })
}

/// `dsql_iam.exempt_roles`, taken apart.
pub fn exempt_roles() -> Vec<String> {
    names(&text(&EXEMPT_ROLES))
}

/// The names in a list that commas separate.
fn names(list: &str) -> Vec<String> {
    let names = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// `dsql_iam.audit_file`, absolute, if there is one.
pub fn audit_file() -> Option<PathBuf> {
    let path = text(&AUDIT_FILE);
    (!path.is_empty()).then(|| absolute(&path))
}

/// `dsql_iam.max_connections`, `max_connection_rate` and `max_connection_burst`
pub fn limits() -> Limits {
    let number = |setting: &GucSetting<i32>| u32::try_from(setting.get()).unwrap_or(0);
    Limits {
        connections: number(&MAX_CONNECTIONS),
        rate: number(&MAX_CONNECTION_RATE),
        burst: number(&MAX_CONNECTION_BURST),
    }
}

/// `dsql_iam.max_logged_refusals`
pub fn max_logged_refusals() -> u32 {
    u32::try_from(MAX_LOGGED_REFUSALS.get()).unwrap_or(0)
}

/// `dsql_iam.max_connection_duration`, if there is a limit.
pub fn max_connection_duration() -> Option<Duration> {
    let seconds = u64::try_from(MAX_CONNECTION_DURATION.get()).unwrap_or(0);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// `dsql_iam.max_connection_overtime`
pub fn max_connection_overtime() -> Duration {
    Duration::from_secs(u64::try_from(MAX_CONNECTION_OVERTIME.get()).unwrap_or(0))
}

/// `dsql_iam.manage_hba`
pub fn manages_hba() -> bool {
    MANAGE_HBA.get()
}

/// `dsql_iam.install_syntax`
pub fn installs_syntax() -> bool {
    INSTALL_SYNTAX.get()
}

/// `dsql_iam.async_indexes`
pub fn async_indexes() -> bool {
    ASYNC_INDEXES.get()
}

/// `dsql_iam.require_sni`
pub fn requires_sni() -> bool {
    REQUIRE_SNI.get()
}

/// `dsql_iam.require_tls`
pub fn requires_tls() -> bool {
    REQUIRE_TLS.get()
}

/// `dsql_iam.restrict_parameters`
pub fn restricts_parameters() -> bool {
    RESTRICT_PARAMETERS.get()
}

/// `dsql_iam.explain_denials`
pub fn explains_denials() -> bool {
    EXPLAIN_DENIALS.get()
}
