"""How long a session lasts, and which cluster it is for."""

import contextlib
import fcntl
import json
import os
import pathlib
import signal
import time

import psycopg
import pytest

from support import DENIED, EXAMPLE_ARN, SESSION_ID, Wire, fields_of, until

OVER = "terminating connection because it has reached its maximum duration"
ANOTHER = "z" * 26


@pytest.fixture(scope="module")
def short(own):
    """Sessions of a second, and transactions of two more."""
    with own.settings(dsql_iam__max_connection_duration="'1s'",
                      dsql_iam__max_connection_overtime="'2s'"):
        yield own


def wait_until_over(server, connection):
    """Lets the session's second pass; the connection itself asks nothing meanwhile."""
    age = ("SELECT clock_timestamp() - state_change > interval '1.2 s' FROM pg_stat_activity "
           f"WHERE pid = {connection.info.backend_pid}")
    until(lambda: server.execute(age) == [(True,)], "the session's time is over")


def ended(connection):
    """The error that the session ended with."""
    with pytest.raises(psycopg.Error) as raised:
        for _ in range(3):  # one that was on its way when the time was over is still answered
            connection.execute("SELECT 1")
    return raised.value


def is_gone(server, pid):
    return not server.execute(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")


def test_an_idle_session_ends(short):
    mark = short.log_mark()
    with Wire(short) as wire:
        wire.start().asked_for_password().password(short.token("admin").encode())
        while True:
            kind, body = wire.receive()
            if kind == b"E":
                break
            assert kind in b"RSKZN", kind
        assert b"C57P01\0" in body and f"M{OVER}\0".encode() in body
        session = SESSION_ID.search(body.decode())[1]
        assert wire.is_ended()
    short.logged(f"Session Id: {session}", mark)


def test_who_cannot_be_limited_is_refused(short):
    mark = short.log_mark()
    with short.limited("sigpending", 0):
        refusal = short.refusal("admin", short.token("admin"))
    assert (refusal.sqlstate, refusal.message, refusal.hint) == ("08006", DENIED, None)
    line = short.logged(" check=internal ", mark)
    assert "deciding: could not start the timer of the session: Resource temporarily unavailable" in line


def test_a_statement_that_runs_is_finished(short):
    connection = short.connect()
    assert connection.execute("SELECT pg_sleep(1.5), 1").fetchone()[1] == 1
    assert ended(connection).sqlstate == "57P01"


@pytest.mark.parametrize("prepare", [False, True])
def test_a_transaction_that_is_open_is_finished(short, role, prepare):
    role("lasting", on=short)
    connection = short.connect(autocommit=False)
    connection.execute(f"AWS IAM GRANT lasting TO '{EXAMPLE_ARN}'", prepare=prepare)
    wait_until_over(short, connection)
    assert connection.execute("SELECT 1", prepare=prepare).fetchone() == (1,)
    connection.commit()
    assert ended(connection).sqlstate == "57P01"
    assert short.execute("SELECT arn FROM sys.iam_pg_role_mappings "
                         "WHERE pg_role_name = 'lasting'") == [(EXAMPLE_ARN,)]


def test_a_transaction_that_failed_is_no_way_to_stay(short):
    connection = short.connect(autocommit=False)
    pid = connection.info.backend_pid
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")
    until(lambda: is_gone(short, pid), "the session ends after its overtime")


def test_errors_do_not_stop_the_clock(short):
    connection = short.connect()
    pid = connection.info.backend_pid
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")
    until(lambda: is_gone(short, pid), "the session ends")


@pytest.mark.parametrize("statements", [
    ["BEGIN", "SELECT 1 / 0", "SELECT 1"],
    ["BEGIN", "SELECT 1 / 0", "SELECT 1", "ROLLBACK"],
    ["BEGIN", "SAVEPOINT a", "SELECT 1 / 0", "ROLLBACK TO a"],
    ["BEGIN", "SAVEPOINT a", "SELECT 1 / 0", "ROLLBACK TO a", "SELECT pg_sleep(60)"],
], ids="; ".join)
def test_no_error_stops_the_clock(short, statements):
    """Each ERROR stops all timers of the backend, and not each ends a transaction."""
    connection = short.connect()
    pid = connection.info.backend_pid
    for statement in statements:
        with contextlib.suppress(psycopg.Error):
            connection.execute(statement)
    until(lambda: is_gone(short, pid), "the session ends")


def test_a_transaction_does_not_last_for_ever(short):
    connection = short.connect(autocommit=False)
    pid = connection.info.backend_pid
    connection.execute("SELECT 1")
    until(lambda: is_gone(short, pid), "the session ends after its overtime")
    connection = short.connect()
    started = time.monotonic()
    with pytest.raises(psycopg.Error) as raised:
        connection.execute("SELECT pg_sleep(60)")
    assert raised.value.sqlstate == "57P01"
    assert time.monotonic() - started < 30


def test_the_log_does_not_decide_how_long_a_session_lasts(own):
    """An ERROR that is not logged passes no hook, and stops PostgreSQL's own timeouts all the same."""
    with own.settings(dsql_iam__max_connection_duration="'1s'", dsql_iam__max_connection_overtime="'1s'",
                      log_min_messages="fatal"):
        connection = own.connect()
        pid = connection.info.backend_pid
        for statement in ("BEGIN", "SELECT 1 / 0", "SELECT 1"):
            with contextlib.suppress(psycopg.Error):
                connection.execute(statement)
        until(lambda: is_gone(own, pid), "the session ends")


def test_other_sessions_and_no_limit(own):
    with own.settings(dsql_iam__max_connection_duration="'1s'"), own.superuser() as superuser:
        limited = own.connect()
        until(lambda: is_gone(own, limited.info.backend_pid), "the session ends")
        # A superuser over the socket is no session of ours.
        assert superuser.execute("SELECT 1").fetchone() == (1,)
    with own.settings(dsql_iam__max_connection_duration="0"):
        with own.connect() as unlimited:
            assert unlimited.execute("SHOW dsql_iam.max_connection_duration").fetchone() == ("0",)
    assert own.execute("SHOW dsql_iam.max_connection_duration") == [("1h",)]


def test_cluster_id_as_an_option(server):
    option = f"-c amzn-cluster-id={server.cluster_id}"
    with server.connect(options=option) as connection:
        shown = connection.execute("SHOW amzn_cluster_id").fetchone()
        assert shown == (server.cluster_id,)
        with pytest.raises(psycopg.errors.CantChangeRuntimeParam):
            connection.execute("SET amzn_cluster_id = 'x'")


@pytest.mark.parametrize("options", [
    f"-c amzn-cluster-id={ANOTHER}", f"--amzn-cluster-id={ANOTHER}", "-c amzn_cluster_id="])
def test_another_clusters_id(server, options):
    mark = server.log_mark()
    with Wire(server) as wire:
        error = wire.start(options=options).error()  # before a token is asked for
    assert (error["severity"], error["sqlstate"], error["message"], error["hint"]) == (
        "FATAL", "08006", DENIED, None)
    session = SESSION_ID.fullmatch(error["detail"])[1]
    assert " check=cluster " in server.logged(f"session_id={session}", mark)


@pytest.mark.parametrize(("name", "is_admitted"), [
    ("localhost", True),
    ("{id}.dsql.us-east-1.on.aws", True),
    ("{id}.dsql-fnh4.us-east-1.on.aws", True),
    ("db.example.com", True),
    (ANOTHER + ".dsql.us-east-1.on.aws", False),
    ("{id}.dsql.us-west-2.on.aws", False),
])
def test_server_name_indication(server, name, is_admitted):
    with Wire(server, server_name=name.format(id=server.cluster_id)) as wire:
        wire.start()
        if is_admitted:
            wire.asked_for_password()
        else:
            error = wire.error()
            assert (error["sqlstate"], error["message"]) == ("08006", DENIED)


def test_no_server_name(own):
    """As of Aurora DSQL, where it is asked for."""
    with Wire(own, server_name=None) as wire:
        wire.start().asked_for_password()
    with own.settings(dsql_iam__require_sni="on"):
        mark = own.log_mark()
        with Wire(own, server_name=None) as wire:
            error = wire.start().error()  # before a token is asked for
        assert (error["severity"], error["sqlstate"], error["message"], error["hint"]) == (
            "FATAL", "08P01", "unable to accept connection, sni was not received", None)
        session = SESSION_ID.fullmatch(error["detail"])[1]
        assert " check=cluster " in own.logged(f"session_id={session}", mark)
        # A name, or the option that is there for those without.
        with Wire(own, server_name="localhost") as wire:
            wire.start().asked_for_password()
        with Wire(own, server_name=None) as wire:
            wire.start(options=f"-c amzn-cluster-id={own.cluster_id}").asked_for_password()
        assert own.admits("admin", own.token("admin"))


def test_a_server_name_of_no_cluster(own):
    """As of Aurora DSQL, where a name is asked for; a setting adds names that are the cluster's."""
    name = "vpce-0a1b2c3d.vpce.amazonaws.com"
    with Wire(own, server_name=name) as wire:
        wire.start().asked_for_password()
    with own.settings(dsql_iam__require_sni="on"):
        mark = own.log_mark()
        with Wire(own, server_name=name) as wire:
            error = wire.start().error()  # before a token is asked for
        assert (error["severity"], error["sqlstate"], error["message"], error["hint"]) == (
            "FATAL", "08P01", "unable to accept connection, invalid sni", None)
        session = SESSION_ID.fullmatch(error["detail"])[1]
        assert " check=cluster " in own.logged(f"session_id={session}", mark)
        with Wire(own, server_name=name) as wire:
            wire.start(options=f"-c amzn-cluster-id={own.cluster_id}").asked_for_password()


@pytest.mark.parametrize("status, message", [
    ("INACTIVE", "unable to accept connection, waking up cluster, please retry later"),
    ("DELETED", DENIED), ("CREATING", DENIED), ("NEW", DENIED), ("ACTIVE", None), ("IDLE", None),
])
def test_the_status_of_the_cluster(own, status, message):
    described = {"identifier": own.cluster_id, "arn": own.cluster_arn, "status": status}
    with own.documents(cluster=described):
        if message is None:
            assert own.admits("admin", own.token("admin"))
            return
        mark = own.log_mark()
        error = own.refusal("admin", own.token("admin"))
        assert (error.severity, error.sqlstate, error.message, error.hint) == ("FATAL", "08006", message, None)
        session = SESSION_ID.fullmatch(error.detail)[1]
        line = own.logged(f"session_id={session}", mark)
        assert " check=cluster " in line
        assert f"the status of the cluster is {status} in its document (get-cluster)" in line
    assert own.admits("admin", own.token("admin"))


def refused_by_limit(server, sqlstate, message):
    mark = server.log_mark()
    error = server.refusal("admin", server.token("admin"))
    assert (error.severity, error.sqlstate, error.message, error.hint) == ("FATAL", sqlstate, message, None)
    session = SESSION_ID.fullmatch(error.detail)[1]
    assert " check=limit " in server.logged(f"session_id={session}", mark)


@contextlib.contextmanager
def strangers(server, number):
    """Connections that have no token, all of them open."""
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            wire = stack.enter_context(Wire(server))
            wire.start(user="nobody").asked_for_password()
        yield


def nobody_is_connected(server):
    """A connection that has just been closed may still be counted."""
    alone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'admin'"
    until(lambda: server.execute(alone) == [(True,)], "nobody else is connected")


def test_limit_of_connections(own):
    message = "Unable to accept connection, too many open connections."
    nobody_is_connected(own)
    with own.settings(dsql_iam__max_connections=2):
        first, second = own.connect(), own.connect()
        refused_by_limit(own, "53300", message)
        assert own.execute("SELECT 1") == [(1,)]  # no connection of ours
        first.close()
        until(lambda: own.admits("admin", own.token("admin")), "there is room again")
        second.close()
        # A process that is killed takes the server's memory with it, and the count.
        killed = own.connect()
        mark = own.log_mark()
        os.kill(killed.info.backend_pid, signal.SIGKILL)
        own.logged("database system is ready to accept connections", mark)
        first, second = own.connect(), own.connect()
        first.close()
        second.close()


def test_limit_of_new_connections(own):
    message = "Unable to accept connection, rate exceeded."
    with own.settings(dsql_iam__max_connection_rate=1, dsql_iam__max_connection_burst=3):
        for _ in range(3):
            own.connect().close()
        refused_by_limit(own, "53400", message)
        until(lambda: own.admits("admin", own.token("admin")), "a second has passed")


def test_strangers_do_not_use_up_what_is_meant_for_others(own, role):
    nobody_is_connected(own)
    role("unmapped", on=own)
    with own.settings(dsql_iam__max_connections=1), strangers(own, 3):
        own.connect().close()
    with own.settings(dsql_iam__max_connection_rate=1, dsql_iam__max_connection_burst=5):
        with strangers(own, 10):
            pass
        assert not own.admits("nobody", "no token")
        assert not own.admits("unmapped", own.token("example"))  # a key, and no mapping
        assert own.admits("admin", own.token("admin"))


def has_others(path):
    """Whether another process than this one has the file open."""
    for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if link.readlink() == path.resolve() and link.parts[2] != str(os.getpid()):
                return True
    return False


def test_the_role_that_was_judged_is_the_role_that_logs_in(own, role):
    """A name that goes to another role between the judgement and the session takes nobody with it."""
    for name in ("judged", "victim"):
        role(name, on=own)
    own.execute(f"AWS IAM GRANT judged TO '{EXAMPLE_ARN}'")
    with own.settings(dsql_iam__audit_file="'audit'", dsql_iam__max_logged_refusals=1):
        assert own.admits("judged", own.token("example"))
        # However many have been refused: the log says so of one that it has as admitted.
        assert not own.admits("judged", "no token")
        mark = own.log_mark()
        with open(own.data / "audit") as audit, Wire(own) as wire:
            fcntl.flock(audit, fcntl.LOCK_EX)  # behind the judgement, and before the session
            wire.start(user="judged").asked_for_password().password(own.token("example").encode())
            until(lambda: has_others(own.data / "audit"), "the login waits for the audit file")
            own.execute("ALTER ROLE judged RENAME TO moved", "ALTER ROLE victim RENAME TO judged")
            fcntl.flock(audit, fcntl.LOCK_UN)
            while (received := wire.receive())[0] in (b"R", b"S", b"K", b"N"):
                pass
            kind, body = received
        own.execute("ALTER ROLE judged RENAME TO victim", "ALTER ROLE moved RENAME TO judged")
        audit_lines = (own.data / "audit").read_text().splitlines()
    assert kind == b"E"
    error = fields_of(body)
    assert (error["severity"], error["sqlstate"], error["message"], error["hint"]) == ("FATAL", "28000", DENIED, None)
    session = SESSION_ID.fullmatch(error["detail"])[1]
    # Log and audit file say that somebody was admitted, and then that it came to nothing.
    reason = "role judged is another role since the token was judged"
    refused = f'session_id={session} outcome=refused '
    assert f' check=role reason="{reason}"' in own.logged(refused, mark)
    lines = [json.loads(line) for line in audit_lines if session in line]
    assert [line.get("errorMessage") for line in lines] == [None, reason]
