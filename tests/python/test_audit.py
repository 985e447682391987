"""Each decision as a line of JSON in the audit file."""

import contextlib
import json
import subprocess

import pytest

from support import ACCOUNT, DENIED, EXAMPLE_ARN, SESSION_ID


@pytest.fixture
def audited(own):
    path = own.data / "audit.json"
    with own.settings(dsql_iam__audit_file="'audit.json'"):
        yield own, path
    path.unlink(missing_ok=True)


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_admissions_and_refusals(audited, role):
    server, path = audited
    name = role("recorded", on=server)
    server.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    with server.connect() as admin:
        admin_session, = admin.execute("SELECT sys.current_session_id()").fetchone()
    with server.connect(name) as connection:
        arn, = connection.execute("SELECT sys.iam_session_user()").fetchone()
    refusal = server.refusal("recorded\n", server.token("denied", admin=False))
    server.refusal(name, "hunter2")
    assert path.stat().st_mode & 0o777 == 0o600

    by_admin, by_session, denied, no_token = events(path)
    assert by_admin["eventName"] == "DbConnectAdmin"
    assert by_admin["eventSource"] == "dsql.amazonaws.com"
    assert by_admin["requestID"] == admin_session
    assert by_admin["sourceIPAddress"] in ("127.0.0.1", "::1")
    assert by_admin["userIdentity"] == {
        "type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/dba", "accountId": ACCOUNT,
        "userName": "dba"}
    assert by_admin["resources"] == [{
        "accountId": ACCOUNT, "type": "AWS::DSQL::Cluster", "ARN": server.cluster_arn}]
    assert "errorCode" not in by_admin

    assert by_session["eventName"] == "DbConnect"
    assert by_session["requestParameters"] == {"user": name}
    assert by_session["userIdentity"]["arn"] == arn
    assert by_session["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"] == EXAMPLE_ARN

    assert denied["errorCode"] == "AccessDenied"
    assert denied["errorMessage"] == refusal.hint
    assert denied["additionalEventData"] == {
        "sessionId": SESSION_ID.fullmatch(refusal.detail)[1], "check": "policy"}
    assert denied["requestParameters"] == {"user": "recorded\n"}
    assert no_token["userIdentity"] == {"type": "Unknown"}
    assert no_token["additionalEventData"]["check"] == "token"


def test_nobody_comes_in_unrecorded(own):
    (own.folder("audit-folder"))
    with own.settings(dsql_iam__audit_file=f"'{own.dir}/audit-folder'"):
        mark = own.log_mark()
        error = own.refusal("admin", own.token("admin"))
        assert (error.sqlstate, error.message, error.hint) == ("08006", DENIED, None)
        own.logged("dsql_iam.audit_file could not be written: it is not a file", mark)
        own.logged(" check=internal ", mark)
        assert "login admitted" not in own.log_since(mark)
    (own.dir / "audit-folder").rmdir()
    own.connect().close()


@contextlib.contextmanager
def no_file_longer_than(server, size):
    """As on a full disk: a write that goes beyond is cut off, the next one fails."""
    def limit(soft):
        command = ["prlimit", f"--pid={server.postmaster()}", f"--fsize={soft}:"]
        subprocess.run(command, check=True, **server.owner)
    limit(size)
    try:
        yield
    finally:
        limit("unlimited")


def test_a_line_that_was_cut_off_is_a_line_of_its_own(audited):
    server, path = audited
    # Longer than all else that the server writes, so that the limit is the limit of this file.
    long = 256 << 20
    server.write(path, "")
    with open(path, "r+") as file:
        file.seek(long - 1)
        file.write("\n")
    mark = server.log_mark()
    with no_file_longer_than(server, long + 100):
        error = server.refusal("admin", server.token("admin"))
        assert (error.sqlstate, error.message, error.hint) == ("08006", DENIED, None)
        server.logged("dsql_iam.audit_file could not be written: the line was cut off", mark)
        assert path.stat().st_size == long + 100
        # Nothing more fits, and nobody gets in.
        server.refusal("admin", server.token("admin"))
        server.logged("dsql_iam.audit_file could not be written: File too large", mark)
        assert "login admitted" not in server.log_since(mark)
    with server.connect() as admin:
        session, = admin.execute("SELECT sys.current_session_id()").fetchone()
    server.refusal("admin", "hunter2")
    with open(path) as file:
        file.seek(long)
        fragment, *lines = file.read().splitlines()
    assert len(fragment) == 100
    with pytest.raises(json.JSONDecodeError):
        json.loads(fragment)
    admitted, refused = map(json.loads, lines)
    assert admitted["requestID"] == session
    assert refused["errorCode"] == "AccessDenied"
