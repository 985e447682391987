"""Mappings live through pg_dumpall and psql, into another server."""

import re
import subprocess

import pytest

from conftest import own_server
from support import ACCOUNT, EXAMPLE_ARN, without
from test_doctor import inside

OTHER_ARN = f"arn:aws:iam::{ACCOUNT}:user/team/dba"
NAMES = ["dumped", 'dumped "too" é']


def run(server, program, *arguments, **options):
    done = subprocess.run(
        [server.bin / program, f"--dbname={server.conninfo} sslmode=disable", *arguments],
        env=without("PG"), capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done


def mappings(server):
    return server.execute(
        "SELECT arn, pg_role_name, grantor_pg_role_name, grantor_pg_role_oid::regrole::text, "
        "iam_oid FROM sys.iam_pg_role_mappings WHERE pg_role_name LIKE 'dumped%' ORDER BY 1, 2")


def roles(server):
    """Each role's attributes and privileges, in the database and by way of others."""
    return server.execute(
        "SELECT rolname, rolsuper, rolcreaterole, rolinherit, rolcanlogin, rolconnlimit, rolconfig, "
        "has_database_privilege(oid, 'postgres', 'CREATE'), "
        "has_schema_privilege(oid, 'public', 'CREATE'), has_schema_privilege(oid, 'sys', 'USAGE'), "
        "ARRAY(SELECT member::regrole::text FROM pg_auth_members WHERE roleid = r.oid ORDER BY 1) "
        "FROM pg_roles r WHERE rolname IN ('admin', 'postgres') OR rolname LIKE 'dumped%' ORDER BY 1")


def extension(server):
    return server.execute("SELECT extname, extversion, extnamespace::regnamespace::text, "
                          "extowner::regrole::text FROM pg_extension ORDER BY 1")


@pytest.fixture
def dump(own, role):
    for name in NAMES:
        role(name.replace('"', '""'), on=own)
    with own.connect() as admin:
        admin.execute(f"AWS IAM GRANT dumped TO '{EXAMPLE_ARN}'")
        admin.execute(f"AWS IAM GRANT dumped TO '{OTHER_ARN}'")
        admin.execute(f'AWS IAM GRANT "dumped ""too"" é" TO \'{EXAMPLE_ARN}\'')
    yield run(own, "pg_dumpall").stdout
    own.execute("SELECT sys.iam_revoke(pg_role_name, arn) FROM sys.iam_pg_role_mappings")


def test_dump_and_restore(own, fresh, dump):
    before = mappings(own)
    assert [row[:4] for row in before] == [
        (EXAMPLE_ARN, "dumped", "admin", "admin"),
        (EXAMPLE_ARN, NAMES[1], "admin", "admin"),
        (OTHER_ARN, "dumped", "admin", "admin"),
    ]
    assert mappings(fresh) == []
    restored = run(fresh, "psql", "--no-psqlrc", "--quiet", input=dump)
    # The roles that each server has, and the extension's own objects, are there already.
    faults = [line for line in restored.stderr.splitlines() if "ERROR:" in line]
    assert all("already exists" in fault for fault in faults), faults
    assert mappings(fresh) == before
    # Somebody logs in by it: the sessions are each server's own, the ARNs are the same.
    with fresh.connect("dumped", fresh.token("example")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("dumped",)
    # And it can be taken away again.
    with fresh.connect() as admin:
        admin.execute(f"AWS IAM REVOKE dumped FROM '{EXAMPLE_ARN}'")
    assert fresh.refusal("dumped", fresh.token("example")).sqlstate == "28000"
    # A second restore over it brings back what is missing and spoils nothing.
    run(fresh, "psql", "--no-psqlrc", "--quiet", input=dump)
    assert mappings(fresh) == before


@pytest.fixture
def bare(tmp_path_factory):
    """A server that initdb has just made, which loads the library; nothing of it is in a database."""
    for server in own_server(tmp_path_factory, "bare"):
        program = server.program
        server.pg_ctl("stop", "-m", "fast")
        old = server.data.rename(server.data.with_name("data-of-before"))
        server.as_owner("initdb", "-D", server.folder("data"), "-U", "postgres", "-A", "trust",
                        "-E", "UTF8", "--locale", "C", "--no-sync")
        for file in old.glob("*.conf"):
            server.write(server.data / file.name, file.read_text())
        server.pg_ctl("start", "-p", program, "-l", server.dir / "log")
        yield server


@pytest.mark.parametrize(("options", "expected"), [
    ([], ['role "postgres" already exists']),
    (["--clean", "--if-exists"], ["current user cannot be dropped",
                                  'role "postgres" already exists']),
], ids=["plain", "clean"])
def test_restore_into_a_bare_server(own, bare, dump, options, expected):
    dump = run(own, "pg_dumpall", *options).stdout
    assert bare.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'") == [("postgres",)]
    assert bare.execute("SELECT extname FROM pg_extension") == [("plpgsql",)]
    assert bare.execute("SELECT count(*) FROM pg_shseclabel") == [(0,)]
    # It is closed: nobody has been made yet who could come in.
    error = bare.refusal("admin", bare.token("admin"))
    assert (error.sqlstate, error.hint) == ("28000", None)

    restored = run(bare, "psql", "--no-psqlrc", "--quiet", input=dump)
    # Restoring a dump of any server says so where the superuser has the same name.
    assert re.findall(r"ERROR:  (.*)", restored.stderr) == expected
    # The dump makes the role admin, and a superuser may.
    assert set(re.findall(r"WARNING:  (.*)", restored.stderr)) == {
        'role "admin" cannot be modified on Aurora DSQL'}
    assert mappings(bare) == mappings(own)
    assert len(mappings(bare)) == 3
    assert roles(bare) == roles(own)
    assert extension(bare) == extension(own)
    assert inside(bare) == {}

    # Tokens open it, to whom they should, and the next mapping is made as ever.
    with bare.connect("dumped", bare.token("example")) as connection:
        assert connection.execute("SELECT current_user, sys.iam_session_user()").fetchone()[0] == "dumped"
    assert bare.refusal(NAMES[1], bare.token("denied", admin=False)).sqlstate == "08006"
    with bare.connect() as admin:
        admin.execute("CREATE ROLE dumped_later WITH LOGIN")
        assert bare.refusal("dumped_later", bare.token("example")).sqlstate == "28000"
        admin.execute(f"AWS IAM GRANT dumped_later TO '{EXAMPLE_ARN}'")
        bare.connect("dumped_later", bare.token("example")).close()
        admin.execute(f"AWS IAM REVOKE dumped FROM '{EXAMPLE_ARN}'")
    assert bare.refusal("dumped", bare.token("example")).sqlstate == "28000"
