"""CREATE INDEX ASYNC, sys.jobs and sys.wait_for_job where dsql_iam.async_indexes is on; and that nothing is
different where it is off."""

import psycopg
import pytest


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
        connection.execute("DROP SCHEMA jobs CASCADE")


def indexes(connection):
    """The names of the indexes of `t`, each with whether it is unique and valid."""
    rows = connection.execute(
        "SELECT indexrelid::regclass::text, indisunique, indisvalid FROM pg_index "
        "WHERE indrelid = 'jobs.t'::regclass ORDER BY 1").fetchall()
    return {name.removeprefix("jobs."): rest for name, *rest in rows}


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
    ("SELECT 1; CREATE INDEX ASYNC i ON t (a)", "i"),
])
def test_the_index_is_there(table, statement, name):
    table.execute(statement)
    assert indexes(table) == {name: ["UNIQUE" in statement, True]}
