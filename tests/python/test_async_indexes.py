"""CREATE INDEX ASYNC, sys.jobs and sys.wait_for_job where dsql_iam.async_indexes is on; and that nothing is
different where it is off."""

import asyncio
import concurrent.futures
import re
import subprocess

import psycopg
import pytest
from psycopg import pq

from support import until

JOB_ID = re.compile(r"[a-z2-7]{26}")
DUPLICATES = "found duplicate key(s) while validating index uniqueness"


@pytest.fixture(scope="module")
def on(own):
    """The server with the setting on."""
    with own.settings(restart=True, dsql_iam__async_indexes="on"):
        yield own


@pytest.fixture
def table(on):
    """A connection of a superuser, and a table `t` of its own, in a schema that is the first of the path."""
    with on.superuser() as connection:
        connection.execute("CREATE SCHEMA jobs")
        connection.execute("SET search_path = jobs")
        connection.execute("CREATE TABLE t (a int, b int)")
        yield connection
        connection.execute("ROLLBACK")
        connection.execute("DROP SCHEMA IF EXISTS jobs CASCADE")


def indexes(connection):
    """The names of the indexes of `t`, each with whether it is unique and valid."""
    rows = connection.execute(
        "SELECT indexrelid::regclass::text, indisunique, indisvalid FROM pg_index "
        "WHERE indrelid = 'jobs.t'::regclass ORDER BY 1").fetchall()
    return {name.removeprefix("jobs."): rest for name, *rest in rows}


def job_of(cursor):
    """The id of the job that a statement has given."""
    assert [column.name for column in cursor.description] == ["job_id"]
    assert cursor.description[0].type_code == 25  # text
    (row,) = cursor.fetchall()
    assert JOB_ID.fullmatch(*row)
    return row[0]


def job(connection, job_id):
    return connection.execute(
        "SELECT status, details, job_type, class_id, object_id::regclass::text, object_name "
        "FROM sys.jobs WHERE job_id = %s", (job_id,)).fetchall()


def jobs(connection):
    return connection.execute("SELECT count(*) FROM sys.jobs").fetchone()[0]


# Refusals


def test_duplicates_fail_the_job_and_not_the_statement(table):
    table.execute("INSERT INTO t VALUES (1), (1)")
    job_id = job_of(table.execute("CREATE UNIQUE INDEX ASYNC i ON t (a)"))
    assert job(table, job_id) == [("failed", DUPLICATES, "INDEX_BUILD", 1259, "i", "jobs.i")]
    assert table.execute("CALL sys.wait_for_job(%s)", (job_id,)).fetchall() == [(False,)]
    assert table.execute("SELECT sys.wait_for_job(%s)", (job_id,)).fetchall() == [(False,)]
    # It is there, nobody uses it, and it holds nobody off.
    assert indexes(table) == {"i": [False, False]}
    table.execute("INSERT INTO t VALUES (1)")
    table.execute("SET enable_seqscan = off")
    plan = table.execute("EXPLAIN SELECT * FROM t WHERE a = 1").fetchall()
    assert "Seq Scan" in plan[0][0]
    table.execute("DROP INDEX i")
    table.execute("TRUNCATE t")
    job_of(table.execute("CREATE UNIQUE INDEX ASYNC i ON t (a)"))
    assert indexes(table) == {"i": [True, True]}


def test_a_failed_job_does_not_end_the_transaction(table):
    with table.transaction():
        table.execute("INSERT INTO t VALUES (1), (1)")
        job_id = job_of(table.execute("CREATE UNIQUE INDEX ASYNC ON t (a)"))
        table.execute("INSERT INTO t VALUES (2)")
    assert table.execute("SELECT count(*) FROM t").fetchone() == (3,)
    assert job(table, job_id)[0][:2] == ("failed", DUPLICATES)


@pytest.mark.parametrize("statement, sqlstate, message", [
    ("CREATE INDEX ASYNC i ON missing (a)", "42P01", 'relation "missing" does not exist'),
    ("CREATE UNIQUE INDEX ASYNC i ON t (c)", "42703", 'column "c" does not exist'),
    ("CREATE INDEX ASYNC i ON t (a) WHERE 1 / (a - a) > 0", "22012", "division by zero"),
    ("CREATE UNIQUE INDEX ASYNC i ON t ((1 / (a - a)))", "22012", "division by zero"),
    ("CREATE INDEX ASYNC CONCURRENTLY i ON t (a)", "42601",
     'syntax error at or near "CONCURRENTLY"'),
    ("CREATE INDEX CONCURRENTLY ASYNC i ON t (a)", "42601", 'syntax error at or near "i"'),
    ("CREATE INDEX ASYNC", "42601", "syntax error at end of input"),
    ("CREATE INDEX ASYNC jobs.i ON t (a)", "42601", 'syntax error at or near "."'),
    ("CREATE INDEX ASYNC IF NOT EXISTS ON t (a)", "42601", 'syntax error at or near "ON"'),
    ("EXPLAIN CREATE INDEX ASYNC i ON t (a)", "42601", 'syntax error at or near "INDEX"'),
    ("ALTER TABLE ASYNC t VALIDATE CONSTRAINT c", "42601", 'syntax error at or near "t"'),
    ("CALL sys.cancel_job('x')", "42883", "procedure sys.cancel_job(unknown) does not exist"),
    ("PREPARE p AS CREATE INDEX ASYNC i ON t (a)", "42601", 'syntax error at or near "CREATE"'),
])
def test_refused(table, statement, sqlstate, message):
    table.execute("INSERT INTO t VALUES (1)")
    before = jobs(table)
    for prepare in (False, True):
        with pytest.raises(psycopg.Error) as refused:
            table.execute(statement, prepare=prepare)
        assert (refused.value.sqlstate, refused.value.diag.message_primary) == (sqlstate, message)
        if sqlstate == "42601":
            # It counts from the statement as it was written.
            at = int(refused.value.diag.statement_position) - 1
            assert message.endswith("input") or statement[at:].startswith(message.split('"')[1])
    assert indexes(table) == {}
    assert jobs(table) == before


def test_a_job_that_is_not_there(table):
    for statement in ("SELECT sys.wait_for_job('none')", "CALL sys.wait_for_job('none')"):
        with pytest.raises(psycopg.errors.UndefinedObject) as refused:
            table.execute(statement)
        assert refused.value.diag.message_primary == 'job "none" does not exist'
        assert "sys.jobs" in refused.value.diag.message_hint
    assert table.execute("SELECT sys.wait_for_job(NULL)").fetchone() == (None,)


def test_without_the_extension(on):
    on.execute("CREATE DATABASE bare")
    try:
        with on.superuser(dbname="bare") as connection:
            # Somebody's own things of these names are not the extension's.
            for statement in ("CREATE TABLE t (a int)", "CREATE SCHEMA sys",
                              "CREATE TABLE sys.recorded_jobs (a text)",
                              "CREATE PROCEDURE sys.create_index_async(INOUT job_id text) "
                              "LANGUAGE sql AS 'SELECT 1::text'"):
                connection.execute(statement)
                for create in ("CREATE INDEX ASYNC ON t (a)",
                               "DO $$ BEGIN CREATE INDEX ASYNC ON t (a); END $$"):
                    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState) as refused:
                        connection.execute(create)
                    assert refused.value.diag.message_primary == (
                        "CREATE INDEX ASYNC needs the extension dsql_iam in this database")
                    assert refused.value.diag.message_hint == (
                        "Let a superuser run: CREATE EXTENSION dsql_iam")
            count = connection.execute("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass")
            assert count.fetchone() == (0,)
    finally:
        on.execute("DROP DATABASE bare")


def test_nobody_forges_a_job(on, role):
    somebody = role("job_forger", on=on)
    with on.superuser() as connection:
        connection.execute(f"SET SESSION AUTHORIZATION {somebody}")
        connection.execute("SELECT * FROM sys.jobs")
        for statement in (
                "INSERT INTO sys.jobs (job_id) VALUES ('x')", "DELETE FROM sys.jobs",
                "UPDATE sys.jobs SET status = 'completed'", "SELECT * FROM sys.recorded_jobs",
                "INSERT INTO sys.recorded_jobs (job_id) VALUES ('x')",
                "CREATE INDEX ASYNC ON sys.recorded_jobs (job_id)",
                "CALL sys.create_index_async('x')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        connection.execute("CREATE TEMP TABLE own (a int)")
        job_id = job_of(connection.execute("CREATE INDEX ASYNC ON own (a)"))
        assert job(connection, job_id)[0][0] == "completed"
        connection.execute("DROP TABLE own")


def test_in_a_read_only_transaction(table):
    table.execute("BEGIN READ ONLY")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        table.execute("CREATE INDEX ASYNC ON t (a)")


def test_a_transaction_that_is_rolled_back_leaves_no_job(table):
    before = jobs(table)
    table.execute("BEGIN")
    job_id = job_of(table.execute("CREATE INDEX ASYNC ON t (a)"))
    assert table.execute("CALL sys.wait_for_job(%s)", (job_id,)).fetchall() == [(True,)]
    table.execute("ROLLBACK")
    assert (indexes(table), jobs(table)) == ({}, before)


# Carrying it out


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("statement, name", [
    ("CREATE INDEX ASYNC i ON t (a)", "i"),
    ("create index async i on t (a)", "i"),
    ("CREATE UNIQUE INDEX ASYNC i ON t (a)", "i"),
    ("CREATE INDEX ASYNC IF NOT EXISTS i ON t (a)", "i"),
    ('CREATE INDEX ASYNC "I j" ON t (a)', '"I j"'),
    ("CREATE INDEX ASYNC ON t (a, b)", "t_a_b_idx"),
    ("CREATE INDEX ASYNC async ON t (a)", "async"),
    ("CREATE INDEX ASYNC ON t (a) INCLUDE (b)", "t_a_b_idx"),
    ("-- a header; with 'quotes\n/* and more */ CREATE/**/INDEX -- c\n ASYNC\ti ON t (a)", "i"),
])
def test_the_row_of_a_job(table, statement, name, prepare):
    cursor = table.execute(statement, prepare=prepare)
    assert cursor.statusmessage == "CREATE INDEX"
    job_id = job_of(cursor)
    assert indexes(table) == {name: ["UNIQUE" in statement, True]}
    object_name = "jobs." + name.strip('"')
    assert job(table, job_id) == [("completed", None, "INDEX_BUILD", 1259, name, object_name)]
    assert table.execute(
        "SELECT start_time <= update_time AND update_time <= now() FROM sys.jobs WHERE job_id = %s",
        (job_id,)).fetchone() == (True,)
    for query in ("CALL sys.wait_for_job(%s)", "SELECT sys.wait_for_job(%s)"):
        for again in (False, True):
            assert table.execute(query, (job_id,), prepare=again).fetchall() == [(True,)]
    cursor = table.execute(f"CALL sys.wait_for_job('{job_id}')")
    assert [column.name for column in cursor.description] == ["succeeded"]
    assert table.execute(f"SELECT * FROM sys.wait_for_job('{job_id}')").fetchall() == [(True,)]


def test_one_of_several_statements(table):
    connection = table.pgconn
    result = connection.exec_(b"SELECT 1; CREATE INDEX ASYNC i ON t (a); CREATE INDEX ASYNC j ON t (b)")
    assert result.status == pq.ExecStatus.TUPLES_OK
    assert JOB_ID.fullmatch(result.get_value(0, 0).decode())
    assert set(indexes(table)) == {"i", "j"}


def test_an_index_that_is_there(table):
    table.execute("CREATE INDEX i ON t (a)")
    with pytest.raises(psycopg.errors.DuplicateTable):
        table.execute("CREATE INDEX ASYNC i ON t (b)")
    job_id = job_of(table.execute("CREATE INDEX ASYNC IF NOT EXISTS i ON t (b)"))
    assert job(table, job_id)[0][-1] == "jobs.i"
    assert table.execute("CALL sys.wait_for_job(%s)", (job_id,)).fetchall() == [(True,)]


def test_an_index_that_is_there_and_not_what_was_asked_for(table):
    """The job is completed only if there is an index such as the statement names."""
    table.execute("INSERT INTO t VALUES (1), (1)")
    table.execute("CREATE INDEX plain ON t (a)")
    job_of(table.execute("CREATE UNIQUE INDEX ASYNC invalid ON t (a)"))
    for statement, fault in [
        ("CREATE INDEX ASYNC IF NOT EXISTS invalid ON t (a)", "the index that has the name is not valid"),
        ("CREATE UNIQUE INDEX ASYNC IF NOT EXISTS plain ON t (a)",
         "the index that has the name is not unique"),
        ("CREATE INDEX ASYNC IF NOT EXISTS t ON t (a)", "the relation that has the name is not an index"),
    ]:
        job_id = job_of(table.execute(statement))
        assert job(table, job_id)[0][:2] == ("failed", fault)
        assert table.execute("SELECT sys.wait_for_job(%s)", (job_id,)).fetchone() == (False,)


def test_duplicates_of_another_index_are_an_error(table):
    """A function of the statement violates another index, of this table or of another one."""
    table.execute("CREATE TABLE others (a int PRIMARY KEY)")
    table.execute("INSERT INTO others VALUES (1)")
    table.execute("CREATE UNIQUE INDEX held ON t (b)")
    table.execute("INSERT INTO t VALUES (1, 1)")
    table.execute("CREATE FUNCTION run(x text) RETURNS bool LANGUAGE plpgsql AS "
                  "$$ BEGIN EXECUTE x; RETURN true; END $$")
    table.execute("CREATE FUNCTION f(x text) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS "
                  "$$ BEGIN RETURN jobs.run(x); END $$")
    for inserted, violated in [("INSERT INTO jobs.others VALUES (1)", "others_pkey"),
                               ("INSERT INTO jobs.t VALUES (2, 1)", "held")]:
        before = jobs(table)
        with pytest.raises(psycopg.errors.UniqueViolation) as refused:
            table.execute(f"CREATE UNIQUE INDEX ASYNC i ON t (a) WHERE jobs.f('{inserted}')")
        assert refused.value.diag.constraint_name == violated
        assert (set(indexes(table)), jobs(table)) == ({"held"}, before)


def test_one_inside_another(table):
    """An event trigger runs a CREATE INDEX ASYNC of its own: each job is about its own index."""
    table.execute("CREATE TABLE others (a int)")
    table.execute("CREATE FUNCTION other() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
                  "IF current_setting('jobs.inside', true) = 'no' THEN PERFORM set_config('jobs.inside', 'yes', false); "
                  "EXECUTE 'CREATE INDEX ASYNC \"inner\" ON jobs.others (a)'; END IF; END $$")
    for event in ("ddl_command_start", "ddl_command_end"):
        table.execute(f"CREATE EVENT TRIGGER another ON {event} WHEN TAG IN ('CREATE INDEX') "
                      "EXECUTE FUNCTION other()")
        table.execute("SET jobs.inside = no")
        try:
            job_id = job_of(table.execute("CREATE INDEX ASYNC ON t (a)"))
        finally:
            table.execute("DROP EVENT TRIGGER another")
        assert job(table, job_id)[0][-1] == "jobs.t_a_idx"
        assert table.execute("SELECT count(*) FROM sys.jobs WHERE object_id = 'jobs.inner'::regclass"
                             ).fetchone() == (1,)
        table.execute("DROP INDEX t_a_idx, \"inner\"")


def valid(connection, index):
    return connection.execute(
        "SELECT indisunique, indisvalid FROM pg_index WHERE indexrelid = %s::regclass", (index,)).fetchone()


def test_the_index_of_another_table_stays_valid(table):
    """A function in the statement can claim duplicates, and IF NOT EXISTS then finds the name taken."""
    table.execute("CREATE TABLE others (a int PRIMARY KEY)")
    table.execute("CREATE SEQUENCE calls")
    table.execute("CREATE FUNCTION once(int) RETURNS bool IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN "
                  "IF nextval('jobs.calls') = 1 THEN RAISE unique_violation "
                  "USING SCHEMA = 'jobs', TABLE = 't', CONSTRAINT = 'none'; END IF; RETURN true; END $$")
    job_of(table.execute(
        "CREATE UNIQUE INDEX ASYNC IF NOT EXISTS others_pkey ON t (a) WHERE jobs.once(1)"))
    assert table.execute("SELECT last_value FROM calls").fetchone() == (2,)
    assert valid(table, "others_pkey") == (True, True)
    # A name that is no index's is nothing to be made invalid either.
    table.execute("ALTER SEQUENCE calls RESTART")
    job_of(table.execute("CREATE UNIQUE INDEX ASYNC IF NOT EXISTS others ON t (a) WHERE jobs.once(1)"))


def test_the_index_of_another_session_stays_valid(on, table):
    """Two sessions make the same index: the second waits, and hears a unique violation of a catalog's."""
    table.execute("INSERT INTO t VALUES (1), (2)")
    statement = "CREATE UNIQUE INDEX ASYNC IF NOT EXISTS i ON jobs.t (a)"
    with on.superuser() as second, concurrent.futures.ThreadPoolExecutor(1) as pool:
        pid = second.info.backend_pid
        with table.transaction():
            job_of(table.execute(statement))
            waiting = pool.submit(lambda: job_of(second.execute(statement)))
            until(lambda: table.execute("SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted",
                                        (pid,)).fetchone(), "the second session waits")
        with pytest.raises(psycopg.errors.UniqueViolation) as refused:
            waiting.result(timeout=20)
    assert refused.value.diag.constraint_name == "pg_class_relname_nsp_index"
    assert valid(table, "i") == (True, True)


def test_a_plan_that_is_kept(table):
    """Prepared once, carried out several times, with the catalog changed in between."""
    for at in range(3):
        if at:
            table.execute("DROP INDEX i")
            table.execute("ALTER TABLE t ADD COLUMN c%s int" % at)
            table.execute("ANALYZE t")
        job_of(table.execute("CREATE INDEX ASYNC i ON t (a)", prepare=True))
        assert indexes(table) == {"i": [False, True]}


def test_a_partitioned_table(table):
    table.execute("DROP TABLE t")
    table.execute("CREATE TABLE t (a int, b int) PARTITION BY LIST (a)")
    table.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)")
    job_id = job_of(table.execute("CREATE INDEX ASYNC ON t (a)"))
    assert job(table, job_id)[0][-1] == "jobs.t_a_idx"
    table.execute("INSERT INTO t VALUES (1, 1), (1, 1)")
    # PostgreSQL has no index of a partitioned table that is not valid and whose parts are there.
    with pytest.raises(psycopg.errors.UniqueViolation):
        table.execute("CREATE UNIQUE INDEX ASYNC ON t (a)")
    assert set(indexes(table)) == {"t_a_idx"}


@pytest.mark.parametrize("body", [
    "CREATE INDEX ASYNC i ON t (a)",
    "EXECUTE 'CREATE INDEX ASYNC i ON t (a)'",
    "EXECUTE 'CREATE INDEX ASYNC i ON t (a)' INTO STRICT found; "
    "ASSERT found ~ '^[a-z2-7]{26}$'; ASSERT sys.wait_for_job(found)",
])
def test_inside_a_do_and_a_function(table, body):
    before = jobs(table)
    table.execute(f"DO $$ DECLARE found text; BEGIN {body}; END $$")
    assert (indexes(table), jobs(table)) == ({"i": [False, True]}, before + 1)
    table.execute("DROP INDEX i")
    table.execute("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS "
                  f"$$ DECLARE found text; BEGIN {body}; END $$")
    for _ in range(2):
        table.execute("SELECT f()")
        assert indexes(table) == {"i": [False, True]}
        table.execute("DROP INDEX i")


def test_inside_an_sql_function(table):
    table.execute("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'CREATE INDEX ASYNC i ON t (a)'")
    before = jobs(table)
    table.execute("SELECT f()")
    assert (indexes(table), jobs(table)) == ({"i": [False, True]}, before + 1)


def test_event_triggers_see_a_create_index(table):
    table.execute("CREATE TABLE seen (tag text, object text)")
    table.execute("CREATE FUNCTION see() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
                  "CREATE TEMP TABLE IF NOT EXISTS another (x int);"
                  "INSERT INTO jobs.seen VALUES (tg_tag, tg_event); END $$")
    table.execute("CREATE EVENT TRIGGER before ON ddl_command_start WHEN TAG IN ('CREATE INDEX') "
                  "EXECUTE FUNCTION see()")
    table.execute("CREATE EVENT TRIGGER behind ON ddl_command_end WHEN TAG IN ('CREATE INDEX') "
                  "EXECUTE FUNCTION see()")
    try:
        job_id = job_of(table.execute("CREATE INDEX ASYNC i ON t (a)"))
    finally:
        table.execute("DROP EVENT TRIGGER before")
        table.execute("DROP EVENT TRIGGER behind")
    assert table.execute("SELECT * FROM seen").fetchall() == [
        ("CREATE INDEX", "ddl_command_start"), ("CREATE INDEX", "ddl_command_end")]
    assert job(table, job_id)[0][-1] == "jobs.i"


def test_the_log_has_it_once(on, table):
    table.execute("SET log_statement = ddl")
    for prepare in (False, True):
        mark = on.log_mark()
        table.execute("CREATE INDEX ASYNC logged ON t (a)", prepare=prepare)
        table.execute("DROP INDEX logged")
        logged = on.logged("DROP INDEX logged", mark) and on.log_since(mark)
        assert logged.count("CREATE INDEX ASYNC logged ON t (a)") == 1, logged


def test_what_is_forgotten(table):
    """Jobs that ended more than 30 minutes before the last one began, as nothing but time could make them."""
    old = job_of(table.execute("CREATE INDEX ASYNC i ON t (a)"))
    young = job_of(table.execute("CREATE INDEX ASYNC j ON t (a)"))
    for job_id, minutes in ((old, 31), (young, 29)):
        table.execute(
            "UPDATE sys.recorded_jobs SET start_time = start_time - %s * interval '1 minute', "
            "update_time = update_time - %s * interval '1 minute' WHERE job_id = %s",
            (minutes, minutes, job_id))
    last = job_of(table.execute("CREATE INDEX ASYNC k ON t (a)"))
    assert [len(job(table, job_id)) for job_id in (old, young, last)] == [0, 1, 1]
    recorded = table.execute("SELECT job_id FROM sys.recorded_jobs").fetchall()
    assert (old,) not in recorded and (young,) in recorded


def test_who_forgets_waits_for_nobody(on, table):
    """Two sessions at once: the one that comes second leaves the old rows to the first."""
    old = job_of(table.execute("CREATE INDEX ASYNC i ON t (a)"))
    table.execute("UPDATE sys.recorded_jobs SET update_time = update_time - interval '31 minutes' "
                  "WHERE job_id = %s", (old,))
    with on.superuser() as second, table.transaction():
        table.execute("CREATE TABLE others (a int)")
        job_of(table.execute("CREATE INDEX ASYNC ON others (a)"))
        second.execute("SET lock_timeout = '5s'")
        second.execute("SET search_path = jobs")
        second.execute("CREATE TABLE more (a int)")
        job_of(second.execute("CREATE INDEX ASYNC ON more (a)"))
    assert table.execute("SELECT count(*) FROM sys.recorded_jobs WHERE job_id = %s", (old,)).fetchone() == (0,)


# Other clients


def test_psql(on, table):
    done = subprocess.run(
        [on.bin / "psql", "--no-psqlrc", "--dbname", on.conninfo, "--set", "ON_ERROR_STOP=1"],
        input="CREATE INDEX ASYNC i ON jobs.t (a) \\gset\n"
              "CALL sys.wait_for_job(:'job_id');\nSELECT sys.wait_for_job(:'job_id');\n"
              "CREATE INDEX ASYNC j ON jobs.t (a);\n",
        text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert re.search(r" succeeded \n-+\n t\n\(1 row\)\n", done.stdout), done.stdout
    assert re.search(r" wait_for_job \n-+\n t\n\(1 row\)\n", done.stdout), done.stdout
    assert re.search(r"           job_id           \n-+\n [a-z2-7]{26}\n\(1 row\)\n", done.stdout)


def test_asyncpg(on, table):
    async def attempt():
        import asyncpg
        connection = await asyncpg.connect(
            host=table.info.host, port=table.info.port, user=table.info.user, database="postgres")
        try:
            job_id = await connection.fetchval("CREATE INDEX ASYNC i ON jobs.t (a)")
            assert JOB_ID.fullmatch(job_id)
            assert await connection.fetchval("CALL sys.wait_for_job($1)", job_id) is True
            assert await connection.fetchval("SELECT sys.wait_for_job($1)", job_id) is True
        finally:
            await connection.close()
    asyncio.run(attempt())


# Where it is off


@pytest.mark.parametrize("settings", [
    {}, {"dsql_iam__async_indexes": "on", "dsql_iam__install_syntax": "off"}])
def test_off_is_off(own, settings):
    """An index called async is one, and the function is what is called."""
    settings = {"dsql_iam__async_indexes": "off"} | settings
    mark = own.log_mark()
    with own.settings(restart=True, **settings), own.superuser() as connection:
        warning = "dsql_iam.async_indexes does nothing while dsql_iam.install_syntax is off"
        assert (warning in own.log_since(mark)) == ("dsql_iam__install_syntax" in settings)
        connection.execute("CREATE TEMP TABLE t (a int)")
        before = jobs(connection)
        cursor = connection.execute("CREATE INDEX ASYNC ON t (a)")
        assert cursor.description is None
        assert connection.execute("SELECT 'pg_temp.async'::regclass IS NOT NULL").fetchone() == (True,)
        assert jobs(connection) == before
        with pytest.raises(psycopg.errors.SyntaxError) as refused:
            connection.execute("CREATE INDEX ASYNC i ON t (a)")
        assert refused.value.diag.message_primary == 'syntax error at or near "i"'
        with pytest.raises(psycopg.errors.WrongObjectType):
            connection.execute("CALL sys.wait_for_job('x')")
