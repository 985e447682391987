"""`dsql_iam.restrict_parameters`: the parameters that Aurora DSQL does not take, and `SET ROLE`."""

import psycopg
import pytest

from support import SESSION_ID, Wire


def text(name):
    return f'setting configuration parameter "{name}" not supported'


@pytest.fixture(scope="module")
def restricted(own):
    """A server that takes Aurora DSQL's parameters only, with a role that `admin` may become."""
    own.execute("DROP ROLE IF EXISTS restricted_other", "CREATE ROLE restricted_other",
                "GRANT restricted_other TO admin")
    try:
        with own.settings(dsql_iam__restrict_parameters="on"):
            yield own
    finally:
        own.execute("DROP OWNED BY restricted_other", "DROP ROLE restricted_other")


def refused(connection, statement, name, parameters=None):
    with pytest.raises(psycopg.errors.FeatureNotSupported) as raised:
        connection.execute(statement, parameters)
    assert raised.value.diag.message_primary == text(name)
    assert raised.value.diag.message_hint is None
    return raised.value.diag.context


SUPPORTED = ("application_name", "client_encoding", "datestyle", "extra_float_digits", "intervalstyle", "timezone",
             "search_path", "enable_bitmapscan", "enable_hashjoin", "enable_indexonlyscan", "enable_indexscan",
             "enable_material", "enable_mergejoin", "enable_nestloop", "enable_seqscan")
UNSUPPORTED = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "client_min_messages",
               "default_transaction_read_only", "work_mem", "session_authorization", "role", "app.tenant")


@pytest.mark.parametrize("arguments, name", [
    ({"options": "-c statement_timeout=1s"}, "statement_timeout"),
    ({"options": "-c search_path=x --lock-timeout=1s"}, "lock_timeout"),
    ({"options": "-c role=restricted_other"}, "role"),
    ({"options": "-S 64"}, "-S"),
    ({"lock_timeout": "1000"}, "lock_timeout"),
    ({"ROLE": "restricted_other"}, "ROLE"),
    ({"application_name": "x", "default_transaction_read_only": "on"}, "default_transaction_read_only"),
])
def test_startup_parameter_that_is_not_taken(restricted, arguments, name):
    mark = restricted.log_mark()
    with Wire(restricted) as wire:
        wire.start(**arguments).asked_for_password()
        wire.password(restricted.token("admin").encode())
        error = wire.error()
    assert (error["severity"], error["sqlstate"], error["message"], error["hint"]) == (
        "FATAL", "0A000", text(name), None)
    session = SESSION_ID.fullmatch(error["detail"])[1]
    line = restricted.logged(f"session_id={session}", mark)
    assert "login refused: " in line and " check=parameter " in line
    assert f'the client sets the parameter {name}, and dsql_iam.restrict_parameters is on' in line


def test_a_stranger_is_not_told_of_parameters(restricted):
    with Wire(restricted) as wire:
        wire.start(lock_timeout="1000").asked_for_password()
        wire.password(b"no-token")
        assert wire.error()["sqlstate"] == "08006"


def test_startup_parameters_that_are_taken(restricted):
    options = " ".join(f"-c {name}={value}" for name, value in {
        "amzn-cluster-id": restricted.cluster_id, "DateStyle": "German", "enable_seqscan": "off",
        "search_path": "a,\\ b", "dsql.enable_batched_nestloop": "off"}.items())
    with restricted.connect(options=options, application_name="x", client_encoding="latin1") as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone()[0]
                 for name in ("DateStyle", "enable_seqscan", "search_path", "application_name")]
        assert shown == ["German, DMY", "off", "a, b", "x"]


def test_parameters_that_are_taken(restricted):
    with restricted.connect() as connection:
        for name in SUPPORTED:
            value, = connection.execute(f"SHOW {name}").fetchone()
            for statement in (f"SET {name} = '{value}'", f"SET SESSION {name} TO DEFAULT", f"RESET {name}",
                              f"SELECT set_config('{name}', '{value}', false)"):
                # A list of names is not one name in quotes.
                if statement != f"SET search_path = '{value}'":
                    connection.execute(statement)
        connection.execute("SET search_path = a, b")
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute("SET NAMES 'UTF8'")
        connection.execute("SET SCHEMA 'public'")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("COMMIT")
        connection.execute("RESET ALL")
        connection.execute("DISCARD ALL")


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_a_parameter_that_is_not_taken(restricted, name):
    with restricted.connect() as connection:
        for statement in (f"SET {name} = '1'", f"SET SESSION {name} TO DEFAULT", f"SELECT set_config('{name}', '1', false)",
                          f"SELECT * FROM (SELECT set_config('{name}'::varchar, '1', true)) AS s",
                          f"EXPLAIN ANALYZE SELECT set_config('{name}', '1', false)",
                          f"ALTER ROLE restricted_other SET {name} = '1'", f"ALTER DATABASE postgres SET {name} = '1'",
                          f"DO $$ BEGIN PERFORM set_config('{name}', '1', false); END $$",
                          f"SELECT set_config('{name}' COLLATE \"C\", '1', false)",
                          f"CALL sys.await_job(set_config('{name}', '1', false))",
                          f"CREATE FUNCTION f() RETURNS int LANGUAGE sql SET {name} = '1' AS 'SELECT 1'"):
            refused(connection, statement, name)
        connection.execute(f"RESET {name}")
        connection.execute("BEGIN")
        if name != "role":
            refused(connection, f"SET LOCAL {name} = '1'", name)


def test_defaults_of_transactions(restricted):
    with restricted.connect() as connection:
        for mode, name in (("ISOLATION LEVEL SERIALIZABLE", "isolation"), ("READ ONLY", "read_only"),
                           ("NOT DEFERRABLE", "deferrable")):
            refused(connection, f"SET SESSION CHARACTERISTICS AS TRANSACTION {mode}", f"default_transaction_{name}")
        with connection.transaction():
            connection.execute("SET TRANSACTION READ ONLY")


def test_another_role_for_a_transaction_only(restricted):
    with restricted.connect() as connection:
        assert connection.info.user == "admin"
        refused(connection, "SET ROLE restricted_other", "role")
        refused(connection, "SET ROLE NONE", "role")
        # Without a transaction block it would be of no use, and Aurora DSQL does not take it.
        refused(connection, "SET LOCAL ROLE restricted_other", "role")
        with connection.transaction():
            connection.execute("SET LOCAL ROLE restricted_other")
            assert connection.execute("SELECT current_user").fetchone() == ("restricted_other",)
        assert connection.execute("SELECT current_user").fetchone() == ("admin",)
        with connection.transaction():
            connection.execute('SET LOCAL "Role" = restricted_other')
        # Where it fails nothing is left behind that lets the next one through.
        with pytest.raises(psycopg.errors.InvalidParameterValue), connection.transaction():
            connection.execute("SET LOCAL ROLE restricted_nobody")
        for name in ("restricted_other", "none"):
            refused(connection, "SELECT set_config(%s, %s, false)", "role", ("role", name))
            refused(connection, "SELECT set_config(lower('ROLE'), %s, true)", "role", (name,))
        connection.execute("RESET ROLE")


def test_a_role_at_any_remove(restricted):
    """A role that a superuser sets, for a function or for `admin`, does not reach these sessions."""
    restricted.execute(
        "CREATE FUNCTION restricted_other() RETURNS name LANGUAGE sql SET role = restricted_other AS 'SELECT current_user'",
        "ALTER ROLE admin SET role = restricted_other")
    try:
        with restricted.connect() as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("admin",)
            refused(connection, "SELECT restricted_other()", "role")
            refused(connection, "ALTER FUNCTION restricted_other() SET role = admin", "role")
        # PostgreSQL's own rules hold for all other sessions.
        assert restricted.execute("SELECT restricted_other()") == [("restricted_other",)]
        restricted.execute("SET ROLE restricted_other", "SET statement_timeout = '1min'")
    finally:
        restricted.execute("ALTER ROLE admin RESET role", "DROP FUNCTION restricted_other()")


def test_a_role_in_a_parallel_worker(restricted):
    """A worker does not know how its session began."""
    restricted.execute("CREATE TABLE restricted_rows AS SELECT generate_series(1, 10) AS row",
                       "ALTER TABLE restricted_rows SET (parallel_workers = 2)",
                       "GRANT SELECT ON restricted_rows TO public",
                       "CREATE FUNCTION restricted_worker() RETURNS name LANGUAGE sql PARALLEL SAFE SET role = restricted_other "
                       "AS 'SELECT current_user'")
    query = "SELECT DISTINCT restricted_worker() FROM restricted_rows"
    try:
        with restricted.settings(parallel_leader_participation="off", parallel_setup_cost=0, parallel_tuple_cost=0,
                                 min_parallel_table_scan_size=0):
            with restricted.connect() as connection:
                plan = "".join(line for line, in connection.execute(f"EXPLAIN {query}"))
                assert "Workers Planned: 2" in plan
                context = refused(connection, query, "role")
                assert "parallel worker" in context
            assert restricted.execute(query) == [("restricted_other",)]
    finally:
        restricted.execute("DROP FUNCTION restricted_worker()", "DROP TABLE restricted_rows")


def test_by_itself_nothing_is_restricted(server, admin):
    with server.connect(options="-c lock_timeout=1s") as connection:
        assert connection.execute("SHOW lock_timeout").fetchone() == ("1s",)
    admin.execute("SET statement_timeout = '1min'")
    admin.execute("SET ROLE admin")
    assert admin.execute("SELECT set_config('lock_timeout', '1min', false)").fetchone() == ("1min",)
