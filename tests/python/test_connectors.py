"""AWS's own connectors, and the drivers under them, as programs for Aurora DSQL use them: with the
cluster's name, a certificate that verifies, and tokens that they make themselves."""

import asyncio
import contextlib
import datetime
import socket

import asyncpg
import aurora_dsql_asyncpg
import aurora_dsql_psycopg
import aurora_dsql_psycopg2
import psycopg
import psycopg2
import pytest
import sqlalchemy
from aurora_dsql_sqlalchemy import create_dsql_engine
from sqlalchemy.exc import OperationalError

from support import ACCOUNT, DENIED, EXAMPLE_ARN, sign

DENIED_HINT = (f"User: arn:aws:iam::{ACCOUNT}:user/visitor is not authorized to perform: "
               "dsql:DbConnect on resource: {cluster} "
               "because no identity-based policy allows the dsql:DbConnect action")


@pytest.fixture(autouse=True)
def endpoint(server, monkeypatch):
    """The cluster's name, which leads here as a line in /etc/hosts would make it."""
    name = f"{server.cluster_id}.dsql.us-east-1.on.aws"
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *arguments, **options: resolve(
        "localhost" if host == name else host, *arguments, **options))
    return name


def parameters(server, endpoint, user, profile):
    return {"host": endpoint, "port": server.port, "user": user, "profile": profile,
            "sslmode": "verify-full", "sslrootcert": server.authority}


# Each gives a function that runs statements in one connection, and returns the last one's first row.

@contextlib.contextmanager
def by_psycopg(server, endpoint, user, profile):
    connection = aurora_dsql_psycopg.connect(
        **parameters(server, endpoint, user, profile), hostaddr="127.0.0.1", autocommit=True)
    with connection:
        yield lambda statement: fetch(connection.execute(statement))


@contextlib.contextmanager
def by_psycopg2(server, endpoint, user, profile):
    connection = aurora_dsql_psycopg2.connect(
        **parameters(server, endpoint, user, profile), hostaddr="127.0.0.1")
    connection.autocommit = True

    def run(statement):
        cursor = connection.cursor()
        cursor.execute(statement)
        return fetch(cursor)
    with contextlib.closing(connection):
        yield run


@contextlib.contextmanager
def by_asyncpg(server, endpoint, user, profile):
    with asyncio.Runner() as runner:
        connection = runner.run(
            aurora_dsql_asyncpg.connect(**parameters(server, endpoint, user, profile)))
        try:
            yield lambda statement: tuple(runner.run(connection.fetchrow(statement)) or ())
        finally:
            runner.run(connection.close())


def fetch(cursor):
    return cursor.fetchone() if cursor.description else ()


@pytest.mark.parametrize("connect", [by_psycopg, by_psycopg2, by_asyncpg])
def test_connector(server, endpoint, role, connect):
    name = role("connected")
    with connect(server, endpoint, "admin", "admin") as run:
        assert run("SELECT current_user::text") == ("admin",)
        run(f"AWS IAM GRANT connected TO '{EXAMPLE_ARN}'")
    with connect(server, endpoint, name, "example") as run:
        assert run("SELECT current_user::text") == (name,)
    errors = (psycopg.OperationalError, psycopg2.OperationalError, asyncpg.PostgresError)
    with pytest.raises(errors) as raised, connect(server, endpoint, name, "denied"):
        pass
    if connect is by_asyncpg:
        assert (raised.value.sqlstate, raised.value.message) == ("08006", DENIED)
        assert raised.value.hint == DENIED_HINT.format(cluster=server.cluster_arn)
    else:
        assert DENIED in str(raised.value)
        assert "HINT:  " + DENIED_HINT.format(cluster=server.cluster_arn) in str(raised.value)
    with connect(server, endpoint, "admin", "admin") as run:
        run(f"AWS IAM REVOKE connected FROM '{EXAMPLE_ARN}'")


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_sqlalchemy(server, endpoint, role, driver):
    asks_directly = {"psycopg": psycopg.pq.version, "psycopg2": psycopg2.extensions.libpq_version}
    if server.version < 17 and asks_directly[driver]() >= 170000:
        pytest.skip("the dialect asks for direct TLS, which PostgreSQL has from 17 on")
    name = role("alchemist")

    def engine(user, profile):
        return create_dsql_engine(
            endpoint, user, driver, sslrootcert=server.authority,
            connect_args={"port": server.port, "hostaddr": "127.0.0.1", "profile": profile})
    with engine("admin", "admin").connect() as connection:
        connection.execute(sqlalchemy.text(f"AWS IAM GRANT alchemist TO '{EXAMPLE_ARN}'"))
        connection.commit()
    with engine(name, "example").connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT current_user")).scalar() == name
    with pytest.raises(OperationalError, match=DENIED):
        engine(name, "denied").connect()


def test_sqlalchemy_over_the_dialect_alone(server, endpoint, role):
    """What people do where direct TLS is not to be had: the dialect, and a connector for it."""
    name = role("alchemist")
    server.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    engine = sqlalchemy.create_engine("auroradsql+psycopg://", creator=lambda: (
        aurora_dsql_psycopg.connect(**parameters(server, endpoint, name, "example"),
                                    hostaddr="127.0.0.1")))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT current_user")).scalar() == name


@pytest.mark.parametrize(("hint", "make"), [
    ("Signature expired: ", lambda key: sign(
        key, "DbConnectAdmin",
        at=datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1))),
    ("Wrong user to action mapping. user: admin, action: DbConnect",
     lambda key: sign(key, "DbConnect")),
], ids=["expired", "wrong action"])
def test_psycopg2_refusals(server, hint, make):
    with pytest.raises(psycopg2.OperationalError) as raised:
        psycopg2.connect(host="localhost", port=server.port, user="admin", dbname="postgres",
                         password=make(server.key("admin")), sslmode="verify-full",
                         sslrootcert=server.authority)
    assert DENIED in str(raised.value)
    assert "HINT:  " + hint in str(raised.value)
