"""Python's clients and psql, unmodified: each logs in as `admin` and as a custom role, makes the
mapping through its own connection, and shows what it makes of a refusal.

The server sends all clients the same for a refused login; their users do not see the same. A client
made on libpq has one text with the message, the DETAIL and the HINT in it, and no SQLSTATE, since libpq
keeps none of a connection that did not come about. asyncpg has each field by itself. AWS's connectors
pass on what the driver under them says.

AWS's connectors want the cluster's own name. Where they use libpq it leads here with `hostaddr`;
for asyncpg, `endpoint` does what a line in /etc/hosts would.
"""

import asyncio
import contextlib
import datetime
import os
import re
import shutil
import socket
import subprocess

import asyncpg
import aurora_dsql_asyncpg
import aurora_dsql_psycopg
import aurora_dsql_psycopg2
import botocore.auth
import botocore.signers
import psycopg
import psycopg2
import pytest
import sqlalchemy
from aurora_dsql_sqlalchemy import create_dsql_engine

from support import ACCOUNT, DENIED, EXAMPLE_ARN, SESSION_ID


@pytest.fixture(autouse=True)
def endpoint(server, monkeypatch):
    """The cluster's name, which leads here as a line in /etc/hosts would make it."""
    name = f"{server.cluster_id}.dsql.us-east-1.on.aws"
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *arguments, **options: resolve(
        "localhost" if host == name else host, *arguments, **options))
    return name


# The fields of a server's error that a client's user sees, by name; None for one that the
# client does not show.


def text_fields(text):
    """Of the text that libpq and psql make of an error."""
    found = re.search(r"(?:FATAL|ERROR):  (?:(?P<sqlstate>[0-9A-Z]{5}): )?(?P<message>.*)"
                      r"(?:\nDETAIL:  (?P<detail>.*))?(?:\nHINT:  (?P<hint>.*))?", text)
    assert found, text
    return found.groupdict()


def psycopg_fields(error):
    if error.sqlstate is None:
        return text_fields(str(error))
    return {"sqlstate": error.sqlstate, "message": error.diag.message_primary,
            "detail": error.diag.message_detail, "hint": error.diag.message_hint}


def psycopg2_fields(error):
    if error.pgcode is None:
        return text_fields(str(error))
    return {"sqlstate": error.pgcode, "message": error.diag.message_primary,
            "detail": error.diag.message_detail, "hint": error.diag.message_hint}


def asyncpg_fields(error):
    return {"sqlstate": error.sqlstate, "message": error.message, "detail": error.detail,
            "hint": error.hint}


class Failed(Exception):
    """psql ended with an error; the argument is what it wrote."""


# Each client is a function that gives, while a connection is open, a function that runs a statement
# in it and returns the first row.


def verified(server, user, **more):
    """The parameters that libpq needs to connect, in whichever driver."""
    return {"host": "localhost", "port": server.port, "user": user, "dbname": "postgres",
            "sslmode": "verify-full", "sslrootcert": server.authority} | more


def token(server, user, profile):
    return server.token(profile, admin=user == "admin")


@contextlib.contextmanager
def by_psql(server, endpoint, user, profile):
    words = " ".join(f"{name}='{value}'" for name, value in verified(server, user).items())

    def run(statement):
        environment = os.environ | {"PGPASSWORD": token(server, user, profile), "PSQLRC": ""}
        done = subprocess.run(
            [server.bin / "psql", "--dbname", words, "--no-psqlrc", "--quiet", "--tuples-only",
             "--no-align", "--set", "ON_ERROR_STOP=1", "--set", "VERBOSITY=verbose",
             "--command", statement],
            env=environment, text=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise Failed(done.stderr)
        return tuple(done.stdout.splitlines()[:1])
    # It has no connection before it has something to do.
    run("SELECT 1")
    yield run


@contextlib.contextmanager
def psycopg_session(connection):
    def run(statement):
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else ()
    with connection:
        yield run


def by_psycopg(server, endpoint, user, profile):
    return psycopg_session(psycopg.connect(
        **verified(server, user), password=token(server, user, profile), autocommit=True))


@contextlib.contextmanager
def psycopg2_session(connection):
    connection.autocommit = True

    def run(statement):
        cursor = connection.cursor()
        cursor.execute(statement)
        return cursor.fetchone() if cursor.description else ()
    with contextlib.closing(connection):
        yield run


def by_psycopg2(server, endpoint, user, profile):
    return psycopg2_session(psycopg2.connect(
        **verified(server, user), password=token(server, user, profile)))


@contextlib.contextmanager
def asyncpg_session(connecting):
    with asyncio.Runner() as runner:
        connection = runner.run(connecting)
        try:
            yield lambda statement: tuple(runner.run(connection.fetchrow(statement)) or ())
        finally:
            runner.run(connection.close())


def by_asyncpg(server, endpoint, user, profile):
    return asyncpg_session(server.asyncpg(user, token(server, user, profile)))


@contextlib.contextmanager
def engine_session(engine):
    with engine.connect() as connection:
        def run(statement):
            result = connection.execute(sqlalchemy.text(statement))
            row = tuple(result.first()) if result.returns_rows else ()
            connection.commit()
            return row
        yield run
    engine.dispose()


def by_sqlalchemy(driver):
    def connect(server, endpoint, user, profile):
        engine = sqlalchemy.create_engine(
            f"postgresql+{driver}://", connect_args=verified(server, user))

        # SQLAlchemy's own way to a token for each new connection.
        @sqlalchemy.event.listens_for(engine, "do_connect")
        def provide_token(dialect, record, arguments, parameters):
            parameters["password"] = token(server, user, profile)
        return engine_session(engine)
    return connect


def for_connector(server, endpoint, user, profile):
    return verified(server, user, host=endpoint, profile=profile)


def by_psycopg_connector(server, endpoint, user, profile):
    return psycopg_session(aurora_dsql_psycopg.connect(
        **for_connector(server, endpoint, user, profile), hostaddr="127.0.0.1", autocommit=True))


def by_psycopg2_connector(server, endpoint, user, profile):
    return psycopg2_session(aurora_dsql_psycopg2.connect(
        **for_connector(server, endpoint, user, profile), hostaddr="127.0.0.1"))


def by_asyncpg_connector(server, endpoint, user, profile):
    parameters = for_connector(server, endpoint, user, profile)
    return asyncpg_session(aurora_dsql_asyncpg.connect(**parameters))


def by_dsql_engine(driver, library_version):
    def connect(server, endpoint, user, profile):
        if server.version < 17 and library_version() >= 170000:
            pytest.skip("the dialect asks for direct TLS, which PostgreSQL has from 17 on")
        return engine_session(create_dsql_engine(
            endpoint, user, driver, sslrootcert=server.authority,
            connect_args={"port": server.port, "hostaddr": "127.0.0.1", "profile": profile}))
    return connect


def by_dialect(driver, connector):
    """The way round missing direct TLS: the dialect, and a connector for it."""
    def connect(server, endpoint, user, profile):
        parameters = for_connector(server, endpoint, user, profile) | {"hostaddr": "127.0.0.1"}
        return engine_session(sqlalchemy.create_engine(
            f"auroradsql+{driver}://", creator=lambda: connector.connect(**parameters)))
    return connect


def of_engine(fields):
    return lambda error: fields(error.orig)


# The client, how its errors are read, and whether a refused login has a SQLSTATE.
CLIENTS = {
    "psql": (by_psql, lambda error: text_fields(str(error)), False),
    "psycopg": (by_psycopg, psycopg_fields, False),
    "psycopg2": (by_psycopg2, psycopg2_fields, False),
    "asyncpg": (by_asyncpg, asyncpg_fields, True),
    "sqlalchemy psycopg": (by_sqlalchemy("psycopg"), of_engine(psycopg_fields), False),
    "sqlalchemy psycopg2": (by_sqlalchemy("psycopg2"), of_engine(psycopg2_fields), False),
    "connector psycopg": (by_psycopg_connector, psycopg_fields, False),
    "connector psycopg2": (by_psycopg2_connector, psycopg2_fields, False),
    "connector asyncpg": (by_asyncpg_connector, asyncpg_fields, True),
    "dsql sqlalchemy psycopg": (
        by_dsql_engine("psycopg", psycopg.pq.version), of_engine(psycopg_fields), False),
    "dsql sqlalchemy psycopg2": (
        by_dsql_engine("psycopg2", psycopg2.extensions.libpq_version),
        of_engine(psycopg2_fields), False),
    "dsql dialect psycopg": (
        by_dialect("psycopg", aurora_dsql_psycopg), of_engine(psycopg_fields), False),
    "dsql dialect psycopg2": (
        by_dialect("psycopg2", aurora_dsql_psycopg2), of_engine(psycopg2_fields), False),
}
ERRORS = (Failed, psycopg.Error, psycopg2.Error, asyncpg.PostgresError,
          sqlalchemy.exc.DBAPIError)


@pytest.fixture(params=CLIENTS)
def client(request):
    return CLIENTS[request.param]


@pytest.fixture
def mapped(server, role):
    """A custom role of the principal of the profile `example`."""
    name = role("client")
    server.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    return name


def test_logins_and_grant(server, endpoint, role, client):
    connect, fields, _ = client
    name = role("client")
    grant = f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'"
    with connect(server, endpoint, "admin", "admin") as run:
        assert run("SELECT current_user::text") == ("admin",)
        run(grant)
        with pytest.raises(ERRORS) as raised:
            run(grant)
        error = fields(raised.value)
        assert (error["sqlstate"], error["message"]) == (
            "42710", f"IAM role {EXAMPLE_ARN} is already granted to role {name}")
    with connect(server, endpoint, name, "example") as run:
        assert run("SELECT current_user::text") == (name,)
        assert run("SELECT sys.iam_session_user()") == (
            f"arn:aws:sts::{ACCOUNT}:assumed-role/example/local",)
    with connect(server, endpoint, "admin", "admin") as run:
        run(f"AWS IAM REVOKE {name} FROM '{EXAMPLE_ARN}'")
    # The last row of the refusals: no HINT.
    assert_refused(server, endpoint, client, name, "example", "28000", None)


def assert_refused(server, endpoint, client, user, profile, sqlstate, hint):
    """`hint` is an expression, or None if there has to be none."""
    connect, fields, has_sqlstate = client
    with pytest.raises(ERRORS) as raised, connect(server, endpoint, user, profile):
        pass
    error = fields(raised.value)
    assert error["sqlstate"] == (sqlstate if has_sqlstate else None)
    assert error["message"] == DENIED
    assert SESSION_ID.fullmatch(error["detail"])
    if hint is None:
        assert error["hint"] is None
    else:
        assert re.fullmatch(hint, error["hint"])


def test_expired_token(server, endpoint, client, monkeypatch):
    """AWS's signer is told that it is an hour earlier; what uses it is left as it is."""
    now = botocore.auth.get_current_datetime
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime",
        lambda *arguments, **options: now(*arguments, **options) - datetime.timedelta(hours=1))
    hint = r"Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - .*\)"
    assert_refused(server, endpoint, client, "admin", "admin", "08006", hint)


@pytest.fixture
def other_action(monkeypatch):
    """AWS's signer signs for the other action. The connectors choose the one that fits the user, so
    they never come to it by themselves."""
    generate = botocore.signers._dsql_generate_db_auth_token
    other = {"DbConnect": "DbConnectAdmin", "DbConnectAdmin": "DbConnect"}
    monkeypatch.setattr(
        botocore.signers, "_dsql_generate_db_auth_token",
        lambda self, host, action, *arguments, **options:
            generate(self, host, other[action], *arguments, **options))


def test_admin_with_the_action_of_custom_roles(server, endpoint, client, other_action):
    hint = r"Wrong user to action mapping\. user: admin, action: DbConnect"
    assert_refused(server, endpoint, client, "admin", "admin", "08006", hint)


def test_custom_role_with_the_action_of_admin(server, endpoint, client, mapped, other_action):
    hint = rf"Wrong user to action mapping\. user: {mapped}, action: DbConnectAdmin"
    assert_refused(server, endpoint, client, mapped, "example", "08006", hint)


def test_no_policy(server, endpoint, client, mapped):
    hint = (f"User: arn:aws:iam::{ACCOUNT}:user/visitor is not authorized to perform: "
            f"dsql:DbConnect on resource: {server.cluster_arn} "
            "because no identity-based policy allows the dsql:DbConnect action")
    assert_refused(server, endpoint, client, mapped, "denied", "08006", re.escape(hint))


# Trust


@pytest.mark.skipif(not shutil.which("update-ca-certificates"),
                    reason="update-ca-certificates is Debian's")
@pytest.mark.skipif(psycopg.pq.version() < 160000, reason="sslrootcert=system is libpq 16's")
def test_the_systems_store(server, tmp_path, monkeypatch):
    """As docs/connect.md has it, with a store that is not this machine's."""
    local, store, hooks = (tmp_path / name for name in ("local", "store", "hooks"))
    for folder in (local, store, hooks):
        folder.mkdir()
    # OpenSSL's place of the system's store.
    monkeypatch.setenv("SSL_CERT_DIR", str(store))
    monkeypatch.setenv("SSL_CERT_FILE", str(store / "ca-certificates.crt"))
    monkeypatch.delenv("PGSSLROOTCERT", raising=False)

    def update():
        subprocess.run(["update-ca-certificates", "--localcertsdir", local, "--etccertsdir", store,
                        "--hooksdir", hooks], check=True, capture_output=True)

    def log_in():
        return psycopg.connect(host="localhost", port=server.port, user="admin", dbname="postgres",
                               password=server.token("admin"), sslrootcert="system")

    update()
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        log_in()
    subprocess.run(["cp", server.authority, local / "dsql_iam.crt"], check=True)
    update()
    with log_in() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("admin",)
