"""Whatever is missing or broken, nobody comes in who did not come in before."""

import contextlib
import functools
import json
import os

import psycopg
import pytest

from support import (
    ACCOUNT, DENIED, EXAMPLE_ARN, SESSION_ID, Key, Wire, access_key, account, policy, sign, until,
)

KEY = Key("AKIACLOSEDCLOSEDCLOS", "the-secret-of-the-user-who-comes-and-goes")
USER_ARN = f"arn:aws:iam::{ACCOUNT}:user/closed"


@pytest.fixture(autouse=True)
def as_before(own):
    """Each test leaves a server that works."""
    yield
    own.connect().close()


@pytest.fixture
def mapped(own, role):
    name = role("closed", "LOGIN PASSWORD 'hunter2'", on=own)
    own.execute(f"AWS IAM GRANT closed TO '{EXAMPLE_ARN}'",
                f"AWS IAM GRANT closed TO '{USER_ARN}'")
    return name


def assert_denied(own, role="admin", token=None, check="configuration"):
    mark = own.log_mark()
    error = own.refusal(role, token or own.token("admin"))
    assert (error.sqlstate, error.message, error.hint) == ("08006", DENIED, None)
    session = SESSION_ID.fullmatch(error.detail)
    line = own.logged(f"session_id={session[1]}", mark)
    assert f" check={check} " in line
    return line


@contextlib.contextmanager
def replaced(own, path, text, mode=0o600):
    """A file with another content for a while."""
    before = path.read_text()
    own.write(path, text, mode)
    try:
        yield
    finally:
        own.write(path, before)


# The library and the hba file

def test_without_the_library(own, mapped):
    with own.settings(shared_preload_libraries="plpgsql", restart=True):
        assert own.execute("SHOW shared_preload_libraries") == [("plpgsql",)]
        assert own.execute("SHOW hba_file") == [(str(own.data / "pg_hba.conf"),)]
        assert not own.execute("SELECT 1 FROM pg_hba_file_rules WHERE auth_method = 'trust'")
        for tls in (True, False):
            for role in ("admin", mapped, "postgres"):
                with Wire(own, tls) as wire:
                    error = wire.start(role).error()
                assert error["sqlstate"] == "28000"
                assert error["message"].startswith("no pg_hba.conf entry for host ")
        with own.superuser() as superuser, pytest.raises(psycopg.Error):
            superuser.execute(f"AWS IAM GRANT closed TO '{EXAMPLE_ARN}'")
    assert own.execute("SHOW hba_file") == [(str(own.data / "dsql_iam_hba.conf"),)]
    own.connect(mapped).close()


def test_without_the_library_it_cannot_be_loaded(own):
    with own.settings(shared_preload_libraries="plpgsql", restart=True):
        with own.superuser() as superuser, pytest.raises(psycopg.Error) as raised:
            superuser.execute("LOAD 'dsql_iam'")
    diagnosis = raised.value.diag
    assert diagnosis.sqlstate == "55000"
    assert diagnosis.message_primary == "dsql_iam has to be loaded when the server starts"
    assert diagnosis.message_hint == (
        "Add dsql_iam to shared_preload_libraries and restart the server.")


def test_no_backtrace_reaches_a_client(own, mapped, monkeypatch):
    """Some shells and CI systems set RUST_BACKTRACE for whatever is started in them."""
    monkeypatch.setenv("RUST_BACKTRACE", "1")
    own.restart()
    monkeypatch.delenv("RUST_BACKTRACE")
    assert SESSION_ID.fullmatch(own.refusal("admin", "hunter2").detail)
    # An error of PostgreSQL's own that passes through ours.
    with own.connect() as connection, pytest.raises(psycopg.Error) as raised:
        connection.execute("SET default_transaction_read_only = on")
        connection.execute(f"AWS IAM REVOKE closed FROM '{EXAMPLE_ARN}'")
    assert raised.value.diag.sqlstate == "25006"
    assert raised.value.diag.message_detail is None
    own.restart()


def test_without_the_syntax(own, mapped):
    with own.settings(dsql_iam__install_syntax="off", restart=True), own.connect() as admin:
        with pytest.raises(psycopg.errors.SyntaxError) as raised:
            admin.execute(f"AWS IAM REVOKE closed FROM '{EXAMPLE_ARN}'")
        assert raised.value.diag.message_primary == 'syntax error at or near "AWS"'
        assert raised.value.diag.statement_position == "1"
        admin.execute(f"SELECT sys.iam_revoke('closed', '{EXAMPLE_ARN}')")
        assert own.refusal(mapped, own.token("example")).sqlstate == "28000"
        admin.execute(f"SELECT sys.iam_grant('closed', '{EXAMPLE_ARN}')")
        own.connect(mapped).close()
        with pytest.raises(psycopg.errors.DuplicateObject):
            admin.execute(f"SELECT sys.iam_grant('closed', '{EXAMPLE_ARN}')")


def test_manage_hba_off(own, mapped):
    with own.settings(dsql_iam__manage_hba="off", restart=True):
        assert own.execute("SHOW hba_file") == [(str(own.data / "pg_hba.conf"),)]
        for role in ("admin", mapped):
            with Wire(own) as wire:
                assert wire.start(role).error()["sqlstate"] == "28000"
        # The user's own line for IAM connections.
        hba = own.data / "pg_hba.conf"
        with replaced(own, hba, hba.read_text() + "hostssl postgres all all trust\n"):
            own.reload()
            own.connect(mapped).close()
            assert own.refusal(mapped, "hunter2").sqlstate == "08006"
            assert own.refusal("postgres", own.token("example")).sqlstate == "28000"
        own.reload()


def test_lines_of_the_user_arrive_on_reload(own):
    hba = own.data / "pg_hba.conf"

    def local():
        with contextlib.closing(psycopg.connect(own.conninfo, dbname="template1", user="admin",
                                                password="", sslmode="disable")):
            return True
    with pytest.raises(psycopg.OperationalError):
        local()
    with replaced(own, hba, "local template1 admin trust\n" + hba.read_text()):
        own.reload()
        assert local()
        # Over TCP nothing has become wider.
        assert own.refusal("admin", "hunter2").sqlstate == "08006"
    own.reload()
    with pytest.raises(psycopg.OperationalError):
        local()


def test_a_host_line_of_the_user_opens_nothing(own):
    hba = own.data / "pg_hba.conf"
    with replaced(own, hba, "host all all all trust\n" + hba.read_text()):
        own.reload()
        with Wire(own) as wire:
            assert wire.start().asked_for_password().password(b"x").error()["sqlstate"] == "08006"
    own.reload()


LINKED = ("linked_clusters must be a list of ID@REGION, each of another id and region than the cluster's and the "
          'others\', not "{}".')


@pytest.mark.parametrize(("setting", "value", "detail"), [
    ("account_id", "1", 'account_id must be twelve digits, not "1".'),
    ("region", "Frankfurt", 'region must look like "us-east-1", not "Frankfurt".'),
    ("cluster_id", "mine", 'cluster_id must be 26 characters of a-z and 0-9, not "mine".'),
    ("endpoints", "good.example, a b", 'endpoints must be a list of host names, not "a b".'),
    ("linked_clusters", "mine@us-west-2", LINKED.format("mine@us-west-2")),
    ("linked_clusters", f"{'b' * 26}@us-west-2, {'c' * 26}@us-west-2",
     LINKED.format(f"{'c' * 26}@us-west-2")),
    ("exempt_roles", "dba, /.*", 'dsql_iam.exempt_roles holds a name that an hba file cannot hold: "/.*".'),
])
def test_a_malformed_value_is_refused_at_once(own, setting, value, detail):
    with own.superuser() as superuser, pytest.raises(psycopg.errors.InvalidParameterValue) as raised:
        superuser.execute(f"ALTER SYSTEM SET dsql_iam.{setting} = '{value}'")
    assert raised.value.diag.message_primary == f'invalid value for parameter "dsql_iam.{setting}": "{value}"'
    assert raised.value.diag.message_detail == detail
    # None at all is no fault, but a cluster that nobody logs in to.
    own.execute(f"ALTER SYSTEM SET dsql_iam.{setting} = ''", f"ALTER SYSTEM RESET dsql_iam.{setting}")


MALFORMED = [
    ("account_id", ""), ("account_id", "12345678912"), ("account_id", "0123456789ab"),
    ("region", ""), ("region", "moon"), ("region", "us-east-1 "),
    ("cluster_id", ""), ("cluster_id", "short"), ("cluster_id", "A" * 26),
    ("endpoints", "a b"),
    # The second is the region of the cluster itself.
    ("linked_clusters", "a@b"), ("linked_clusters", f"{'b' * 26}@us-east-1"),
]


@pytest.mark.parametrize(("setting", "value", "restart"), [
    *((*case, False) for case in MALFORMED), ("account_id", "1", True), ("endpoints", "a b", True)])
def test_a_malformed_value_in_a_file_lets_nobody_in(own, setting, value, restart):
    """Neither the value before nor the default is in force instead; and the server works for others."""
    path = own.data / "postgresql.auto.conf"
    apply = own.restart if restart else own.reload
    with replaced(own, path, path.read_text() + f"dsql_iam.{setting} = '{value}'\n"):
        apply()
        assert f"dsql_iam is not configured: {setting} must " in assert_denied(own)
        with own.superuser() as superuser:
            assert superuser.execute(f"SHOW dsql_iam.{setting}").fetchone() == (value,)
            forced = "debug_parallel_query" if own.version >= 16 else "force_parallel_mode"
            superuser.execute(f"SET {forced} = on")
            assert superuser.execute("SELECT count(*) > 0 FROM pg_class").fetchone() == (True,)
    apply()


def test_a_session_in_a_transaction_reads_a_malformed_value_too(own):
    path = own.data / "postgresql.auto.conf"
    with own.superuser() as superuser, superuser.transaction():
        shown = functools.partial(superuser.execute, "SHOW dsql_iam.region")
        before = shown().fetchone()
        with replaced(own, path, path.read_text() + "dsql_iam.region = 'moon'\n"):
            own.reload()
            until(lambda: shown().fetchone() == ("moon",), "read")
        own.reload()
        until(lambda: shown().fetchone() == before, "read")


def test_exempt_roles(own, role, mapped):
    exempt = role("closed_exempt", "LOGIN PASSWORD 'hunter2'", on=own)
    own.execute(f"AWS IAM GRANT closed_exempt TO '{EXAMPLE_ARN}'")
    assert own.refusal(exempt, "hunter2").sqlstate == "08006"
    with own.settings(dsql_iam__exempt_roles="'closed_exempt, nobody'", restart=True):
        own.connect(exempt, "hunter2").close()
        for password in (own.token("example"), "hunter3"):
            error = own.refusal(exempt, password)
            assert error.sqlstate == "28P01"
        assert own.refusal(mapped, "hunter2").sqlstate == "08006"
        own.connect(mapped).close()
        assert own.notices(f"AWS IAM GRANT closed_exempt TO '{USER_ARN}'",
                           f"AWS IAM GRANT {mapped} TO '{USER_ARN}2'") == [(
            'role "closed_exempt" is listed in dsql_iam.exempt_roles',
            "It logs in with its password, and tokens are not taken for it.",
            "To have it log in with a token, take it out of that setting, and restart the server.")]
    assert own.refusal(exempt, "hunter2").sqlstate == "08006"


def test_require_tls_off(own):
    with own.settings(dsql_iam__require_tls="off"):
        with Wire(own, tls=False) as wire:
            assert wire.start().asked_for_password().password(b"x").error()["sqlstate"] == "08006"
        own.connect(sslmode="disable").close()


# The settings

def test_another_cluster(own):
    """A token for one cluster is none for another."""
    endpoint = own.variables["DSQL_ENDPOINT"]
    token = own.token("admin", hostname=endpoint)
    own.connect(password=token).close()
    with own.settings(dsql_iam__cluster_id=f"'{'z' * 26}'"):
        assert own.refusal("admin", token).sqlstate == "08006"
    with own.settings(dsql_iam__endpoints="'db.example.test'"):
        own.connect(password=own.token("admin", hostname="db.example.test")).close()
    assert own.refusal("admin", own.token("admin", hostname="db.example.test")).sqlstate == "08006"


# The IAM directory

@pytest.mark.parametrize("value", ["/nonexistent", "nonexistent", "/etc/passwd"])
def test_directory_that_is_not_there(own, value):
    """From the start on: there is nothing that was loaded before."""
    with own.settings(dsql_iam__iam_directory=f"'{value}'", restart=True):
        assert_denied(own, check="identities")


def test_directory_without_documents(own):
    empty = own.data / "empty_iam"
    empty.mkdir()
    os.chown(empty, own.data.stat().st_uid, own.data.stat().st_gid)
    try:
        with own.settings(dsql_iam__iam_directory="'empty_iam'", restart=True):
            error = own.refusal("admin", own.token("admin"))
            assert (error.sqlstate, error.message) == ("08006", DENIED)
    finally:
        empty.rmdir()


def test_directory_that_cannot_be_read(own):
    mode = own.iam.stat().st_mode
    own.iam.chmod(0)
    try:
        own.restart()
        assert_denied(own, check="identities")
    finally:
        own.iam.chmod(mode)
    # Mended without a restart.
    own.connect().close()
    own.restart()


def test_changes_are_seen_by_the_next_connection(own, mapped):
    token = sign(KEY, "DbConnect")
    document = account(users={"closed": [policy("dsql:DbConnect")]})
    assert own.refusal(mapped, token).sqlstate == "08006"
    with own.documents(a=document, k=access_key("closed", KEY)):
        assert own.admits(mapped, token)
        own.write(own.iam / "k.json", json.dumps(
            access_key("closed", KEY, status="Inactive")))
        assert not own.admits(mapped, token)
        own.write(own.iam / "k.json", json.dumps(access_key("closed", KEY)))
        assert own.admits(mapped, token)
    assert not own.admits(mapped, token)


@pytest.mark.parametrize(("text", "fault"), [
    ('{\n  "AccessKey": {\n    "UserName" "x"\n  }\n}', "expected `:` at line 3 column 16"),
    ("", "EOF while parsing a value at line 1 column 0"),
    ("{}", "not the output of get-account-authorization-details, create-access-key, "
           "assume-role, get-session-token, get-cluster-policy, get-cluster, describe-policy, "
           "get-open-id-connect-provider, create-virtual-mfa-device, list-virtual-mfa-devices or list-mfa-devices, nor "
           "ContextEntries, nor the keys of an identity provider"),
])
def test_broken_document(own, mapped, text, fault):
    """The documents before stay in force, and the fault is named, until it is mended."""
    path = own.iam / "zz-broken.json"
    mark = own.log_mark()
    own.write(path, text)
    try:
        own.connect().close()
        own.connect(mapped).close()
        line = own.logged("the identities loaded before stay in force", mark)
        assert f'dsql_iam: "{path}": {fault}' in line
        assert own.refusal("admin", sign(KEY, "DbConnectAdmin")).sqlstate == "08006"
        own.write(path, json.dumps(access_key("closed", KEY)))
        with own.documents(a=account(users={"closed": [policy("dsql:DbConnect")]})):
            assert own.admits(mapped, sign(KEY, "DbConnect"))
    finally:
        path.unlink()


def test_broken_document_at_the_start(own):
    path = own.iam / "zz-broken.json"
    own.write(path, "{")
    try:
        own.restart()
        error = own.refusal("admin", own.token("admin"))
        assert (error.sqlstate, error.message, error.hint) == ("08006", DENIED, None)
    finally:
        path.unlink()
    own.connect().close()
    own.restart()


def test_a_deny_in_a_broken_document_that_was_fine_stays(own, mapped):
    token = sign(KEY, "DbConnect")
    denied = account(users={"closed": [policy("dsql:*"), policy("dsql:*", effect="Deny")]})
    with own.documents(a=denied, k=access_key("closed", KEY)):
        assert not own.admits(mapped, token)
        own.reload()
        own.write(own.iam / "a.json", "{")
        assert not own.admits(mapped, token)


def test_secret_that_others_can_read(own):
    path = own.iam / "zz-exposed.json"
    mark = own.log_mark()
    own.write(path, json.dumps(access_key("dba", KEY)), mode=0o644)
    try:
        assert own.refusal("admin", sign(KEY, "DbConnectAdmin")).hint == (
            "The security token included in the request is invalid.")
        line = own.logged("holds a secret", mark)
        assert f'"{path}" holds a secret but has mode 0644; it must be 0600' in line
        path.chmod(0o600)
        assert own.admits("admin", sign(KEY, "DbConnectAdmin"))
    finally:
        path.unlink()


HERE = {"IpAddress": {"aws:SourceIp": ["127.0.0.0/8", "::1/128"]}}
ELSEWHERE = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}


@pytest.mark.parametrize(("policies", "is_admitted"), [
    ([policy("dsql:DbConnect", Condition=HERE)], True),
    ([policy("dsql:DbConnect", Condition=ELSEWHERE)], False),
    ([policy("dsql:DbConnect"), policy("dsql:DbConnect", effect="Deny", Condition=HERE)], False),
    ([policy("dsql:DbConnect"), policy("dsql:DbConnect", effect="Deny", Condition=ELSEWHERE)],
     True),
    ([policy("dsql:DbConnect", Condition={
        "Bool": {"aws:SecureTransport": "true"},
        "StringEquals": {"aws:username": "closed", "aws:RequestedRegion": "us-east-1"}})], True),
    ([policy("dsql:DbConnect", Condition={"StringEquals": {"aws:SourceVpc": "vpc-1"}})], False),
], ids=["allow, met", "allow, not met", "deny, met", "deny, not met", "allow, several",
        "allow, key not known"])
def test_conditions(own, mapped, policies, is_admitted):
    with own.documents(a=account(users={"closed": policies}), k=access_key("closed", KEY)):
        assert own.admits(mapped, sign(KEY, "DbConnect")) == is_admitted


def test_a_condition_operator_that_is_none_keeps_the_change_out(own, mapped):
    mark = own.log_mark()
    unknown = policy("dsql:DbConnect", Condition={"NoSuchOperator": {"aws:SourceIp": "::1"}})
    with own.documents(a=account(users={"closed": [unknown]}), k=access_key("closed", KEY)):
        assert own.refusal(mapped, sign(KEY, "DbConnect")).sqlstate == "08006"
        assert 'unknown condition operator "NoSuchOperator"' in own.logged(
            "the identities loaded before stay in force", mark)
        own.connect(mapped).close()


def test_a_key_of_a_name_that_two_accounts_have_is_nobodys(own):
    """AWS's document of a key names the user alone; only what says the account too opens something then."""
    token = own.token("admin")
    path = own.iam / "dba-access-key.json"
    document = json.loads(path.read_text())
    name = document["AccessKey"]["UserName"]
    other = own.iam / "other-account.json"
    own.write(other, json.dumps(account({name: []}, number="999999999999")))
    try:
        mark = own.log_mark()
        error = own.refusal("admin", token)
        assert (error.sqlstate, error.message) == ("08006", DENIED)
        assert error.hint == "The security token included in the request is invalid."
        session = SESSION_ID.fullmatch(error.detail)
        line = own.logged(f"session_id={session[1]}", mark)
        assert " check=access_key " in line and f"user {name}" in line
        for number, admitted in ("999999999999", False), (ACCOUNT, True):
            document["AccessKey"]["AccountId"] = number
            with replaced(own, path, json.dumps(document)):
                if admitted:
                    assert own.admits("admin", token)
                else:
                    assert own.refusal("admin", token).sqlstate == "08006"
    finally:
        other.unlink()
