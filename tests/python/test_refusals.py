"""Every reason to refuse a login: what the client is told, and what the log says."""

import asyncio
import contextlib
import datetime
import json
import os
import pathlib
import re

import asyncpg
import psycopg
import pytest

from support import (
    ACCOUNT, DENIED, EXAMPLE_ARN, SECRETS, SESSION_ID, TLS_MANDATORY, Key, Wire, access_key,
    account, assumed_role, fields_of, policy, sign, until,
)
from conftest import SERVERS

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
INVALID = "The security token included in the request is invalid."
NO_MATCH = ("The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service "
            "documentation for details.")
INCOMPLETE = ("AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', "
              "'X-Amz-Signature', 'X-Amz-SignedHeaders' and 'X-Amz-Date' in valid form.")
MORE_THAN_A_WEEK = ("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires "
                    "must be less than 604800 seconds")
NO_TOKEN = "Request is missing Authentication Token"
DBA = f"arn:aws:iam::{ACCOUNT}:user/dba"
VISITOR = f"arn:aws:iam::{ACCOUNT}:user/visitor"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/example/local"


def assert_refused(server, error, mark, sqlstate, hint, check, reason=None, principal=None):
    """Each field by itself, and the one line of the log that has the same session id."""
    assert error.severity == "FATAL"
    assert error.sqlstate == sqlstate
    assert error.message == DENIED
    assert error.hint == hint
    session = SESSION_ID.fullmatch(error.detail)
    assert session, error.detail
    line = server.logged(f"session_id={session[1]}", mark)
    assert "dsql_iam: login refused: " in line
    assert f" check={check} " in line
    logged_reason = json.loads(re.search(r' reason=("(?:\\.|[^"\\])*")', line)[1])
    if reason is not None:
        assert logged_reason == reason
    logged_principal = re.search(r' principal=("(?:\\.|[^"\\])*")', line)
    assert (logged_principal and json.loads(logged_principal[1])) == principal


class Refusal:
    """A token that does not open the door: how it is made, and what comes of it."""

    def __init__(self, make, hint, check, role="admin", reason=None, principal=None,
                 sqlstate="08006", **login):
        self.make, self.role, self.login = make, role, login
        self.expected = {"hint": hint, "check": check, "reason": reason, "principal": principal,
                         "sqlstate": sqlstate}

    def try_on(self, server):
        mark = server.log_mark()
        token = self.make(server)
        expected = dict(self.expected)
        for field, value in expected.items():
            if callable(value):
                expected[field] = value(server)
        error = server.refusal(self.role, token, **self.login)
        assert_refused(server, error, mark, **expected)


def by(profile, action=None, **arguments):
    """Makes a token by hand with a profile's key."""
    action = action or ("DbConnectAdmin" if profile == "admin" else "DbConnect")
    return lambda server: sign(server.key(profile), action, **arguments)


def with_key(profile, **changed):
    """Makes a token with a profile's key of which a part is another."""
    def make(server):
        key = server.key(profile)
        parts = {"id": key.id, "secret": key.secret, "session_token": key.session_token} | changed
        return sign(Key(**parts), "DbConnectAdmin" if profile == "admin" else "DbConnect")
    return make


def not_allowed(principal, action):
    return lambda server: (
        f"User: {principal} is not authorized to perform: {action} on resource: "
        f"{server.cluster_arn} because no identity-based policy allows the {action} action")


TOKENS = {
    "unknown access key": Refusal(
        with_key("admin", id="AKIAUNKNOWNUNKNOWNXX"), INVALID, "access_key",
        reason="access key AKIAUNKNOWNUNKNOWNXX is not known"),
    "wrong session token": Refusal(
        with_key("example", session_token="not-the-session-token-of-anybody"), INVALID, "session",
        role="nobody"),
    "missing session token": Refusal(
        with_key("example", session_token=None), INVALID, "session", role="nobody"),
    "session token of a user": Refusal(
        with_key("admin", session_token="not-the-session-token-of-anybody"), INVALID, "session"),
    "admin with DbConnect": Refusal(
        lambda server: server.token("admin", admin=False),
        "Wrong user to action mapping. user: admin, action: DbConnect", "action",
        reason="role admin cannot be used with action DbConnect"),
    "another role with DbConnectAdmin": Refusal(
        lambda server: server.token("example", admin=True),
        "Wrong user to action mapping. user: nobody, action: DbConnectAdmin", "action",
        role="nobody"),
    "user without a policy": Refusal(
        lambda server: server.token("denied", admin=True),
        not_allowed(VISITOR, "dsql:DbConnectAdmin"), "policy", principal=VISITOR,
        reason=not_allowed(VISITOR, "dsql:DbConnectAdmin")),
    "session without a policy": Refusal(
        lambda server: server.token("example", admin=True),
        not_allowed(SESSION, "dsql:DbConnectAdmin"), "policy", principal=SESSION),
    "user with the policy for the other action": Refusal(
        lambda server: server.token("admin", admin=False),
        not_allowed(DBA, "dsql:DbConnect"), "policy", role="nobody", principal=DBA),
    "wrong secret": Refusal(
        with_key("admin", secret="not-the-secret-of-anybody-at-all"), NO_MATCH, "signature"),
    "wrong region": Refusal(
        by("admin", region="eu-west-1"),
        "Credential should be scoped to a valid region, not 'eu-west-1'.", "credential_scope",
        reason="the token was signed for region eu-west-1, the cluster is in us-east-1"),
    "wrong service": Refusal(
        by("admin", service="rds-db"),
        "Credential should be scoped to correct service: 'dsql'.", "credential_scope",
        reason="the token was signed for service rds-db, not dsql"),
    "wrong terminator": Refusal(
        by("admin", terminator="aws5_request"),
        "Credential should be scoped with a valid terminator: 'aws4_request'.",
        "credential_scope"),
    "wrong host": Refusal(
        by("admin", host="bbcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws"), NO_MATCH, "host",
        reason="the token was signed for host bbcdefghijklmnopqrstuvwxyz.dsql.us-east-1.on.aws, "
               "which is not an endpoint of the cluster"),
    "wrong action": Refusal(by("admin", "DbConnectSuperuser"), INCOMPLETE, "token"),
    # As aurora-dsql-python-connector's `test_custom_token_duration` has it.
    "life of more than a week": Refusal(by("admin", expires=604801), MORE_THAN_A_WEEK, "token"),
    "life beyond numbers": Refusal(by("admin", expires=10**30), MORE_THAN_A_WEEK, "token"),
    "no life": Refusal(by("admin", expires=0), INCOMPLETE, "token"),
    "negative life": Refusal(by("admin", expires=-900), INCOMPLETE, "token"),
    "another algorithm": Refusal(
        by("admin", X_Amz_Algorithm="AWS4-HMAC-SHA1"), INCOMPLETE, "token"),
    "more signed headers": Refusal(
        by("admin", X_Amz_SignedHeaders="host;x-amz-date"), INCOMPLETE, "token"),
    "a further parameter": Refusal(by("admin", X_Amz_Extra="1"), INCOMPLETE, "token"),
    "an ordinary password": Refusal(lambda _: "hunter2", NO_TOKEN, "token"),
    "no query": Refusal(lambda _: "localhost/?", INCOMPLETE, "token"),
    "a scheme": Refusal(
        lambda server: "https://" + server.token("admin"), INCOMPLETE, "token"),
    "a blank behind it": Refusal(
        lambda server: server.token("admin") + " ", INCOMPLETE, "token"),
    "a line break behind it": Refusal(
        lambda server: server.token("admin") + "\n", INCOMPLETE, "token"),
    "signature in capitals": Refusal(
        lambda server: re.sub(r"(?<=Signature=)\w+", lambda m: m[0].upper(),
                              sign(server.key("admin"), "DbConnectAdmin")),
        INCOMPLETE, "token"),
    "another database": Refusal(
        lambda server: server.token("admin"), None, "database", database="template1",
        reason="database template1 was asked for; there is only postgres", principal=DBA),
    "a database that is not there": Refusal(
        lambda server: server.token("admin"), None, "database", database="nowhere",
        principal=DBA),
    "unknown role": Refusal(
        lambda server: server.token("example"), None, "role", role="nobody", sqlstate="28000",
        reason="role nobody does not exist", principal=SESSION),
    "the superuser": Refusal(
        lambda server: server.token("example"), None, "role", role="postgres", sqlstate="28000",
        reason="role postgres is a superuser", principal=SESSION),
    "a system role": Refusal(
        lambda server: server.token("example"), None, "role", role="pg_monitor",
        sqlstate="28000", principal=SESSION),
}

# None of these needs a key, and what a scope holds is told to the log and, of a region, to the client.
for name in ["scope_date", "region", "service", "terminator"]:
    for fault, value in {"long": "a" * 60_000, "with ESC": "a\x1b[2J", "with CSI": "a\x9b2J",
                         "with a line break": "a\nb", "with a blank": "a b"}.items():
        TOKENS[f"{name} {fault}"] = Refusal(
            by("admin", **{name: value}), INCOMPLETE, "token",
            reason="X-Amz-Credential is invalid")
TOKENS["a host of 256 bytes"] = Refusal(
    by("admin", host="a" * 256), INCOMPLETE, "token",
    reason="the token's host is empty, longer than 255 bytes or holds characters that no host name has")

PARAMETERS = ["Action", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
              "X-Amz-SignedHeaders", "X-Amz-Signature"]


def without(name):
    return lambda server: re.sub(rf"&?{name}=[^&]*&?", "&", server.token("admin")).replace(
        "?&", "?").rstrip("&")


def twice(name):
    def make(server):
        token = server.token("admin")
        return token + "&" + re.search(rf"\b{name}=[^&]*", token)[0]
    return make


def empty(name):
    return lambda server: re.sub(rf"\b{name}=[^&]*", f"{name}=", server.token("admin"))


for name in PARAMETERS:
    TOKENS[f"without {name}"] = Refusal(
        without(name), INCOMPLETE, "token", reason=f"{name} is missing from the token")
    TOKENS[f"{name} twice"] = Refusal(
        twice(name), INCOMPLETE, "token", reason=f"{name} occurs more than once in the token")
    TOKENS[f"{name} empty"] = Refusal(
        empty(name), INCOMPLETE, "token", reason=f"{name} is invalid")


@pytest.mark.parametrize("case", TOKENS)
def test_token(server, case):
    TOKENS[case].try_on(server)


def amz(at):
    return at.strftime("%Y%m%dT%H%M%SZ")


def moment(text):
    return datetime.datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(("life", "words"), [(300, "5 min."), (900, "15 min."), (90, "90 sec.")])
def test_expired(server, life, words):
    mark = server.log_mark()
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    signed = before - datetime.timedelta(seconds=life + 2)
    token = sign(server.key("admin"), "DbConnectAdmin", at=signed, expires=life)
    error = server.refusal("admin", token)
    after = datetime.datetime.now(datetime.UTC)
    earliest, now = re.search(r"than (\S+) \((\S+) - ", error.hint).groups()
    assert before <= moment(now) <= after
    assert moment(now) - moment(earliest) == datetime.timedelta(seconds=life)
    hint = f"Signature expired: {amz(signed)} is now earlier than {earliest} ({now} - {words})"
    assert_refused(server, error, mark, "08006", hint, "time",
                   f"the token expired: signed {amz(signed)}, good for {life} s, now {now}")


@pytest.mark.parametrize("host", ["LOCALHOST:5432", "127.0.0.1", "[::1]:1"])
def test_a_token_is_for_one_cluster_and_one_for_a_loopback_name_is_for_all(own, host):
    """Every server that takes such names takes the same token, so they count only where a setting says so."""
    key = own.key("admin")
    token = sign(key, "DbConnectAdmin", host)
    own.connect("admin", token).close()
    reason = (f"the token was signed for host {host}, a loopback name, which is not an endpoint of the cluster: "
              "loopback_endpoints is off")
    with own.settings(dsql_iam__loopback_endpoints="off"):
        mark = own.log_mark()
        assert_refused(own, own.refusal("admin", token), mark, "08006", NO_MATCH, "host", reason)
        # Connected to by the same address, for the cluster's own name; which of them count is said to a superuser.
        named = sign(key, "DbConnectAdmin", own.variables["DSQL_ENDPOINT"])
        own.connect("admin", named).close()
        with own.superuser() as connection:
            query = "SELECT outcome, reason FROM sys.explain_token('admin', %s) WHERE check_name = 'host'"
            rows = connection.execute(query, (token,)).fetchall()
        signed = f"{host}   (the cluster's: {own.variables['DSQL_ENDPOINT']}"
        assert rows[0] == ("failed", reason)
        assert rows[1][0] == "signed" and rows[1][1].startswith(signed)
        environment = os.environ | own.variables | {"DSQL_LOOPBACK_ENDPOINTS": "off"}
        done = own.run("explain", "--role", "admin", input=token, env=environment)
        assert done.returncode == 1 and f"host               FAILED: {reason}\n" in done.stdout
        with own.settings(dsql_iam__endpoints="'127.0.0.1'"):
            assert own.admits("admin", token) == (host == "127.0.0.1")


def test_from_the_future(server):
    mark = server.log_mark()
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    signed = before + datetime.timedelta(minutes=6)
    error = server.refusal("admin", sign(server.key("admin"), "DbConnectAdmin", at=signed))
    latest, now = re.search(r"than (\S+) \((\S+) \+ ", error.hint).groups()
    assert moment(latest) - moment(now) == datetime.timedelta(minutes=5)
    hint = f"Signature not yet current: {amz(signed)} is still later than {latest} ({now} + 5 min.)"
    assert_refused(server, error, mark, "08006", hint, "time")


@pytest.mark.parametrize(("role", "arguments", "login", "check"), [
    ("admin", {"region": "a" * 60_000}, {}, "token"),
    ("admin", {"region": "\x1b[2J\x1b[31m"}, {}, "token"),
    ("admin", {"service": "\x9b2J"}, {}, "token"),
    ("admin", {"host": "a" * 60_000}, {}, "token"),
    ("a\x1b[2J\x9b2J", {}, {}, "action"),
    ("a\x1b[2J", {"action": "DbConnect"}, {}, "access_key"),
    ("admin", {}, {"options": "-c amzn-cluster-id=\x1b[2J\x9b2J" + "x" * 5_000}, "cluster"),
])
def test_what_a_stranger_chose_is_short_and_printable(own, role, arguments, login, check):
    """Nobody's key signed these. Their values reach the log, and here the client's DETAIL too."""
    nobody = Key("AKIAUNKNOWNUNKNOWNXX", "not-the-secret-of-anybody-at-all", None)
    token = sign(nobody, **{"action": "DbConnectAdmin"} | arguments)
    with own.settings(dsql_iam__explain_denials="on"):
        mark = own.log_mark()
        with pytest.raises(psycopg.OperationalError) as raised:
            own.connect(role, token, **login)
        session = re.search(r"Session Id: (\w{26})", str(raised.value))[1]
        assert f" check={check} " in own.logged(f"session_id={session}", mark)
        # The last line that PostgreSQL writes of the refusal.
        until(lambda: f"DETAIL:  Session Id: {session}" in own.log_since(mark), "the refusal is logged")
    for text in [own.log_since(mark), str(raised.value)]:
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text), text
    assert len(own.log_since(mark)) < 4_000


def test_a_clock_a_little_ahead_is_forgiven(server):
    signed = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=4)
    server.connect("admin", sign(server.key("admin"), "DbConnectAdmin", at=signed)).close()


def test_scope_of_another_day(server):
    mark = server.log_mark()
    now = datetime.datetime.now(datetime.UTC)
    yesterday = (now - datetime.timedelta(days=1)).strftime("%Y%m%d")
    token = sign(server.key("admin"), "DbConnectAdmin", at=now, scope_date=yesterday)
    hint = ("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date: "
            f"'{yesterday}' != '{amz(now)[:8]}', from '{amz(now)}'.")
    error = server.refusal("admin", token)
    assert_refused(server, error, mark, "08006", hint, "credential_scope")


@pytest.mark.parametrize(("attributes", "reason", "check"), [
    ("LOGIN", f"{EXAMPLE_ARN} is not mapped to role refused (AWS IAM GRANT)", "mapping"),
    ("NOLOGIN", "role refused is not permitted to log in", "role"),
    ("LOGIN SUPERUSER", "role refused is a superuser", "role"),
    ("LOGIN PASSWORD 'hunter2'", f"{EXAMPLE_ARN} is not mapped to role refused (AWS IAM GRANT)",
     "mapping"),
])
def test_role(server, role, attributes, reason, check):
    name = role("refused", attributes)
    mark = server.log_mark()
    error = server.refusal(name, server.token("example"))
    assert_refused(server, error, mark, "28000", None, check, reason, SESSION)


@pytest.mark.parametrize(("change", "reason"), [
    ("NOLOGIN", "role refused_later is not permitted to log in"),
    ("SUPERUSER", "role refused_later is a superuser"),
    ("VALID UNTIL 'yesterday'", "role refused_later is past its VALID UNTIL"),
    ("VALID UNTIL '-infinity'", "role refused_later is past its VALID UNTIL"),
])
def test_mapped_role_that_became_another(server, role, admin, change, reason):
    name = role("refused_later")
    admin.execute(f"AWS IAM GRANT refused_later TO '{EXAMPLE_ARN}'")
    server.connect(name).close()
    server.execute(f"ALTER ROLE refused_later {change}")
    mark = server.log_mark()
    error = server.refusal(name, server.token("example"))
    assert_refused(server, error, mark, "28000", None, "role", reason, SESSION)


def test_mapped_role_that_became_a_member_of_a_superuser(server, role, admin):
    """At one remove or at two, as long as it is one."""
    name, between, over = role("refused_under"), role("refused_between"), role("refused_over")
    admin.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
    server.execute(f"GRANT {between} TO {name}", f"GRANT {over} TO {between}",
                   f"ALTER ROLE {over} SUPERUSER")
    mark = server.log_mark()
    error = server.refusal(name, server.token("example"))
    assert_refused(server, error, mark, "28000", None, "role",
                   "role refused_under is a member of a superuser", SESSION)
    server.execute(f"REVOKE {over} FROM {between}")
    server.connect(name).close()
    server.execute(f"GRANT {over} TO {name}")
    error = server.refusal(name, server.token("example"))
    assert (error.sqlstate, error.message, error.hint) == ("28000", DENIED, None)


def test_admin_that_became_a_member_of_a_superuser(own, role):
    over = role("refused_over", "SUPERUSER", on=own)
    own.execute(f"GRANT {over} TO admin")
    mark = own.log_mark()
    error = own.refusal("admin", own.token("admin"))
    assert_refused(own, error, mark, "28000", None, "role",
                   "role admin is a member of a superuser", DBA)
    own.execute(f"REVOKE {over} FROM admin")
    own.connect().close()


def test_superuser_gives_a_role_a_predefined_one(server, role, admin):
    """Which counts, but `admin` can map nobody to it."""
    name = role("refused_monitor")
    server.execute(f"GRANT pg_monitor TO {name}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
        admin.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
    assert raised.value.diag.message_primary == (
        f"permission denied to grant IAM trust with role {name}")
    assert raised.value.diag.message_detail == (
        'It is a member of "pg_monitor". Only superusers may map such roles.')
    server.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
    with server.connect(name) as connection:
        assert connection.execute(
            "SELECT pg_has_role('pg_monitor', 'usage')").fetchone() == (True,)


def test_a_superuser_is_not_to_be_granted(server, role, admin):
    """By PostgreSQL itself, in the words of each version."""
    over = role("refused_over", "SUPERUSER")
    for statement in (f"GRANT {over} TO admin", f"CREATE ROLE refused_new IN ROLE {over}",
                      f"ALTER GROUP {over} ADD USER admin", f"ALTER ROLE {over} PASSWORD 'x'",
                      f"ALTER ROLE {over} SET search_path = x"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
            admin.execute(statement)
        assert "dsql_iam" not in (raised.value.diag.message_detail or "")


# Nobody else becomes admin

@pytest.fixture
def member(server, role, admin):
    """A custom role that a superuser has made a member of `admin`."""
    name = role("refused_member")
    admin.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
    server.execute(f"GRANT admin TO {name}")
    return name


def test_a_member_of_admin_does_not_connect_as_admin(server, member):
    for options in ("-c role=admin", "-c ROLE=admin", "--role=admin"):
        with pytest.raises(psycopg.OperationalError) as raised:
            server.connect(member, options=options)
        assert 'permission denied to set role "admin"' in str(raised.value)
    with Wire(server) as wire:
        wire.start(user=member, role="admin").asked_for_password()
        wire.password(server.token("example").encode())
        message = wire.receive()
        while message[0] not in (b"E", b"Z"):
            message = wire.receive()
        assert message[0] == b"E"
        error = fields_of(message[1])
    assert (error["severity"], error["sqlstate"]) == ("FATAL", "42501")
    assert error["message"] == 'permission denied to set role "admin"'


def test_settings_of_a_member_of_admin_do_not_make_it_admin(server, member):
    """Not even those that a superuser has made."""
    for setting in (f"ALTER ROLE {member} SET role = admin",
                    f"ALTER ROLE {member} IN DATABASE postgres SET role = admin"):
        server.execute(setting)
        with server.connect(member) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (member,)


def test_a_member_of_admin_is_not_admin(server, member):
    with server.connect(member) as connection:
        for statement in ("SET ROLE admin", "SELECT set_config('role', 'admin', false)",
                          f"ALTER ROLE {member} SET role = admin"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
                connection.execute(statement)
            assert raised.value.diag.message_primary == 'permission denied to set role "admin"'
        assert connection.execute("SELECT current_user").fetchone() == (member,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as raised:
            connection.execute(f"AWS IAM GRANT {member} TO 'arn:aws:iam::{ACCOUNT}:user/other'")
        assert raised.value.diag.message_primary == (
            f"permission denied to grant IAM trust with role {member}")


def test_parallel_workers_of_admin(server):
    """They start with the setting that their leader has."""
    with server.connect() as admin:
        admin.execute("CREATE ROLE refused_worker")
        try:
            admin.execute("GRANT refused_worker TO admin")
            for leader in ("SET ROLE refused_worker", "SET ROLE admin", "RESET ROLE"):
                admin.execute(leader)
                name = "refused_worker" if leader.endswith("worker") else "admin"
                assert in_a_worker(admin) == (name,)
            admin.execute("RESET ROLE")
        finally:
            server.execute("DROP ROLE refused_worker")
    with server.superuser() as superuser:
        superuser.execute("SET ROLE admin")
        assert in_a_worker(superuser) == ("admin",)


def in_a_worker(connection):
    force = "debug_parallel_query" if connection.info.server_version >= 160000 else (
        "force_parallel_mode")
    connection.execute(f"SET {force} = on")
    plan = connection.execute("EXPLAIN (FORMAT JSON) SELECT max(relname), current_user FROM pg_class")
    assert "Gather" in str(plan.fetchone())
    row = connection.execute("SELECT current_user::text FROM pg_class GROUP BY 1").fetchone()
    connection.execute(f"RESET {force}")
    return row


def test_valid_until_that_is_not_over(server, role, admin):
    name = role("refused_valid")
    admin.execute(f"AWS IAM GRANT refused_valid TO '{EXAMPLE_ARN}'")
    for until in ("tomorrow", "infinity"):
        server.execute(f"ALTER ROLE refused_valid VALID UNTIL '{until}'")
        server.connect(name).close()


def assert_refused_as_by_postgresql(server, error, mark, sqlstate, message, session=SESSION):
    """In its words; and neither the log nor anybody else has it that somebody was let in."""
    assert (error.severity, error.sqlstate) == ("FATAL", sqlstate)
    assert (error.message, error.hint) == (message, None)
    session_id = SESSION_ID.fullmatch(error.detail)[1]
    line = server.logged(f"session_id={session_id}", mark)
    assert "dsql_iam: login refused: " in line
    assert f"check=server reason={json.dumps(message)}" in line
    assert f'principal="{session}"' in line
    assert "login admitted" not in server.log_since(mark)


def test_connection_limit(server, role, admin):
    name = role("refused_limit", "LOGIN CONNECTION LIMIT 2")
    admin.execute(f"AWS IAM GRANT refused_limit TO '{EXAMPLE_ARN}'")
    # As many as may be, and not one fewer.
    with server.connect(name), server.connect(name):
        mark = server.log_mark()
        error = server.refusal(name, server.token("example"))
        assert_refused_as_by_postgresql(
            server, error, mark, "53300", 'too many connections for role "refused_limit"')
    until(lambda: server.execute(
        f"SELECT 1 FROM pg_stat_activity WHERE usename = '{name}'") == [], "they are gone")
    server.execute(f"ALTER ROLE {name} CONNECTION LIMIT 0")
    assert server.refusal(name, server.token("example")).sqlstate == "53300"
    server.execute(f"ALTER ROLE {name} CONNECTION LIMIT -1")
    server.connect(name).close()


@pytest.mark.parametrize(("change", "undo", "sqlstate", "message"), [
    ("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC",
     "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
     "42501", 'permission denied for database "postgres"'),
    ("ALTER DATABASE postgres CONNECTION LIMIT 1", "ALTER DATABASE postgres CONNECTION LIMIT -1",
     "53300", 'too many connections for database "postgres"'),
    ("UPDATE pg_database SET datallowconn = false WHERE datname = 'postgres'",
     "UPDATE pg_database SET datallowconn = true WHERE datname = 'postgres'",
     "55000", 'database "postgres" is not currently accepting connections'),
])
def test_what_postgresql_would_refuse(own, role, change, undo, sqlstate, message):
    name = role("refused_connect", on=own)
    own.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    with own.superuser() as superuser:
        try:
            superuser.execute(change)
            mark = own.log_mark()
            error = own.refusal(name, own.token("example"))
            assert_refused_as_by_postgresql(own, error, mark, sqlstate, message)
        finally:
            superuser.execute(undo)
    own.connect(name).close()


def test_the_privilege_to_connect(own, role):
    """Of the role itself, or of one that it is a member of."""
    name, group = role("refused_connect", on=own), role("refused_group", on=own)
    own.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')",
                "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
    try:
        own.execute(f"GRANT CONNECT ON DATABASE postgres TO {group}", f"GRANT {group} TO {name}")
        own.connect(name).close()
        own.execute(f"REVOKE {group} FROM {name}")
        assert own.refusal(name, own.token("example")).sqlstate == "42501"
        # A principal without a mapping hears nothing of it.
        assert own.refusal(group, own.token("example")).sqlstate == "28000"
    finally:
        own.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC",
                    f"REVOKE CONNECT ON DATABASE postgres FROM {group}")


def test_reserved_connections(own, role):
    name = role("refused_reserved", on=own)
    own.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    words = ("roles with the SUPERUSER attribute" if own.version >= 16 else
             "non-replication superuser connections")
    with own.settings(restart=True, max_connections=10, superuser_reserved_connections=5,
                      max_wal_senders=0), contextlib.ExitStack() as open_ones:
        for _ in range(5):
            open_ones.enter_context(own.connect(name))
        mark = own.log_mark()
        error = own.refusal(name, own.token("example"))
        assert_refused_as_by_postgresql(
            own, error, mark, "53300", f"remaining connection slots are reserved for {words}")
        if own.version >= 16:
            open_ones.pop_all().close()
            own.execute("ALTER SYSTEM SET reserved_connections = 2")
            own.restart()
            for _ in range(3):
                open_ones.enter_context(own.connect(name))
            error = own.refusal(name, own.token("example"))
            assert error.sqlstate == "53300"
            assert error.message == ("remaining connection slots are reserved for roles with "
                                     'privileges of the "pg_use_reserved_connections" role')
            own.execute(f"GRANT pg_use_reserved_connections TO {name}")
            own.connect(name).close()
            own.execute("ALTER SYSTEM RESET reserved_connections")


def test_an_empty_password(server):
    mark = server.log_mark()
    error = server.refusal("admin", "")
    assert error.severity == "FATAL"
    assert error.sqlstate == "08P01"
    assert error.message == "invalid password packet size"
    assert error.hint is None
    session = SESSION_ID.fullmatch(error.detail)
    assert " check=protocol " in server.logged(f"session_id={session[1]}", mark)


def test_a_password_does_not_open_the_door(server, role):
    name = role("refused_password", "LOGIN PASSWORD 'hunter2'")
    mark = server.log_mark()
    assert_refused(server, server.refusal(name, "hunter2"), mark, "08006", NO_TOKEN, "token")


def test_without_tls_no_token_is_asked_for(server):
    mark = server.log_mark()
    with Wire(server, tls=False) as wire:
        # The first message back is the refusal: no AuthenticationCleartextPassword before it.
        error = wire.start().error()
    assert (error["severity"], error["sqlstate"]) == ("FATAL", "08P01")
    assert (error["message"], error["hint"]) == (TLS_MANDATORY, None)
    session = SESSION_ID.fullmatch(error["detail"])
    assert " check=tls " in server.logged(f"session_id={session[1]}", mark)


def test_without_tls_as_the_connectors_tests_have_it(server):
    """aurora-dsql-python-connector's `test_basic_connection_ssl_false` and `test_invalid_user_fails`."""
    # By default asyncpg tries again without TLS after 28000.
    for user, profile, tls in (("admin", "admin", False), ("no_such_role", "example", "prefer")):
        with pytest.raises(asyncpg.ProtocolViolationError) as raised:
            asyncio.run(server.asyncpg(user, server.token(profile), ssl=tls))
        assert raised.value.args[0] == TLS_MANDATORY


def test_the_fields_on_the_wire(server):
    with Wire(server) as wire:
        error = wire.start().asked_for_password().password(b"hunter2").error()
    assert SESSION_ID.fullmatch(error.pop("detail"))
    assert error == {"severity": "FATAL", "sqlstate": "08006", "message": DENIED,
                     "hint": NO_TOKEN, "position": None}


@pytest.mark.parametrize("mode", ["database", "true"])
def test_replication(own, role, mode):
    """A role that may replicate, is mapped, and has a good token: BASE_BACKUP would give it the documents.
    Whether the line for all databases lets it as far as the token, or a line of the user's own."""
    name = role("refused_walsender", "LOGIN REPLICATION", on=own)
    own.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    hba = own.data / "pg_hba.conf"
    lines = hba.read_text()
    try:
        own.write(hba, "host replication all all trust\n" + lines)
        own.restart()
        mark = own.log_mark()
        with Wire(own) as wire:
            wire.start(user=name, replication=mode)
            kind, body = wire.receive()
            assert (kind, body) == (b"R", b"\0\0\0\3")
            wire.password(own.token("example").encode())
            kind, body = wire.receive()
            assert kind == b"E"
            fields = fields_of(body)
            assert (fields["severity"], fields["sqlstate"]) == ("FATAL", "08006")
            assert fields["message"] == DENIED
            assert fields["hint"] is None
            assert wire.is_ended()
        line = own.logged("check=database", mark)
        assert f'role="{name}"' in line
        assert 'reason="database replication was asked for; there is only postgres"' in line
        # Without replication it gets in.
        own.connect(name).close()
    finally:
        own.write(hba, lines)
        own.restart()


# With identities of one's own

KEY = Key("AKIATESTTESTTESTTEST", "the-secret-of-the-identities-of-the-tests")
TEMPORARY = Key("ASIATESTTESTTESTTEST", "the-secret-of-the-session-of-the-tests",
                "the-session-token-of-the-session-of-the-tests")


def refused_with(own, documents, key, hint, check, principal, role="nobody", sqlstate="08006"):
    mark = own.log_mark()
    with own.documents(**documents):
        error = own.refusal(role, sign(key, "DbConnect" if role != "admin" else "DbConnectAdmin"))
    assert_refused(own, error, mark, sqlstate, hint(own) if callable(hint) else hint, check,
                   principal=principal)


# The refusals that take documents of their own; the tests of node and of Rust read them too.
TABLE = json.loads((WORKSPACE / "tests/refusals.json").read_text())


@pytest.mark.parametrize("refusal", TABLE["refusals"], ids=lambda refusal: refusal["case"])
def test_by_documents(own, refusal):
    document = TABLE["documents"][refusal["key"]]
    found = document.get("AccessKey") or document["Credentials"]
    key = Key(found["AccessKeyId"], found["SecretAccessKey"], found.get("SessionToken"))
    hint = refusal["hint"].replace("CLUSTER_ARN", own.cluster_arn)
    refused_with(own, TABLE["documents"], key, hint, refusal["check"], refusal["principal"])


def test_session_of_a_role_without_a_policy(own):
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/tester/s"
    refused_with(
        own, {"a": account(roles={"tester": []}), "k": assumed_role("tester", TEMPORARY)},
        TEMPORARY, not_allowed(arn, "dsql:DbConnect"), "policy", arn)


@pytest.mark.parametrize("status", ["Inactive", "Expired"])
def test_key_that_is_not_active(own, status):
    refused_with(
        own, {"a": account(users={"tester": [policy("dsql:*")]}),
              "k": access_key("tester", KEY, status)}, KEY, INVALID, "access_key", None)


def test_session_that_is_over(own):
    over = assumed_role("tester", TEMPORARY, expiration="2026-01-01T00:00:00+00:00")
    refused_with(
        own, {"a": account(roles={"tester": [policy("dsql:*")]}), "k": over}, TEMPORARY,
        "The security token included in the request is expired", "session", None)


def test_key_of_a_user_that_is_not_there(own):
    refused_with(own, {"k": access_key("tester", KEY)}, KEY, INVALID, "access_key", None)


def test_an_identity_that_is_ambiguous_is_nobodys_a_key_of_two_users(own):
    """A user of that name in another account takes the key away, and AccountId gives it back."""
    both = {"a": account(users={"tester": [policy("dsql:*")]}),
            "b": account(users={"tester": [policy("dsql:*")]}, number="999999999999")}
    key = access_key("tester", KEY)
    reason = (f"access key {KEY.id} belongs to user tester, and several accounts have one: its document has to say "
              "which, with AccountId")
    token = sign(KEY, "DbConnectAdmin")
    with own.documents(**both, k=key):
        mark = own.log_mark()
        assert_refused(own, own.refusal("admin", token), mark, "08006", INVALID, "access_key", reason)
    with own.documents(**both, k={"AccessKey": key["AccessKey"] | {"AccountId": ACCOUNT}}):
        own.connect("admin", token).close()


def test_an_identity_that_is_ambiguous_is_nobodys_a_unique_id_in_a_deny(own):
    """A Deny for somebody's unique id counts for whoever may have it."""
    known, other = "AIDACKCEVSQ6C2EXAMPLE", "AIDAOFSOMEBODYDELETED"
    arn = f"arn:aws:iam::{ACCOUNT}:user/tester"
    token = sign(KEY, "DbConnectAdmin")
    hint = (f"User: {arn} is not authorized to perform: dsql:DbConnectAdmin on resource: {own.cluster_arn} because no "
            "identity-based policy allows the dsql:DbConnectAdmin action")
    denied = hint.partition(" because ")[0] + " with an explicit deny in a resource-based policy"
    missing = hint.partition(" because ")[0] + f" because the UserId of {arn}, which a Deny may name, is in no document"
    for unique_id, listed, expected in [
            (known, known, (denied, denied)), (known, other, None), (None, other, (hint, missing))]:
        user = account(users={"tester": [policy("dsql:*")]})
        user["UserDetailList"][0].pop("UserId")
        if unique_id:
            user["UserDetailList"][0]["UserId"] = unique_id
        statement = {"Effect": "Deny", "Principal": {"AWS": listed}, "Action": "dsql:*", "Resource": "*"}
        based = {"policy": json.dumps({"Version": "2012-10-17", "Statement": [statement]}), "policyVersion": "1"}
        with own.documents(a=user, k=access_key("tester", KEY), p=based):
            checked = own.run("check").stdout
            assert (f"names the user with the id {listed}, and the documents do not have the UserId of " in checked) == (
                unique_id is None), checked
            if expected is None:
                own.connect("admin", token).close()
                continue
            mark = own.log_mark()
            assert_refused(own, own.refusal("admin", token), mark, "08006", expected[0], "policy", expected[1], arn)


def test_opaque_to_the_client_unless_told_otherwise(own):
    assert own.refusal("nobody", own.token("example")).detail.count("\n") == 0
    with own.settings(dsql_iam__explain_denials="on"):
        error = own.refusal("nobody", own.token("example"))
    first, reason = error.detail.split("\n")
    assert SESSION_ID.fullmatch(first)
    assert reason == "role nobody does not exist"


@pytest.mark.parametrize("statement", [
    "SELECT count(*) FROM sys.explain_token('admin', '{token}')",
    "DO $$ BEGIN PERFORM sys.explain_token('admin', '{token}'); END $$",
])
def test_what_is_loaded_is_logged_without_the_statement(own, statement):
    """It may hold a token, and it is not what the line is about."""
    token = own.token("admin")
    for documents, logged in [
        ({"further": account(users={"further": []})}, "dsql_iam: loaded "),
        ({"further": {"broken": True}}, "the identities loaded before stay in force"),
    ]:
        mark = own.log_mark()
        with own.documents(**documents):
            own.execute("SET log_min_error_statement = debug5; " + statement.format(token=token))
            own.logged(logged, mark)
        for line in own.log_since(mark).splitlines():
            assert "X-Amz-" not in line, line[:200]


def test_no_secret_is_in_any_log():
    """Runs when all other tests have (conftest.py)."""
    assert len(SECRETS) > 30
    assert SERVERS
    logs = [server.log_since(mark) for server, mark in SERVERS]
    assert any("login refused" in log and "login admitted" in log for log in logs)
    for log in logs:
        assert not [secret for secret in SECRETS if secret in log]
        assert not re.search(r"X-Amz-(Signature|Security-Token)=", log)


def test_only_who_is_let_in_is_logged_as_authenticated(server):
    mark = server.log_mark()

    def authenticated(pid):
        return [line for line in server.log_since(mark).splitlines()
                if f"[{pid}]" in line and "connection authenticated" in line]
    session = SESSION_ID.fullmatch(server.refusal("admin", "hunter2").detail)[1]
    pid = re.search(r"\[(\d+)\]", server.logged(f"session_id={session}", mark))[1]
    assert authenticated(pid) == []
    with server.connect() as admin:
        line, = authenticated(admin.info.backend_pid)
    assert line.endswith(f'connection authenticated: identity="{DBA}" method=dsql_iam')
