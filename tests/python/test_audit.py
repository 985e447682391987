"""Each decision as a line for machines: in the server's log, and in the audit file."""

import concurrent.futures
import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import re
import signal

import psycopg
import pytest

from support import ACCOUNT, DENIED, EXAMPLE_ARN, SECRETS, SESSION_ID, TLS_MANDATORY, Wire, account, message, until


def values(line):
    """The keys and values of a line of the log, in order; strings are JSON strings."""
    text = line.partition("dsql_iam: login ")[2].partition(": ")[2]
    pairs = re.findall(r'(\w+)=("(?:\\.|[^"\\])*"|\S+)(?: |$)', text)
    assert " ".join(f"{key}={value}" for key, value in pairs) == text
    return {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}


def assert_now(time):
    now = datetime.datetime.now(datetime.UTC)
    assert abs(now - datetime.datetime.fromisoformat(time)) < datetime.timedelta(seconds=30)
    assert time.endswith("Z")


def test_the_line_in_the_log(server, role):
    name = role("recorded", on=server)
    server.execute(f"SELECT sys.iam_grant('{name}', '{EXAMPLE_ARN}')")
    mark = server.log_mark()
    with server.connect(name) as connection:
        session, arn = connection.execute(
            "SELECT sys.current_session_id(), sys.iam_session_user()").fetchone()
    found = values(server.logged(f"session_id={session}", mark))
    assert list(found) == ["time", "session_id", "outcome", "role", "address", "principal", "action"]
    assert_now(found.pop("time"))
    assert found.pop("address") in ("127.0.0.1", "::1")
    assert found == {"session_id": session, "outcome": "admitted", "role": name, "principal": arn,
                     "action": "dsql:DbConnect"}

    odd = 'odd" outcome=admitted\n\\'
    error = server.refusal(odd, server.token("denied", admin=False))
    session = SESSION_ID.fullmatch(error.detail)[1]
    found = values(server.logged(f"session_id={session}", mark))
    assert list(found)[-2:] == ["check", "reason"]
    assert_now(found["time"])
    assert (found["outcome"], found["role"], found["check"]) == ("refused", odd, "policy")
    assert found["reason"] == error.hint


def test_the_line_in_jsonlog(own):
    if own.version < 15:
        pytest.skip("PostgreSQL 15 brought jsonlog")
    folder = own.folder("json-log")
    with own.settings(restart=True, logging_collector="on", log_destination="'jsonlog'",
                      log_directory=f"'{folder}'", log_filename="'server.log'"):
        with own.connect() as admin:
            session, = admin.execute("SELECT sys.current_session_id()").fetchone()
            pid = admin.info.backend_pid
        error = own.refusal("admin", "hunter2")
        refused = SESSION_ID.fullmatch(error.detail)[1]
        path = folder / "server.json"
        until(lambda: refused in path.read_text(), "the line")
        text = path.read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    lines = [entry for entry in entries if entry["message"].startswith("dsql_iam: login ")]
    admitted, = (entry for entry in lines if session in entry["message"])
    assert (admitted["error_severity"], admitted["pid"]) == ("LOG", pid)
    found = values(admitted["message"])
    assert_now(found["time"])
    assert (found["outcome"], found["role"]) == ("admitted", "admin")
    denied, = (entry for entry in lines if refused in entry["message"])
    assert values(denied["message"])["check"] == "token"
    # The client's message stands beside it.
    fatal, = (entry for entry in entries if refused in entry.get("detail", ""))
    assert (fatal["error_severity"], fatal["state_code"], fatal["pid"]) == (
        "FATAL", "08006", denied["pid"])
    assert (fatal["message"], fatal["detail"], fatal["hint"]) == (
        DENIED, error.detail, error.hint)
    assert not [secret for secret in SECRETS if secret in text]


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


def has_open(process, path):
    """Whether the process has the file open, as far as it can be seen."""
    with contextlib.suppress(OSError):
        return any(os.path.realpath(fd) == str(path) for fd in process.joinpath("fd").iterdir())
    return False


def test_a_line_that_another_connection_is_writing(audited):
    """It is not taken for one that was cut off: one connection writes after the other."""
    server, path = audited
    server.write(path, "")
    with open(path, "a") as other, concurrent.futures.ThreadPoolExecutor(1) as executor:
        fcntl.flock(other, fcntl.LOCK_EX)
        print('{"half": ', end="", file=other, flush=True)
        refused = executor.submit(server.refusal, "admin", "hunter2")
        until(lambda: any(has_open(process, path) for process in pathlib.Path("/proc").glob("[0-9]*")
                          if process.name != str(os.getpid())), "the connection is at the file")
        print('"line"}', file=other, flush=True)
        fcntl.flock(other, fcntl.LOCK_UN)
        assert refused.result().message == DENIED
    half, event = path.read_text().splitlines()
    assert json.loads(half) == {"half": "line"}
    assert json.loads(event)["errorCode"] == "AccessDenied"


def test_a_file_that_stays_locked(audited):
    server, path = audited
    server.write(path, "")
    with open(path, "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        mark = server.log_mark()
        error = server.refusal("admin", server.token("admin"))
        assert (error.sqlstate, error.message, error.hint) == ("08006", DENIED, None)
        server.logged("dsql_iam.audit_file could not be written: somebody else has locked it", mark)
        assert "login admitted" not in server.log_since(mark)
    assert path.read_text() == ""
    server.connect().close()


def test_a_line_that_was_cut_off_is_a_line_of_its_own(audited):
    server, path = audited
    # Longer than all else that the server writes, so that the limit is the limit of this file.
    long = 256 << 20
    server.write(path, "")
    with open(path, "r+") as file:
        file.seek(long - 1)
        file.write("\n")
    mark = server.log_mark()
    with server.no_file_longer_than(long + 100):
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


def counts(server):
    rows = server.execute("SELECT event, check_name, count, seconds FROM sys.iam_counts")
    return {(event, check): (count, seconds) for event, check, count, seconds in rows}


def test_what_is_refused_before_a_token_is_counted_and_fills_no_disk(audited):
    server, path = audited
    before = counts(server)
    mark = server.log_mark()
    with Wire(server, tls=False) as wire:
        error = wire.start().error()
    session = SESSION_ID.fullmatch(error["detail"])[1]
    assert " check=tls " in server.logged(f"session_id={session}", mark)
    for _ in range(2):
        with Wire(server) as wire:
            wire.start(options="-c amzn-cluster-id=" + "z" * 26).error()
    with Wire(server) as wire:
        wire.start().asked_for_password().send(message(b"Q", b"SELECT 1\0"))
        wire.error()
    assert not path.exists() or not events(path)
    server.refusal("admin", "no token")
    with server.connect() as admin:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            admin.execute("SELECT * FROM sys.iam_counts")
    assert [event.get("errorCode") is None for event in events(path)] == [False, True]
    after = counts(server)
    more = {key: count - before[key][0] for key, (count, _) in after.items() if count != before[key][0]}
    assert more == {("login refused", "tls"): 1, ("login refused", "cluster"): 2, ("login refused", "protocol"): 1,
                    ("login refused", "token"): 1, ("login admitted", None): 1}


def test_loads_are_counted_with_their_time_and_a_monitor_sees_them(own, role):
    role("watcher", "LOGIN IN ROLE pg_monitor", on=own)
    before = counts(own)["documents loaded", None]
    with own.documents(counted=account()):
        assert own.admits("admin", own.token("admin"))
    with own.documents(counted={}):
        assert own.admits("admin", own.token("admin"))  # by the documents before
    own.admits("admin", own.token("admin"))
    with own.superuser() as connection:
        connection.execute("SET ROLE watcher")
        (loaded, seconds), = connection.execute("SELECT count, seconds FROM sys.iam_counts "
                                                "WHERE event = 'documents loaded'").fetchall()
        (refused,), = connection.execute("SELECT count FROM sys.iam_counts "
                                         "WHERE event = 'documents refused'").fetchall()
    assert loaded > before[0] and seconds > before[1]
    assert refused >= 1
    own.restart()
    assert counts(own)["documents refused", None] == (0, None)


def test_a_crash_begins_the_counts_anew_and_shows_that(own):
    def since():
        (value,), = own.execute("SELECT DISTINCT stats_reset FROM sys.iam_counts")
        return value

    started, = own.execute("SELECT pg_postmaster_start_time()")[0]
    assert abs(since() - started) < datetime.timedelta(seconds=10)
    own.refusal("admin", "no token")
    before, mark = since(), own.log_mark()
    with own.connect() as admin, pytest.raises(psycopg.OperationalError):
        os.kill(admin.info.backend_pid, signal.SIGKILL)
        while True:
            admin.execute("SELECT 1")
    own.logged("database system is ready to accept connections", mark)
    assert counts(own)["login refused", "token"] == (0, None)
    assert own.execute("SELECT pg_postmaster_start_time()") == [(started,)]
    assert since() > before


def test_no_pipe_holds_up_a_reload_or_a_login(own):
    """Neither among the documents nor in the place of the audit file, though it comes between a look and an open."""
    def make(pipe):
        os.mkfifo(pipe, 0o600)
        os.chown(pipe, own.iam.stat().st_uid, own.iam.stat().st_gid)

    pipe = own.iam / "z.json"
    make(pipe)
    try:
        mark = own.log_mark()
        own.reload()
        assert own.admits("admin", own.token("admin"))  # by the documents before
        own.logged(f'"{pipe}" is not a regular file', mark)
    finally:
        pipe.unlink()
    pipe = own.data / "pipe"
    make(pipe)
    with own.settings(dsql_iam__audit_file="'pipe'"):
        mark = own.log_mark()
        own.refusal("admin", own.token("admin"))
        own.logged("dsql_iam.audit_file could not be written: it is not a file", mark)
    pipe.unlink()
    assert own.admits("admin", own.token("admin"))
