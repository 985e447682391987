"""Mappings live through pg_dumpall and psql, into another server."""

import os
import subprocess

import pytest

from support import ACCOUNT, EXAMPLE_ARN

OTHER_ARN = f"arn:aws:iam::{ACCOUNT}:user/team/dba"
NAMES = ["dumped", 'dumped "too" é']


def run(server, program, *arguments, **options):
    environment = {n: v for n, v in os.environ.items() if not n.startswith("PG")}
    done = subprocess.run(
        [server.bin / program, f"--dbname={server.conninfo} sslmode=disable", *arguments],
        env=environment, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr
    return done


def mappings(server):
    return server.execute(
        "SELECT arn, pg_role_name, grantor_pg_role_name, grantor_pg_role_oid::regrole::text, "
        "iam_oid FROM sys.iam_pg_role_mappings WHERE pg_role_name LIKE 'dumped%' ORDER BY 1, 2")


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
