"""A physical standby: the mappings are there, tokens are judged, nothing can be changed."""

import contextlib
import socket

import psycopg
import pytest

from support import EXAMPLE_ARN, Server, until


@pytest.fixture
def standby(own, role):
    role("followed", on=own)
    with own.connect() as admin:
        admin.execute(f"AWS IAM GRANT followed TO '{EXAMPLE_ARN}'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    copy = Server(own.variables | {"PGPORT": str(port)})
    copy.data = own.folder("standby")
    copy.conninfo = own.conninfo.replace(f"port={own.port}", f"port={port}")
    own.as_owner("pg_basebackup", "-d", own.conninfo, "-D", copy.data, "-R", "-c", "fast")
    with open(copy.data / "postgresql.conf", "a") as configuration:
        configuration.write(f"port = {port}\n")
    copy.pg_ctl("start", "-p", own.program, "-l", own.dir / "log")
    try:
        yield copy
    finally:
        copy.pg_ctl("stop", "-m", "immediate")


def test_standby(own, standby, role):
    assert standby.execute("SELECT pg_is_in_recovery()") == [(True,)]
    with contextlib.closing(standby.connect("followed")) as connection:
        session = connection.execute("SELECT current_user, sys.iam_session_user()").fetchone()
        assert session[0] == "followed"
    assert standby.refusal("followed", standby.token("denied", admin=False)).sqlstate == "08006"
    with standby.connect() as admin:
        for verb, preposition in (("GRANT", "TO"), ("REVOKE", "FROM")):
            with pytest.raises(psycopg.Error) as raised:
                admin.execute(f"AWS IAM {verb} followed {preposition} '{EXAMPLE_ARN}'")
            assert raised.value.diag.sqlstate == "25006"
            assert raised.value.diag.message_primary == (
                f"cannot execute AWS IAM {verb} in a read-only transaction")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction) as raised:
            admin.execute("DROP ROLE followed")
        assert raised.value.diag.message_primary == (
            "cannot execute DROP ROLE in a read-only transaction")
    # A mapping revoked there is gone here too.
    with own.connect() as admin:
        admin.execute(f"AWS IAM REVOKE followed FROM '{EXAMPLE_ARN}'")
    until(lambda: not standby.admits("followed", standby.token("example")), "REVOKE on the standby")
    assert standby.refusal("followed", standby.token("example")).sqlstate == "28000"
