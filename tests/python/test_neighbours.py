"""Libraries that people load beside it, in either order."""

import psycopg
import pytest

from support import EXAMPLE_ARN

NEIGHBOURS = ("pg_stat_statements", "auto_explain", "auth_delay", "passwordcheck")


@pytest.fixture(params=["before", "after"])
def beside(own, request):
    missing = [name for name in NEIGHBOURS if not (own.library_directory / f"{name}.so").exists()]
    if missing:
        pytest.skip(f"this installation does not hold {', '.join(missing)}")
    names = [*NEIGHBOURS, "dsql_iam"] if request.param == "before" else ["dsql_iam", *NEIGHBOURS]
    with own.settings(shared_preload_libraries=", ".join(names), dsql_iam__async_indexes="on",
                      restart=True):
        own.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        with own.settings(auto_explain__log_min_duration=0,
                          auto_explain__log_nested_statements="on"):
            yield own, request.param
        own.execute("DROP EXTENSION pg_stat_statements")


def test_all_of_them(beside, role):
    beside, order = beside
    name = role("beside", on=beside)
    typed = f"AWS IAM GRANT beside TO '{EXAMPLE_ARN}'"
    beside.execute("SELECT pg_stat_statements_reset()")
    mark = beside.log_mark()
    with beside.connect() as admin:
        assert admin.execute(typed).statusmessage == "GRANT ROLE"
        admin.execute(f"AWS IAM REVOKE beside FROM '{EXAMPLE_ARN}'", prepare=True)
        admin.execute(f"DO $$ BEGIN EXECUTE $x${typed}$x$; END $$")
        with pytest.raises(psycopg.errors.SyntaxError):
            admin.execute("AWS IAM GRANT beside TO arn")
    with beside.connect(name) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert beside.refusal(name, beside.token("denied", admin=False)).sqlstate == "08006"
    beside.logged("Query Text: SELECT 1", mark)
    seen = [query for query, in beside.execute("SELECT query FROM pg_stat_statements")]
    # A library that is loaded before stands behind, where the statement has been carried out.
    recorded = any(query.startswith("AWS IAM GRANT beside TO ") for query in seen)
    assert recorded == (order == "after")
    assert not any("LANGUAGE beside" in query for query in seen)
    with beside.superuser() as superuser, pytest.raises(psycopg.Error) as raised:
        superuser.execute("ALTER ROLE beside PASSWORD 'short'")
    assert raised.value.diag.message_primary == "password is too short"


def test_the_job_of_an_index_beside_them(beside):
    beside, _ = beside
    statement = "CREATE INDEX ASYNC beside_i ON beside_t (a)"
    with beside.superuser() as connection:
        connection.execute("CREATE TABLE beside_t (a int)")
        connection.execute("SELECT pg_stat_statements_reset()")
        for prepare in (False, True):
            (job_id,), = connection.execute(statement, prepare=prepare).fetchall()
            assert connection.execute("CALL sys.wait_for_job(%s)", (job_id,)).fetchone() == (True,)
            connection.execute("DROP INDEX beside_i")
        counted = connection.execute(
            "SELECT query, sum(calls)::int FROM pg_stat_statements WHERE query ILIKE 'create index%' "
            "GROUP BY query").fetchall()
        connection.execute("DROP TABLE beside_t")
    assert counted == [(statement, 2)]
