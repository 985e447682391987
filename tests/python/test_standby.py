"""A physical standby: the mappings are there, tokens are judged, nothing can be changed."""

import contextlib
import shutil
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
        shutil.rmtree(copy.data)


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
    # The doctor, and whoever else asks, needs no transaction of his own.
    done = own.run("doctor", standby.conninfo)
    assert done.returncode == 0, done.stdout + done.stderr
    token = standby.token("example")
    assert ("mapping", "passed") in standby.execute(
        f"SELECT check_name, outcome FROM sys.explain_token('followed', '{token}')")
    assert standby.execute("SELECT access FROM sys.iam_access WHERE role_name = 'followed'")
    assert standby.execute("SELECT * FROM sys.iam_counts")
    with pytest.raises(psycopg.Error) as raised:
        standby.execute("SELECT sys.wait_for_job('none')")
    assert raised.value.diag.sqlstate == "42704"
    # A mapping revoked there is gone here too.
    with own.connect() as admin:
        admin.execute(f"AWS IAM REVOKE followed FROM '{EXAMPLE_ARN}'")
    until(lambda: not standby.admits("followed", standby.token("example")), "REVOKE on the standby")
    assert standby.refusal("followed", standby.token("example")).sqlstate == "28000"


def loaded(server):
    """The inode of the library that the postmaster has, and so each of its backends."""
    with open(f"/proc/{server.postmaster()}/maps") as maps:
        return {int(line.split()[4]) for line in maps if "/dsql_iam.so" in line}


def test_a_new_library_on_one_node_after_the_other(own, standby, role):
    """Sessions and logins go on with the library that their server has loaded, while another is in its place and on the
    other node. Both are of the same code, under two versions: there is none but one yet, so this does not show that one
    understands what another writes."""
    library = own.library_directory / "dsql_iam.so"
    old = library.read_bytes()
    mark = b"dsql_iam library, version 0.1."
    assert old.count(mark + b"0") == 1
    old_inode = loaded(own)
    assert old_inode == loaded(standby) == {library.stat().st_ino}
    with own.connect() as admin, standby.connect("followed") as follower:
        try:
            own.write(library, old.replace(mark + b"0", mark + b"1"), library.stat().st_mode)
            new_inode = {library.stat().st_ino}
            own.reload()
            role("during", on=own)
            admin.execute(f"AWS IAM GRANT during TO '{EXAMPLE_ARN}'")
            for node in (own, standby):
                until(lambda: node.admits("during", node.token("example")), "the mapping is there")
                assert loaded(node) == old_inode
            assert follower.execute("SELECT session_user").fetchone() == ("followed",)

            # The replica first. The old one grants what the new one goes by.
            standby.pg_ctl("restart", "-m", "fast", "-p", own.program, "-l", own.dir / "log")
            assert (loaded(own), loaded(standby)) == (old_inode, new_inode)
            admin.execute(f"AWS IAM REVOKE during FROM '{EXAMPLE_ARN}'")
            until(lambda: not standby.admits("during", standby.token("example")), "REVOKE on the new one")
            admin.execute(f"AWS IAM GRANT during TO '{EXAMPLE_ARN}'")
            until(lambda: standby.admits("during", standby.token("example")), "GRANT on the new one")

            # Then the other one takes over, and the old one is restarted.
            standby.pg_ctl("promote")
            with standby.connect() as successor:
                successor.execute(f"AWS IAM REVOKE during FROM '{EXAMPLE_ARN}'")
            assert not standby.admits("during", standby.token("example"))
            assert admin.execute("SELECT session_user").fetchone() == ("admin",)
            own.restart()
            assert loaded(own) == new_inode
            assert own.admits("during", own.token("example"))
        finally:
            own.write(library, old, library.stat().st_mode)
            own.restart()
