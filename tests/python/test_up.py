"""`cargo xtask up`: what it says where it cannot do what it is asked to, how it ends, and that a second
one finds what the first has made."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess

import psycopg
import pytest

from conftest import let_through
from support import EXAMPLE_ARN, Key, Server, note_secrets, sign, until, without
from test_install import pg_config

WORKSPACE = os.environ["WORKSPACE"]
PG_CONFIG = os.environ["PG_CONFIG"]


def bare_environment():
    """The environment of somebody who has sourced nothing."""
    return without("PG", "AWS", "DSQL")


def fault(directory, *arguments):
    done = subprocess.run([os.environ["XTASK"], "up", "--detach", "--dir", directory, *arguments],
                          cwd=os.environ["WORKSPACE"], env=without("PG"), text=True, timeout=300,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done.stdout
    return next(line.removeprefix("error: ") for line in done.stderr.splitlines()
                if line.startswith("error: "))


@pytest.fixture
def directory(tmp_path):
    """A folder that the server's user can get into."""
    return let_through(tmp_path) / "server"


def test_a_port_that_is_taken(directory):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert fault(directory, "--pg-config", os.environ["PG_CONFIG"], "--port", port) == (
            f"something else listens on port {port}: give another --port")


def test_a_port_that_a_connection_has(directory):
    with (socket.create_server(("127.0.0.1", 0)) as server,
          socket.create_connection(server.getsockname()) as client):
        port = str(client.getsockname()[1])
        assert fault(directory, "--pg-config", os.environ["PG_CONFIG"], "--port", port) == (
            f"port {port} is taken by a connection, open or ended within the last minute: give another "
            "--port, or wait")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--cluster-id", "abc"], "a cluster id has 26 characters of a-z and 0-9"),
    (["--region", "nowhere"], "a region looks like us-east-1"),
    (["--account-id", "1"], "an account id has twelve digits"),
    (["--linked", "us-west-2"], "a linked cluster looks like ID@REGION"),
    (["--linked", f"{'b' * 26}@nowhere"], "a region looks like us-east-1"),
    (["--pg", "13"], "13 is not in 14..="),
    (["--pg", "17", "--pg-config", "x"], "the argument '--pg <MAJOR>' cannot be used with"),
])
def test_what_cannot_be_meant(directory, arguments, message):
    done = subprocess.run([os.environ["XTASK"], "up", "--detach", "--dir", directory, *arguments],
                          cwd=WORKSPACE, env=bare_environment(), text=True, timeout=60,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not directory.exists()


def test_a_data_directory_of_another_version(directory):
    (directory / "data").mkdir(parents=True)
    (directory / "data/PG_VERSION").write_text("9\n")
    said = fault(directory, "--pg-config", os.environ["PG_CONFIG"])
    assert said.startswith(f"{directory} holds a cluster of PostgreSQL 9, and ")
    assert said.endswith(": give another --dir, or remove this one")


def test_a_pg_config_that_is_none(directory):
    assert fault(directory, "--pg-config", "/nonexistent").startswith(
        "/nonexistent does not work as a pg_config")


def test_a_postgresql_that_is_too_old(directory, tmp_path):
    config = pg_config(tmp_path, VERSION="PostgreSQL 13.9")
    assert fault(directory, "--pg-config", config) == (
        f"{config} is of PostgreSQL 13, and dsql_iam is for PostgreSQL 14 to 19: name another with "
        "--pg-config")


def test_a_postgresql_without_programs_and_headers(directory, tmp_path):
    config = pg_config(tmp_path, BINDIR=tmp_path, INCLUDEDIR_SERVER="/nonexistent")
    said = fault(directory, "--pg-config", config)
    assert said.startswith(f"the PostgreSQL of {config} lacks {tmp_path}/initdb, ")
    assert said.endswith("the server headers (/nonexistent/postgres.h)")


def test_a_folder_that_the_servers_user_cannot_enter(directory, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only for root the server runs as somebody else")
    tmp_path.chmod(0o700)
    said = fault(directory, "--pg-config", os.environ["PG_CONFIG"])
    assert said.startswith("the server runs as the user ")
    assert f"who cannot get into {directory}: give another --dir" in said


# In the foreground


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def is_alive(process):
    """Whether it runs: one whose parent has not yet asked how it ended does not."""
    try:
        stat = pathlib.Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def down(directory):
    subprocess.run([os.environ["XTASK"], "down", "--dir", directory], check=True, cwd=WORKSPACE,
                   stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def in_the_foreground(directory, tmp_path):
    """`cargo xtask up` in a process group of its own, as a shell gives it one, once it says that the
    server listens; gives the process and what it has printed so far."""
    said = tmp_path / "said"
    with open(said, "w") as output:
        up = subprocess.Popen(
            [*"./x up".split(), "--dir", directory, "--port", free_port(),
             "--pg-config", PG_CONFIG],
            cwd=WORKSPACE, env=bare_environment(), start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(lambda: up.poll() is not None or "To stop it: ./x down" in said.read_text(),
              "the server listens", seconds=300)
        assert up.poll() is None, said.read_text()
        yield up, said
    finally:
        down(directory)
        up.wait(timeout=60)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name)
def test_in_the_foreground_it_ends_with_a_signal(directory, tmp_path, end):
    with in_the_foreground(directory, tmp_path) as (up, said):
        server = Server.at(directory)
        postmaster = server.postmaster()
        assert is_alive(postmaster)
        # The log is on the terminal, and the session that is open does not keep it from ending.
        with server.connect() as session:
            until(lambda: "dsql_iam: login admitted: " in said.read_text(), "the log")
            # As Ctrl-C: all processes of the group get the signal.
            os.killpg(up.pid, end)
            assert up.wait(timeout=60) == 0, said.read_text()
            # The postmaster has ended in good order, and before `up` did.
            assert not is_alive(postmaster)
            assert "database system is shut down" in said.read_text()
            assert not (server.data / "postmaster.pid").exists()
            with pytest.raises(Exception, match="terminating connection due to administrator"):
                session.execute("SELECT 1")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=20)
    assert "panicked" not in said.read_text()


def test_in_the_foreground_it_ends_with_down(directory, tmp_path):
    with in_the_foreground(directory, tmp_path) as (up, said):
        postmaster = Server.at(directory).postmaster()
        down(directory)
        assert up.wait(timeout=60) == 0, said.read_text()
        assert not is_alive(postmaster)


def test_a_server_that_dies_is_an_error(directory, tmp_path):
    with in_the_foreground(directory, tmp_path) as (up, said):
        os.kill(Server.at(directory).postmaster(), signal.SIGKILL)
        assert up.wait(timeout=60) == 1
        assert "error: the server ended (signal: 9 (SIGKILL))" in said.read_text()


# In the background


@pytest.fixture
def detached(directory):
    """Runs `up --detach` in a folder of its own; gives the server and what was printed."""
    def up(*arguments):
        done = subprocess.run(
            [os.environ["XTASK"], "up", "--detach", "--dir", directory, "--pg-config", PG_CONFIG,
             *arguments],
            cwd=WORKSPACE, env=bare_environment(), text=True, timeout=300, stdin=subprocess.DEVNULL,
            capture_output=True)
        assert done.returncode == 0, done.stderr
        return Server.at(directory), done.stdout

    yield up
    down(directory)


def what_is_kept(server):
    """The parts of a server that its user counts on: names, port, keys, certificates, by file."""
    files = [server.dir / "env.sh", server.dir / "state.json"]
    for folder in (server.iam, server.dir / "aws", server.dir / "tls"):
        files += [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


def test_a_second_up_finds_what_the_first_has_made(detached):
    port = free_port()
    server, said = detached("--port", port)
    assert "already running" not in said
    assert f"The server listens on port {port}." in said
    kept, postmaster = what_is_kept(server), server.postmaster()
    assert [name for name in kept if name.endswith(".json")] and server.cluster_id in str(kept)
    server.execute("CREATE TABLE kept ()")

    # The port is that of last time, and the one that runs goes on.
    server, said = detached()
    assert said.startswith("already running\n")
    assert f"The server listens on port {port}." in said
    assert (what_is_kept(server), server.postmaster()) == (kept, postmaster)

    # After `down` another process serves the same cluster to the same keys.
    down(server.dir)
    # pg_ctl waits for the pid file to go, which the process does right after it.
    until(lambda: not is_alive(postmaster), "the end of the postmaster")
    server, said = detached()
    assert "already running" not in said
    assert what_is_kept(server) == kept
    assert server.postmaster() != postmaster
    server.execute("TABLE kept")
    server.connect().close()


def test_a_newcomer_gets_in(detached):
    server, _ = detached("--port", free_port())
    shell = "source target/dsql-iam/env.sh".replace("target/dsql-iam", str(server.dir)) + """
        PGPASSWORD=$(AWS_PROFILE=admin dsql-iam token --admin --hostname localhost) psql \\
            -XAtc 'select current_user'"""
    done = subprocess.run(["bash", "-euc", shell], env=bare_environment(), text=True, timeout=60,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "admin\n", "")


CLUSTER_ID, PEER = "zbcdefghijklmnopqrstuvwxyz", "pbcdefghijklmnopqrstuvwxyz"


def environment_of(server):
    """The variables that env.sh sets, in a shell that sets no others."""
    done = subprocess.run(["sh", "-ec", f". '{server.dir}/env.sh'; env -0"], check=True, text=True,
                          capture_output=True, env={"PATH": os.environ["PATH"]})
    return dict(variable.split("=", 1) for variable in done.stdout.split("\0") if variable)


def test_a_server_that_programs_for_aurora_dsql_expect(detached):
    server, said = detached("--port", free_port(), "--region", "eu-west-1", "--cluster-id", CLUSTER_ID,
                            "--account-id", "210987654321", "--linked", f"{PEER}@eu-west-2")
    endpoint, peer = f"{CLUSTER_ID}.dsql.eu-west-1.on.aws", f"{PEER}.dsql.eu-west-2.on.aws"
    assert f"\n  127.0.0.1 {endpoint}\n  127.0.0.1 {peer}\n" in said
    assert server.cluster_arn == f"arn:aws:dsql:eu-west-1:210987654321:cluster/{CLUSTER_ID}"
    variables = environment_of(server)
    assert variables["DSQL_ENDPOINT"] == endpoint
    assert variables["AWS_REGION"] == "eu-west-1"
    rows = server.execute("SELECT name, setting FROM pg_settings WHERE name IN "
                          "('default_transaction_isolation', 'TimeZone', 'max_connections', "
                          "'dsql_iam.async_indexes')")
    assert dict(rows) == {"default_transaction_isolation": "repeatable read", "TimeZone": "UTC",
                          "max_connections": "1000", "dsql_iam.async_indexes": "on"}

    # By the cluster's own names, verified: the public one, that of PrivateLink, and those of the one linked with it.
    for host in (endpoint, f"{CLUSTER_ID}.dsql-fnh4.eu-west-1.on.aws", peer, f"{PEER}.dsql-fnh4.eu-west-2.on.aws"):
        for role, admin in [("admin", True), ("reader", False)]:
            if role == "reader":
                server.execute("DROP ROLE IF EXISTS reader", "CREATE ROLE reader WITH LOGIN",
                               "AWS IAM GRANT reader TO 'arn:aws:iam::210987654321:user/app'")
            # One identity may be both, as in pipelines.
            signer = server.profile("app").client("dsql", region_name=host.split(".")[2])
            sign = (signer.generate_db_connect_admin_auth_token if admin
                    else signer.generate_db_connect_auth_token)
            with psycopg.connect(host=host, hostaddr="127.0.0.1", port=server.port, user=role,
                                 dbname="postgres", password=note_secrets(sign(host)),
                                 sslmode="verify-full", sslrootcert=server.authority) as connection:
                assert connection.execute("SELECT sys.iam_session_user()").fetchone() == (
                    "arn:aws:iam::210987654321:user/app",)
            server.execute("AWS IAM REVOKE reader FROM 'arn:aws:iam::210987654321:user/app'",
                           "DROP ROLE reader") if role == "reader" else None

    # Clients that know one file of authorities find this server by it, and the rest of the world.
    bundle = pathlib.Path(variables["SSL_CERT_FILE"])
    assert variables["NODE_EXTRA_CA_CERTS"] == variables["DENO_CERT"] == str(bundle)
    ours = pathlib.Path(server.authority).read_text()
    assert bundle.read_text().endswith(ours) and bundle.read_text().count("BEGIN CERTIFICATE") > 100
    # Options that are not given stay, and so does the server; another account needs another folder.
    postmaster = server.postmaster()
    again, said = detached()
    assert said.startswith("already running\n")
    assert (again.cluster_arn, again.postmaster()) == (server.cluster_arn, postmaster)
    assert fault(server.dir, "--pg-config", PG_CONFIG, "--account-id", "012345678912") == (
        f"the identities in {server.dir} are of the account 210987654321: give another --dir, or remove this "
        "one (./x down --remove)")
    # Nobody's connections are cut for another port.
    assert fault(server.dir, "--pg-config", PG_CONFIG, "--port", free_port()) == (
        f"the server of this folder runs on port {server.port}, and another port would cut its connections: "
        "stop it first (./x down)")
    assert server.execute("SHOW dsql_iam.linked_clusters") == [(f"{PEER}@eu-west-2",)]
    for linked in (f"{CLUSTER_ID}@us-east-2", f"{PEER}@eu-west-1"):
        assert fault(server.dir, "--pg-config", PG_CONFIG, "--linked", linked) == (
            f"--linked {linked} has the id or the region of another cluster of this server: each has its own")
    # Another region is a restart, and it says so.
    again, said = detached("--region", "us-west-2")
    assert said.startswith("restarting the server, since it or its settings have changed\n")
    assert again.cluster_arn == server.cluster_arn.replace("eu-west-1", "us-west-2")
    assert again.postmaster() != postmaster


def test_nothing_that_a_client_chose_is_in_each_lines_prefix(detached):
    server, _ = detached("--port", free_port())
    mark = server.log_mark()
    with pytest.raises(psycopg.OperationalError):
        server.connect("a\nLOG:  made up", "x", dbname="b\nLOG:  made up")
    until(lambda: "login refused" in server.log_since(mark), "the refusal")
    for line in server.log_since(mark).splitlines():
        assert not line.startswith("LOG:"), line


def test_sessions_begin_beside_the_server(detached):
    server, said = detached("--port", free_port(), "--sts")
    url = environment_of(server)["AWS_ENDPOINT_URL_STS"]
    assert f"\nSessions of roles begin at {url}\n" in said
    sts = server.profile("admin").client("sts", endpoint_url=url, region_name="us-east-1")
    assert sts.get_caller_identity()["Arn"] == "arn:aws:iam::012345678912:user/dba"
    assert environment_of(server)["AWS_ENDPOINT_URL_IAM"] == url
    iam = server.profile("admin").client("iam", endpoint_url=url, region_name="us-east-1")
    result, = iam.simulate_principal_policy(
        PolicySourceArn=EXAMPLE_ARN, ActionNames=["dsql:DbConnect"],
        ResourceArns=[server.cluster_arn])["EvaluationResults"]
    assert result["EvalDecision"] == "allowed"
    response = sts.assume_role(RoleArn=EXAMPLE_ARN, RoleSessionName="beside")["Credentials"]
    key = Key(response["AccessKeyId"], response["SecretAccessKey"], response["SessionToken"])
    server.execute("CREATE ROLE beside WITH LOGIN", f"AWS IAM GRANT beside TO '{EXAMPLE_ARN}'")
    server.connect("beside", sign(key, "DbConnect")).close()

    process = int((server.dir / "sts.pid").read_text())
    if os.geteuid() == 0:
        assert pathlib.Path(f"/proc/{process}").stat().st_uid == server.iam.stat().st_uid
    # It goes with `up` that does not ask for it, and with `down`.
    server, _ = detached()
    assert not is_alive(process)
    assert "AWS_ENDPOINT_URL_STS" not in environment_of(server)
    server, _ = detached("--sts")
    process = int((server.dir / "sts.pid").read_text())
    assert is_alive(process)
    down(server.dir)
    assert not is_alive(process)


# Checkouts that were copied and moved


def checkout(path):
    """As much of a checkout as `xtask` asks for: cargo says in a variable which one it runs in."""
    (path / "xtask").mkdir(parents=True)
    for name in ("Cargo.toml", "Cargo.lock", "dsql_iam.control", "sql"):
        (path / name).symlink_to(pathlib.Path(WORKSPACE) / name)
    return path


def xtask(root, *arguments):
    done = subprocess.run(
        [os.environ["XTASK"], *arguments], cwd=WORKSPACE, text=True, timeout=300, capture_output=True,
        env=bare_environment() | {"CARGO_MANIFEST_DIR": str(root / "xtask")}, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def test_a_copied_checkout_leaves_the_server_of_the_first_alone(detached, tmp_path):
    server, _ = detached("--port", free_port())
    postmaster = server.postmaster()
    copy, link = checkout(tmp_path / "a copy"), tmp_path / "link"
    link.symlink_to(server.dir)
    for directory, remove in [(server.dir, "rm -r"), (link, "rm")]:
        for command in (["down"], ["down", "--remove"]):
            assert xtask(copy, *command, "--dir", directory) == (
                1, "", f"error: {directory} belongs to the checkout in {WORKSPACE}: give another --dir, or "
                       f"remove this one: {remove} {directory}\n")
    assert is_alive(postmaster)
    # One that has gone has no say in it: it was moved.
    state = json.loads((server.dir / "state.json").read_text())
    state["checkout"] = str(tmp_path / "moved away")
    (server.dir / "state.json").write_text(json.dumps(state))
    assert xtask(copy, "down", "--dir", server.dir) == (0, f"stopped the server in {server.dir}\n", "")


def test_down_can_remove_it_all(detached, tmp_path):
    server, _ = detached("--port", free_port())
    postmaster = server.postmaster()
    arguments = ("down", "--remove", "--dir", server.dir)
    assert xtask(pathlib.Path(WORKSPACE), *arguments) == (
        0, f"stopped the server in {server.dir}\nremoved {server.dir}\n", "")
    until(lambda: not is_alive(postmaster), "the end of the postmaster")
    assert not server.dir.exists()
    assert xtask(pathlib.Path(WORKSPACE), *arguments) == (0, f"no server runs in {server.dir}\n", "")
    # A folder that it did not make stays.
    (tmp_path / "mine").mkdir()
    status, _, said = xtask(pathlib.Path(WORKSPACE), "down", "--remove", "--dir", tmp_path / "mine")
    assert (status, said) == (1, f"error: {tmp_path}/mine was not made by cargo xtask up, so it stays: it "
                                 "has no state.json\n")
    assert (tmp_path / "mine").exists()


def test_down_finds_the_server_after_cargo_clean(tmp_path):
    """Root's is not in the target folder, where the server's user could not get into, but linked from there."""
    if os.geteuid() != 0:
        pytest.skip("only for root the server runs as somebody else")
    target = tmp_path / "target"
    environment = bare_environment() | {"CARGO_TARGET_DIR": str(target)}
    server = target / "dsql-iam"
    elsewhere = pathlib.Path("/var/lib/dsql-iam") / hashlib.sha256(str(server).encode()).hexdigest()[:16]
    data = elsewhere / "data"
    data.mkdir(parents=True)
    (elsewhere / "state.json").write_text(json.dumps({"cluster_id": "a", "port": 1, "bin": "/"}))
    sleeper = subprocess.Popen(["sleep", "300"], cwd=data)
    try:
        (data / "postmaster.pid").write_text(f"{sleeper.pid}\n")
        done = subprocess.run([os.environ["XTASK"], "down", "--remove"], cwd=WORKSPACE, env=environment,
                              text=True, timeout=60, capture_output=True, stdin=subprocess.DEVNULL)
        assert (done.returncode, done.stdout) == (
            0, f"stopped the server in {server}\nremoved {server}\n"), done.stderr
        assert sleeper.wait(timeout=60) == -signal.SIGINT
        assert not elsewhere.exists()
    finally:
        sleeper.kill()
        sleeper.wait()
        shutil.rmtree(elsewhere, ignore_errors=True)
