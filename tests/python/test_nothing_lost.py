"""Mappings are as reported, whatever happens: a crash, others at the same time, a dropped extension."""

import concurrent.futures
import contextlib
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import psycopg
import pytest

from conftest import own_server, remove_role
from support import ACCOUNT, EXAMPLE_ARN as ARN, until

OTHER_ARN = f"arn:aws:iam::{ACCOUNT}:user/team/dba"
REMOVE_ALL = "SELECT sys.iam_revoke(pg_role_name, arn) FROM sys.iam_pg_role_mappings"


def assert_no_orphan(server):
    """The view joins the roles, so it would not show a label whose role is gone."""
    assert server.execute("SELECT * FROM pg_shseclabel WHERE provider LIKE 'dsql_iam:%' "
                          "AND objoid NOT IN (SELECT oid FROM pg_authid)") == []


# A crash at any moment

CRASHES = 100
CRASHING = [f"crashed_{number}" for number in range(4)]


@pytest.fixture
def crashing(tmp_path_factory):
    for server in own_server(tmp_path_factory, "crashing"):
        # Processes die, not the machine: bytes written to a file are there.
        server.execute("ALTER SYSTEM SET fsync = off",
                       *(f"CREATE ROLE {role} WITH LOGIN" for role in CRASHING))
        postmaster = Postmaster(server)
        server.pg_ctl("stop")
        postmaster.start()
        yield server, postmaster
        postmaster.stop()


class Client(threading.Thread):
    """Grants and revokes until the connection breaks, and knows what it was told."""

    def __init__(self, server, roles, chance):
        super().__init__(daemon=True)
        self.connection = server.connect()
        self.pairs = [(role, arn) for role in roles for arn in (ARN, OTHER_ARN)]
        self.granted = {row for row in view(server) if row in self.pairs}
        self.in_flight = None
        self.reported = 0
        self.chance = chance
        self.failure = None

    def run(self):
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                role, arn = self.in_flight = self.chance.choice(self.pairs)
                if self.in_flight in self.granted:
                    self.try_it(f"AWS IAM REVOKE {role} FROM '{arn}'")
                    self.granted.discard(self.in_flight)
                else:
                    self.try_it(f"AWS IAM GRANT {role} TO '{arn}'")
                    self.granted.add(self.in_flight)
                self.in_flight = None
                self.reported += 1

    def try_it(self, statement):
        try:
            self.connection.execute(statement)
        except psycopg.Error as error:
            # One without an SQLSTATE is the client's own: of a socket that was closed it may not know yet.
            if error.sqlstate and not self.connection.broken:
                self.failure = error
            raise psycopg.OperationalError from error


def view(server):
    return {(role, arn) for role, arn in server.execute(
        "SELECT pg_role_name, arn FROM sys.iam_pg_role_mappings")}


class Postmaster:
    """The server as a child of this process, which learns at once when it is gone."""

    def __init__(self, server):
        self.server = server
        self.command = [server.program, "-D", server.data]

    def start(self):
        with open(self.server.dir / "log", "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log,
                                            cwd=self.server.dir, **self.server.owner)
        until(self.is_ready, "the server is ready")

    def is_ready(self):
        assert self.process.poll() is None, "the server did not start"
        try:
            lines = (self.server.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return lines[:1] == [str(self.process.pid)] and "ready" in map(str.strip, lines[7:])

    def crash(self):
        """All of the server's processes die with SIGKILL. Each backend leads a process group of
        its own, so they are found by their parent."""
        os.kill(self.process.pid, signal.SIGSTOP)
        until(lambda: state_and_parent(self.process.pid)[0] == "T", "no more backends are made")
        everybody = (int(path.name) for path in pathlib.Path("/proc").glob("[0-9]*"))
        backends = [pid for pid in everybody if state_and_parent(pid)[1] == self.process.pid]
        # The postmaster last: without it they end by themselves, and whoever reaps them may be quick.
        for pid in [*backends, self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(20)
        # One that is dead and waits to be collected has let go of everything.
        until(lambda: all(state_and_parent(pid)[0] in (None, "Z", "X") for pid in backends),
              "the end of the backends")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)


def state_and_parent(pid):
    """The state of a process in /proc, if it is there."""
    try:
        status = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None, None
    state, parent = status.rpartition(") ")[2].split()[:2]
    return state, int(parent)


def test_crash_at_any_moment(crashing):
    server, postmaster = crashing
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    in_flight = 0
    for crash in range(CRASHES):
        clients = [Client(server, CRASHING[half::2], chance) for half in range(2)]
        for client in clients:
            client.start()
        until(lambda: all(client.reported for client in clients), "a first statement each")
        time.sleep(chance.uniform(0, 0.04))  # the moment of the crash
        postmaster.crash()
        for client in clients:
            client.join(20)
            assert not client.is_alive()
            assert client.failure is None
            client.connection.close()
        postmaster.start()

        found = view(server)
        for client in clients:
            in_flight += client.in_flight is not None
            for pair in client.pairs:
                if pair != client.in_flight:
                    assert (pair in found) == (pair in client.granted), (crash, pair)
        whole = server.execute("SELECT count(*), count(DISTINCT iam_oid), count(pg_role_oid), "
                               "count(*) FILTER (WHERE grantor_pg_role_name = 'admin'), "
                               "(SELECT count(*) FROM pg_shseclabel) "
                               "FROM sys.iam_pg_role_mappings")
        assert whole == [(len(found),) * 5]
        for role in CRASHING:
            assert server.admits(role, server.token("example")) == ((role, ARN) in found)
    print(f"{CRASHES} crashes, {in_flight} statements in flight")
    assert in_flight > CRASHES / 2


# At the same time as others

@pytest.fixture
def racing(server):
    """The role `raced`. `admin` makes it: from 16 on, only so may `admin` drop it."""
    server.execute("DROP ROLE IF EXISTS raced")
    with server.connect() as admin:
        admin.execute("CREATE ROLE raced WITH LOGIN")
    try:
        yield
        assert_no_orphan(server)
    finally:
        remove_role(server, "raced")


@pytest.fixture
def first(server):
    with server.connect() as connection:
        yield connection


@pytest.fixture
def second(server):
    """If it waits for what never comes, the test fails rather than hangs."""
    with server.connect(options="-c statement_timeout=15s") as connection:
        yield connection


@contextlib.contextmanager
def waiting(server, connection, statement):
    """Runs a statement that has to wait for a lock. In the block it waits; what this gives is the
    future of its outcome."""
    with concurrent.futures.ThreadPoolExecutor() as executor:
        outcome = executor.submit(connection.execute, statement)
        until(lambda: outcome.done() or server.execute(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            f"AND pid = {connection.info.backend_pid}"), f"{statement} waits")
        assert not outcome.done(), f"{statement} did not wait: {outcome.exception()}"
        yield outcome


def assert_error(outcome, sqlstate, text):
    error = outcome.exception(20)
    assert error is not None
    assert (error.diag.sqlstate, error.diag.message_primary) == (sqlstate, text)


GRANT = f"AWS IAM GRANT raced TO '{ARN}'"
GRANT_OTHER = f"AWS IAM GRANT raced TO '{OTHER_ARN}'"
REVOKE = f"AWS IAM REVOKE raced FROM '{ARN}'"
DROP = "DROP ROLE raced"
MISSING = ("42704", "Role raced does not exist")
DEPENDENT = ("2BP01", 'role "raced" cannot be dropped because some objects depend on it')
GRANTED = ("42710", f"IAM role {ARN} is already granted to role raced")
REVOKED = ("42704", f"IAM role {ARN} does not exist")

# A statement in an open transaction, one that waits for it, and what becomes of that after COMMIT
# and after ROLLBACK: an error, or the mappings that are there then; None without the role.
RACES = {
    "GRANT, then DROP ROLE": (None, GRANT, DROP, DEPENDENT, None),
    "DROP ROLE, then GRANT": (None, DROP, GRANT, MISSING, [ARN]),
    "DROP ROLE, then REVOKE": (None, DROP, REVOKE, MISSING, REVOKED),
    "REVOKE, then DROP ROLE": (GRANT, REVOKE, DROP, None, DEPENDENT),
    "GRANT twice": (None, GRANT, GRANT, GRANTED, [ARN]),
    "GRANT of two ARNs": (None, GRANT, GRANT_OTHER, [ARN, OTHER_ARN], [OTHER_ARN]),
    "REVOKE twice": (GRANT, REVOKE, REVOKE, REVOKED, []),
    "GRANT, then REVOKE": (None, GRANT, REVOKE, [], REVOKED),
    "REVOKE, then GRANT": (GRANT, REVOKE, GRANT, [ARN], GRANTED),
}


# A snapshot from before the race must not make a difference.
LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("race", RACES)
def test_one_waits_for_the_other(server, racing, first, second, race, end, level):
    before, statement, waits, *expected = RACES[race]
    if before:
        first.execute(before)
    second.execute(f"BEGIN ISOLATION LEVEL {level}")
    second.execute("SELECT count(*) FROM pg_shseclabel")
    first.execute(f"BEGIN ISOLATION LEVEL {level}")
    first.execute(statement)
    with waiting(server, second, waits) as outcome:
        first.execute(end)
    expected = expected[end == "ROLLBACK"]
    if isinstance(expected, tuple):
        assert_error(outcome, *expected)
        second.execute("ROLLBACK")
    else:
        outcome.result(20)
        second.execute("COMMIT")
        exists = server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'raced'") != []
        assert (server.mappings("raced") if exists else None) == expected


def test_a_name_that_goes_to_a_mapped_role(server, racing, first, second):
    """While a DROP ROLE waits for one role, another takes the name of the next."""
    waits_for, named = "raced_one", "raced_two"
    with server.connect() as third:
        try:
            third.execute(f"CREATE ROLE {waits_for}; CREATE ROLE {named}")
            third.execute(GRANT)
            first.execute(f"BEGIN; ALTER ROLE {waits_for} CONNECTION LIMIT 3")
            # A missing role has PostgreSQL look the names up again.
            drop = f"DROP ROLE IF EXISTS {waits_for}, raced_nobody, {named}"
            with waiting(server, second, drop) as outcome:
                third.execute(f"ALTER ROLE {named} RENAME TO raced_other")
                third.execute(f"ALTER ROLE raced RENAME TO {named}")
                first.execute("ROLLBACK")
            if server.version < 16:
                assert_error(outcome, "2BP01",
                             f'role "{named}" cannot be dropped because some objects depend on it')
            else:
                # It knows from the start which roles are meant.
                outcome.result(20)
                assert server.execute("SELECT rolname FROM pg_roles WHERE rolname = 'raced_other'") == []
            assert server.mappings(named) == [ARN]
            third.execute(f"ALTER ROLE {named} RENAME TO raced")
        finally:
            third.execute(f"DROP ROLE IF EXISTS {waits_for}, raced_other")


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_committed_counts_in_an_older_snapshot(server, racing, first, second, level):
    second.execute(f"BEGIN ISOLATION LEVEL {level}")
    second.execute("SELECT count(*) FROM pg_shseclabel")
    first.execute(GRANT)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist) as raised:
        second.execute(DROP)
    assert (raised.value.diag.sqlstate, raised.value.diag.message_primary) == DEPENDENT
    second.execute("ROLLBACK")
    assert server.mappings("raced") == [ARN]


@pytest.mark.parametrize("race", RACES)
def test_lock_timeout(server, racing, first, second, race):
    before, statement, waits, *_ = RACES[race]
    if before:
        first.execute(before)
    first.execute("BEGIN")
    first.execute(statement)
    second.execute("SET lock_timeout = '20ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable) as raised:
        second.execute(waits)
    assert raised.value.diag.sqlstate == "55P03"


def test_a_role_that_takes_the_name_meanwhile(server, racing, first, second):
    """A DROP ROLE that waited does not fall on the new one; a GRANT looks again, and finds it."""
    first.execute("BEGIN")
    first.execute(DROP)
    with waiting(server, second, DROP) as outcome:
        first.execute("CREATE ROLE raced WITH LOGIN")
        first.execute(GRANT)
        first.execute("COMMIT")
    assert_error(outcome, "42704", 'role "raced" does not exist')
    assert server.mappings("raced") == [ARN]
    first.execute("BEGIN")
    first.execute(REVOKE)
    first.execute(DROP)
    with waiting(server, second, GRANT_OTHER) as outcome:
        first.execute("CREATE ROLE raced WITH LOGIN")
        first.execute("COMMIT")
    outcome.result(20)
    assert server.mappings("raced") == [OTHER_ARN]


def test_opposite_order_is_a_deadlock(server, role, racing, first, second):
    """PostgreSQL's own outcome for any two transactions that lock in opposite order."""
    role("raced_too")
    first.execute("BEGIN")
    first.execute(GRANT)
    second.execute("BEGIN")
    second.execute(f"AWS IAM GRANT raced_too TO '{ARN}'")
    with waiting(server, first, f"AWS IAM GRANT raced_too TO '{OTHER_ARN}'") as outcome:
        error = None
        try:
            second.execute(GRANT_OTHER)
        except psycopg.errors.DeadlockDetected as raised:
            error = raised
        second.execute("ROLLBACK")
    if error is None:
        assert isinstance(outcome.exception(20), psycopg.errors.DeadlockDetected)
        first.execute("ROLLBACK")
    else:
        outcome.result(20)
        first.execute("COMMIT")
    assert server.mappings("raced") == ([ARN] if error else [])
    assert server.mappings("raced_too") == ([OTHER_ARN] if error else [])


def test_login_at_the_same_time(server, racing, first):
    """A login sees what is committed, and waits for nobody."""
    token = server.token("example")
    first.execute(GRANT)
    first.execute("BEGIN")
    first.execute(REVOKE)
    server.connect("raced", token).close()
    first.execute("ROLLBACK")
    server.connect("raced", token).close()
    first.execute(REVOKE)
    assert server.refusal("raced", token).sqlstate == "28000"
    first.execute("BEGIN")
    first.execute(GRANT)
    assert server.refusal("raced", token).sqlstate == "28000"
    first.execute("COMMIT")
    server.connect("raced", token).close()
    first.execute(REVOKE)
    first.execute("BEGIN")
    first.execute(DROP)
    assert server.refusal("raced", token).sqlstate == "28000"
    first.execute("ROLLBACK")


def test_many_at_once(server, racing):
    """Each statement ends with one of the outcomes above: no deadlock, nothing internal."""
    statements = [GRANT, GRANT_OTHER, REVOKE, f"AWS IAM REVOKE raced FROM '{OTHER_ARN}'", DROP,
                  "CREATE ROLE raced WITH LOGIN"]
    stated = {MISSING, DEPENDENT, GRANTED, REVOKED,
              ("42710", f"IAM role {OTHER_ARN} is already granted to role raced"),
              ("42704", f"IAM role {OTHER_ARN} does not exist"),
              # PostgreSQL's own for DROP ROLE and CREATE ROLE.
              ("42704", 'role "raced" does not exist'),
              ("42710", 'role "raced" already exists'),
              ("23505", 'duplicate key value violates unique constraint "pg_authid_rolname_index"')}

    def work(number):
        chance = random.Random(number)
        heard = set()
        with server.connect() as connection:
            for _ in range(300):
                try:
                    connection.execute(chance.choice(statements))
                except psycopg.Error as error:
                    heard.add((error.diag.sqlstate, error.diag.message_primary))
        return heard

    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        heard = set().union(*executor.map(work, range(4)))
    assert heard <= stated
    assert {MISSING, DEPENDENT, GRANTED, REVOKED} <= heard


# Without the extension, and with it again

STAY = ("NOTICE", "IAM mappings stay when the extension dsql_iam is dropped",
        "They count for as long as the library is loaded.",
        f"To remove them all, before the drop: {REMOVE_ALL}")


@pytest.fixture
def superuser(own):
    """On a server whose extension is put back."""
    with own.superuser() as connection:
        connection.notices = []
        connection.add_notice_handler(
            lambda notice: connection.notices.append((
                notice.severity, notice.message_primary, notice.message_detail,
                notice.message_hint)))
        yield connection
        connection.execute("ROLLBACK")
        connection.execute("CREATE EXTENSION IF NOT EXISTS dsql_iam")


def test_drop_extension_keeps_the_mappings(own, role, superuser):
    role("kept", on=own)
    with own.connect() as admin:
        admin.execute(f"AWS IAM GRANT kept TO '{ARN}'")
    before = own.execute("SELECT * FROM sys.iam_pg_role_mappings")
    superuser.execute("DROP EXTENSION dsql_iam")
    assert superuser.notices == [STAY]
    token = own.token("example")
    own.connect("kept", token).close()
    # The statements need the library, not the extension.
    with own.connect() as admin:
        admin.execute(f"AWS IAM GRANT kept TO '{OTHER_ARN}'")
        admin.execute(f"AWS IAM REVOKE kept FROM '{OTHER_ARN}'")
    superuser.execute("CREATE EXTENSION dsql_iam")
    assert own.execute("SELECT * FROM sys.iam_pg_role_mappings") == before
    own.connect("kept", token).close()


def test_the_notice_in_a_database_that_tokens_do_not_open(own, superuser):
    superuser.execute('CREATE DATABASE "App"')
    try:
        assert own.notices("CREATE EXTENSION dsql_iam", dbname="App") == [(
            'tokens do not open the database "App"',
            "Logins with a token are let into the database \"postgres\" only, as on Aurora DSQL.",
            "For such logins, run in that database: CREATE EXTENSION dsql_iam")]
    finally:
        superuser.execute('DROP DATABASE "App"')
    superuser.execute("DROP EXTENSION dsql_iam")
    assert own.notices("CREATE EXTENSION dsql_iam") == []


def test_the_notice_in_every_notation(own, role, superuser):
    role("kept", on=own)
    own.execute(f"SELECT sys.iam_grant('kept', '{ARN}')")
    for drop in ("DROP EXTENSION IF EXISTS dsql_iam CASCADE", 'DROP EXTENSION "dsql_iam", plpgsql',
                 "DROP EXTENSION IF EXISTS nonsense, dsql_iam RESTRICT",
                 "DO $$ BEGIN DROP EXTENSION dsql_iam; END $$"):
        superuser.notices.clear()
        superuser.execute("BEGIN")
        superuser.execute(drop)
        assert STAY in superuser.notices, drop
        superuser.execute("ROLLBACK")
    superuser.notices.clear()
    for drop in ("DROP SCHEMA sys", "DROP SCHEMA sys CASCADE"):
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            superuser.execute(drop)
    superuser.execute("DROP EXTENSION IF EXISTS nonsense")
    assert STAY not in superuser.notices


def assert_dropped_with_a_notice(superuser, statement):
    """In a transaction, which it ends by a ROLLBACK."""
    superuser.notices.clear()
    superuser.execute(statement)
    assert superuser.notices.count(STAY) == 1
    assert superuser.execute("SELECT 1 FROM pg_extension WHERE extname = 'dsql_iam'").fetchall() == []
    superuser.execute("ROLLBACK")


def test_the_notice_if_it_is_dropped_with_something_else(own, role, superuser):
    role("kept", on=own)
    role("owner_of_the_extension", "LOGIN SUPERUSER", on=own)
    own.execute(f"SELECT sys.iam_grant('kept', '{ARN}')")
    superuser.execute("BEGIN")
    superuser.execute("DROP EXTENSION dsql_iam")
    superuser.execute("SET LOCAL ROLE owner_of_the_extension")
    superuser.execute("CREATE EXTENSION dsql_iam")
    superuser.execute("RESET ROLE")
    assert_dropped_with_a_notice(superuser, "DROP OWNED BY owner_of_the_extension CASCADE")
    # By way of an object that it depends on.
    superuser.execute("BEGIN")
    superuser.execute("CREATE FUNCTION needed() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    superuser.execute("INSERT INTO pg_depend SELECT 'pg_extension'::regclass, oid, 0, "
                      "'pg_proc'::regclass, 'needed'::regproc, 0, 'n' FROM pg_extension "
                      "WHERE extname = 'dsql_iam'")
    assert_dropped_with_a_notice(superuser, "DROP FUNCTION needed() CASCADE")
    # Another extension's end is none of ours.
    superuser.execute("BEGIN")
    superuser.notices.clear()
    superuser.execute("DROP EXTENSION plpgsql")
    assert superuser.notices == []
    superuser.execute("ROLLBACK")


def test_all_mappings_are_removed_as_documented(own, role, superuser):
    page = (pathlib.Path(os.environ["WORKSPACE"]) / "docs/install.md").read_text()
    assert REMOVE_ALL in " ".join(page.split())
    for name in ("kept", "kept_too"):
        role(name, on=own)
        own.execute(f"SELECT sys.iam_grant('{name}', '{ARN}')")
        own.execute(f"SELECT sys.iam_grant('{name}', '{OTHER_ARN}')")
    superuser.execute(REMOVE_ALL)
    assert own.execute("SELECT * FROM pg_shseclabel") == []
    superuser.execute("DROP EXTENSION dsql_iam")
    superuser.execute("DROP EXTENSION IF EXISTS dsql_iam")
    assert STAY not in superuser.notices
    assert own.refusal("kept", own.token("example")).sqlstate == "28000"
