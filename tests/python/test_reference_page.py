"""The page `Database Roles and IAM Authentication`, followed step by step, its SQL word for word."""

import pytest

from conftest import remove_role
from support import (
    ACCOUNT, DENIED, EXAMPLE_ARN, SESSION_ID, Key, access_key, account, policy, sign,
)

COLUMNS = ["iam_oid", "arn", "pg_role_oid", "pg_role_name", "grantor_pg_role_oid",
           "grantor_pg_role_name"]
OID, TEXT = 26, 25


def assert_not_mapped(error):
    assert error.sqlstate == "28000"
    assert error.message == DENIED
    assert SESSION_ID.fullmatch(error.detail)
    assert error.hint is None


@pytest.fixture
def schema(server):
    remove_role(server, "example")
    drop = "DROP SCHEMA IF EXISTS myschema CASCADE"
    server.execute(drop)
    yield "myschema"
    server.execute(drop)
    remove_role(server, "example")


def test_an_iam_role(server, schema):
    with server.connect("admin", server.token("admin")) as admin:
        admin.execute("CREATE SCHEMA myschema; CREATE TABLE myschema.t (a int)")
        admin.execute("CREATE ROLE example WITH LOGIN;")
        assert_not_mapped(server.refusal("example", server.token("example")))

        done = admin.execute(
            "AWS IAM GRANT example TO 'arn:aws:iam::012345678912:role/example';")
        assert done.statusmessage == "GRANT ROLE"
        admin.execute("GRANT USAGE ON SCHEMA myschema TO example;")
        admin.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA myschema TO example;")

        cursor = admin.execute("SELECT * FROM sys.iam_pg_role_mappings;")
        assert [column.name for column in cursor.description] == COLUMNS
        assert [c.type_code for c in cursor.description] == [OID, TEXT, OID, TEXT, OID, TEXT]
        row, = [row for row in cursor if row[3] == "example"]
        role_oid, admin_oid = admin.execute(
            "SELECT 'example'::regrole::oid, 'admin'::regrole::oid").fetchone()
        assert row[1:] == (EXAMPLE_ARN, role_oid, "example", admin_oid, "admin")
        assert row[0] > 0

        with server.connect("example", server.token("example")) as example:
            example.execute("INSERT INTO myschema.t VALUES (1)")
            assert example.execute("SELECT current_user, a FROM myschema.t").fetchone() == (
                "example", 1)
            assert example.execute("SELECT sys.iam_session_user()").fetchone() == (
                f"arn:aws:sts::{ACCOUNT}:assumed-role/example/local",)
            if server.version >= 16:
                assert example.execute("SELECT system_user").fetchone()[0].endswith(
                    f":arn:aws:sts::{ACCOUNT}:assumed-role/example/local")

        done = admin.execute(
            "AWS IAM REVOKE example FROM 'arn:aws:iam::012345678912:role/example';")
        assert done.statusmessage == "REVOKE ROLE"
        assert not admin.execute("SELECT 1 FROM sys.iam_pg_role_mappings "
                                 "WHERE pg_role_name = 'example'").fetchall()
    assert_not_mapped(server.refusal("example", server.token("example")))


def test_admin_is_there_from_the_start(server):
    """With what it needs, and nothing else; made by CREATE EXTENSION."""
    with server.connect() as admin:
        assert admin.execute(
            "SELECT rolcanlogin, rolcreaterole, rolsuper, rolcreatedb, rolreplication, rolbypassrls "
            "FROM pg_roles WHERE rolname = current_user").fetchone() == (
                True, True, False, False, False, False)


def test_the_servers_version_is_its_own(server):
    with server.connect() as admin:
        shown, = admin.execute("SHOW server_version_num").fetchone()
        assert admin.info.server_version == int(shown)
        assert int(shown) // 10000 == server.version


def test_who_is_connected(server, role):
    """Where PostgreSQL has a place for it."""
    name = role("page_who")
    mark = server.log_mark()
    with server.connect() as admin:
        admin.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/example/local"
    with server.connect(name) as connection:
        pid = connection.info.backend_pid
        assert connection.execute("SELECT sys.iam_session_user()").fetchone() == (session,)
        session_id, = connection.execute("SELECT sys.current_session_id()").fetchone()
        assert f"session_id={session_id} " in server.logged(f'role="{name}"', mark)
        if server.version >= 16:
            assert connection.execute("SELECT system_user").fetchone() == (f"trust:{session}",)
        assert server.execute(f"SELECT usename::text FROM pg_stat_activity WHERE pid = {pid}") == [
            (name,)]
    line = server.logged(f'connection authenticated: identity="{session}"', mark)
    assert f"[{pid}]" in line and line.endswith("method=dsql_iam")


def test_an_iam_user(own):
    key = Key("AKIAIOSFODNN7TESTING", "the-secret-of-the-user-of-the-page")
    arn = f"arn:aws:iam::{ACCOUNT}:user/analyst"
    remove_role(own, "page_user")
    with own.documents(analyst=account(users={"analyst": [policy("dsql:DbConnect")]}),
                       analyst_key=access_key("analyst", key)), own.connect() as admin:
        token = lambda: sign(key, "DbConnect")
        admin.execute("CREATE ROLE page_user WITH LOGIN;")
        assert_not_mapped(own.refusal("page_user", token()))
        admin.execute(f"AWS IAM GRANT page_user TO '{arn}';")
        with own.connect("page_user", token()) as user:
            assert user.execute("SELECT current_user, sys.iam_session_user()").fetchone() == (
                "page_user", arn)
        admin.execute(f"AWS IAM REVOKE page_user FROM '{arn}';")
        assert_not_mapped(own.refusal("page_user", token()))
        admin.execute("DROP ROLE page_user")


def test_a_token_for_the_clusters_endpoint(server):
    endpoint = server.variables["DSQL_ENDPOINT"]
    for host in (endpoint, f"{endpoint}:5432", f"localhost:{server.port}", "LOCALHOST"):
        with server.connect("admin", sign(server.key("admin"), "DbConnectAdmin", host)) as admin:
            assert admin.execute("SELECT current_user").fetchone() == ("admin",)


def test_one_token_is_good_for_many_connections(server):
    token = server.token("admin", ExpiresIn=604800)
    for _ in range(3):
        server.connect("admin", token).close()


def test_an_open_connection_outlives_its_mapping(server, role):
    name = role("page_open")
    with server.connect() as admin:
        admin.execute(f"AWS IAM GRANT page_open TO '{EXAMPLE_ARN}'")
        with server.connect(name) as connection:
            admin.execute(f"AWS IAM REVOKE page_open FROM '{EXAMPLE_ARN}'")
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert_not_mapped(server.refusal(name, server.token("example")))
