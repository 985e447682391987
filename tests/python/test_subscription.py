"""Logical replication and base backups over TCP: no token opens them, an exempt role and a line of the user's own do."""

import subprocess

import psycopg
import pytest

from support import DENIED, EXAMPLE_ARN, until

NAME, PASSWORD = "replicates", "the password of the role that replicates"
TABLE = "CREATE TABLE published (id int PRIMARY KEY)"


@pytest.fixture(scope="module")
def publisher(own):
    """Has a table to publish; `subscriber` is another database of the same server."""
    with own.settings(restart=True, wal_level="logical", dsql_iam__exempt_roles=NAME,
                      wal_retrieve_retry_interval="'100ms'"):
        own.execute(f"CREATE ROLE {NAME} LOGIN REPLICATION PASSWORD '{PASSWORD}'", "CREATE DATABASE subscriber", TABLE,
                    f"GRANT SELECT ON published TO {NAME}", "CREATE PUBLICATION of_it FOR TABLE published")
        with own.superuser(dbname="subscriber") as subscriber:
            subscriber.execute(TABLE)
        yield own
        own.execute("DROP PUBLICATION of_it", "DROP TABLE published", "DROP DATABASE subscriber WITH (FORCE)",
                    f"DROP ROLE {NAME}")


def over_tcp(server, role, password):
    # The server is the client here, and may not read the files that libpq looks for in root's folder.
    return (f"host=127.0.0.1 port={server.port} dbname=postgres user={role} password='{password}' sslmode=require "
            "sslcert=none sslkey=none sslrootcert=none")


def subscribe(subscriber, conninfo, slot):
    # A server cannot make a slot for a subscription of its own: it would wait for itself.
    subscriber.execute("CREATE SUBSCRIPTION to_it CONNECTION '{}' PUBLICATION of_it WITH (create_slot = false, "
                       "copy_data = false, slot_name = {})".format(conninfo.replace("'", "''"), slot))


def test_a_token_opens_no_subscription(publisher, role):
    name = role("subscribes", "LOGIN REPLICATION", on=publisher)
    publisher.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    mark = publisher.log_mark()
    conninfo = over_tcp(publisher, name, publisher.token("example"))
    with publisher.superuser(dbname="subscriber") as subscriber:
        subscriber.execute("SET log_min_error_statement = panic")  # the token stands in it
        with pytest.raises(psycopg.errors.ConnectionFailure, match="could not connect to the publisher: ") as raised:
            subscribe(subscriber, conninfo, "no_slot")
    assert f"FATAL:  {DENIED}" in raised.value.diag.message_primary
    assert 'reason="database replication was asked for; there is only postgres"' in publisher.logged(
        "check=database", mark)


@pytest.mark.parametrize("way", ["an exempt role", "the socket"])
def test_a_subscription(publisher, way):
    conninfo = over_tcp(publisher, NAME, PASSWORD) if way == "an exempt role" else publisher.conninfo
    slot = way.split()[1]
    publisher.execute("TRUNCATE published", f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    with publisher.superuser(dbname="subscriber") as subscriber:
        subscriber.execute("TRUNCATE published")
        subscribe(subscriber, conninfo, slot)
        publisher.execute("INSERT INTO published VALUES (1)")
        until(lambda: subscriber.execute("SELECT id FROM published").fetchall() == [(1,)], "the row arrives")
        subscriber.execute("DROP SUBSCRIPTION to_it")  # the slot as well


def test_a_base_backup(publisher, tmp_path):
    """An exempt role is for databases: a base backup over TCP takes a line for replication."""
    hba = publisher.data / "pg_hba.conf"
    lines = hba.read_text()

    def backup():
        # The write-ahead log would come over a second connection; the data are not looked at.
        return subprocess.run([publisher.bin / "pg_basebackup", "-d", over_tcp(publisher, NAME, PASSWORD), "-c", "fast",
                               "-X", "none", "-F", "tar", "-D", tmp_path / "backup"], text=True, capture_output=True)
    refused = backup()
    assert refused.returncode == 1
    assert f'no pg_hba.conf entry for replication connection from host "127.0.0.1", user "{NAME}"' in refused.stderr
    try:
        publisher.write(hba, f"hostssl replication {NAME} 127.0.0.1/32 scram-sha-256\n{lines}")
        publisher.reload()
        done = backup()
        assert done.returncode == 0, done.stderr
    finally:
        publisher.write(hba, lines)
        publisher.reload()
