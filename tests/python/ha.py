"""Three nodes under Patroni, with etcd, as docs/operations.md has it: tokens are judged on each, and a failover loses no
GRANT.

`cargo xtask test --only ha` runs it; it is no part of all tests, since it needs Debian's patroni and etcd.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import threading
import urllib.request

import psycopg
import pytest
from ruamel.yaml import YAML

from assumable import ALICE, identities, role_arn, session_key, session_path, token
from support import Key, Server, access_key, account, policy, sign, until

NODES = ("one", "two", "three")
PAGE = pathlib.Path(os.environ["WORKSPACE"]) / "docs/operations.md"

# The superuser of these tests: over the socket it comes in as the role of its name.
TESTER = pwd.getpwuid(os.geteuid()).pw_name


def free_ports(number):
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


class Node(Server):
    """A node: a server of Patroni's, with documents of its own."""

    def __init__(self, seed, name, port, rest, etcd):
        super().__init__(seed.variables | {"PGPORT": str(port)})
        self.name, self.rest, self.seed = name, rest, seed
        self.dir = seed.folder(name)
        self.data = self.dir / "data"
        self.iam = self.dir / "iam"
        self.conninfo = f"host='{self.dir}' port={port} user={TESTER} dbname=postgres"
        shutil.copytree(seed.iam, self.iam)
        configuration = self.dir / "patroni.json"
        configuration.write_text(json.dumps(self.configuration(etcd), indent=2))
        user = seed.iam.stat()
        for path in [self.iam, *self.iam.iterdir(), configuration]:
            os.chown(path, user.st_uid, user.st_gid)
            path.chmod(0o700 if path.is_dir() else 0o600)
        self.patroni = None

    def configuration(self, etcd):
        """The page's, with the addresses, folders and names of this node."""
        tls = self.seed.dir / "tls"
        text = re.search(r"^```yaml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
        page = YAML(typ="safe").load(text.replace("10.0.0.0/8", "127.0.0.1/32"))
        page["bootstrap"]["dcs"] |= {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}
        page["bootstrap"]["initdb"] = [{"encoding": "UTF8"}]
        page["postgresql"] |= {
            "listen": f"127.0.0.1:{self.port}", "connect_address": f"127.0.0.1:{self.port}",
            "data_dir": str(self.data), "bin_dir": str(self.seed.bin_dir), "pgpass": str(self.dir / "pgpass"),
        }
        page["postgresql"]["parameters"] |= {
            "unix_socket_directories": str(self.dir), "timezone": "UTC", "fsync": "off",
            "ssl_cert_file": str(tls / "server.pem"), "ssl_key_file": str(tls / "server.key"),
            "dsql_iam.iam_directory": str(self.iam), "dsql_iam.cluster_id": self.seed.cluster_id,
            "dsql_iam.loopback_endpoints": "on",
        }
        return page | {
            "scope": "ha", "name": self.name, "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "restapi": {"listen": f"127.0.0.1:{self.rest}", "connect_address": f"127.0.0.1:{self.rest}"},
        }

    def start(self):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        with open(self.dir / "patroni.log", "ab") as log:
            self.patroni = subprocess.Popen(["patroni", self.dir / "patroni.json"], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, cwd=self.dir,
                                            env=environment | {"HOME": str(self.dir)}, **self.seed.owner)

    @property
    def log(self):
        return (self.dir / "patroni.log").read_text(errors="replace")

    def kill(self):
        """As a machine that loses its power."""
        postmaster = self.postmaster()
        self.patroni.kill()
        os.kill(postmaster, signal.SIGKILL)
        self.patroni.wait()

    def state(self):
        """Patroni's own state."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/patroni", timeout=5) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            return {}

    def is_primary(self):
        return self.state().get("role") in ("master", "primary")

    def is_streaming(self):
        state = self.state()
        return state.get("state") == "running" and state.get("role") == "replica" and self.execute(
            "SELECT status FROM pg_stat_wal_receiver") == [("streaming",)]

    def mappings(self):
        return {name for (name,) in self.execute("SELECT pg_role_name FROM sys.iam_pg_role_mappings")}


class Cluster:
    def __init__(self, nodes):
        self.nodes = nodes

    def primary(self):
        return until(lambda: next((node for node in self.nodes if node.is_primary()), None),
                     "there is a primary", 90)

    def replicas(self):
        primary = self.primary()
        others = [node for node in self.nodes if node is not primary and node.patroni]
        for node in others:
            until(node.is_streaming, f"{node.name} follows: {node.log[-2000:]}", 90)
        return others

    def synchronous(self):
        """Waits until a replica has to acknowledge each commit, and alone may take over; gives it."""
        def found():
            with urllib.request.urlopen(f"http://127.0.0.1:{self.primary().rest}/cluster", timeout=5) as answer:
                members = json.load(answer)["members"]
            names = [member["name"] for member in members if member["role"] == "sync_standby"]
            return next((node for node in self.nodes if node.name in names), None)
        return until(found, "a synchronous replica", 60)


@pytest.fixture(scope="module")
def cluster(own):
    assert pwd.getpwuid(own.iam.stat().st_uid).pw_name == "postgres" != TESTER, "Patroni runs as on the page: run this as root"
    # Patroni wants all programs in one folder: the one with the server that knows the extension.
    own.bin_dir = own.data.parent / own.program.rpartition("/")[0]
    for program in ("initdb", "pg_basebackup", "pg_controldata", "pg_ctl", "pg_isready", "pg_rewind"):
        shutil.copy(own.bin / program, own.bin_dir)
    client, peer, *ports = free_ports(2 + 2 * len(NODES))
    folder = own.folder("etcd")
    with contextlib.ExitStack() as stack:
        with open(own.dir / "etcd.log", "wb") as log:
            etcd = subprocess.Popen(
                ["etcd", "--data-dir", folder, "--listen-client-urls", f"http://127.0.0.1:{client}",
                 "--advertise-client-urls", f"http://127.0.0.1:{client}",
                 "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                 "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--unsafe-no-fsync"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **own.owner)
        stack.callback(etcd.wait)
        stack.callback(etcd.kill)
        nodes = [Node(own, name, ports.pop(), ports.pop(), client) for name in NODES]
        cluster = Cluster(nodes)
        for node in nodes:
            stack.callback(end, node)
            node.start()
            try:
                until(lambda node=node: node.state().get("state") == "running", f"{node.name} runs", 120)
                if node is nodes[0]:
                    until(node.is_primary, "the first node makes the cluster", 60)
                    node.as_owner("psql", "-h", node.dir, "-p", str(node.port), "-U", "postgres", "-d", "postgres",
                                  "-c", f'CREATE ROLE "{TESTER}" SUPERUSER LOGIN')
            except AssertionError:
                print(node.log[-4000:])
                raise
        cluster.replicas()
        cluster.synchronous()
        cluster.primary().execute("CREATE EXTENSION dsql_iam")
        yield cluster


def end(node):
    if node.patroni and node.patroni.poll() is None:
        node.patroni.terminate()
        try:
            node.patroni.wait(30)
        except subprocess.TimeoutExpired:
            node.kill()


def grant(connection, role, arn):
    connection.execute(f'CREATE ROLE "{role}" LOGIN')
    connection.execute(f"AWS IAM GRANT \"{role}\" TO '{arn}'")


def test_each_node_judges_tokens(cluster, own):
    primary, replicas = cluster.primary(), cluster.replicas()
    with primary.connect() as admin:
        grant(admin, "everywhere", role_arn("example"))
    for node in replicas:
        until(lambda: "everywhere" in node.mappings(), "the mapping is there")
    for node in cluster.nodes:
        with node.connect("everywhere", own.token("example")) as connection:
            assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (node is not primary,)
        assert node.refusal("everywhere", own.token("denied", admin=False)).sqlstate == "08006"
        # The exempt role, with which Patroni lets an old primary find out what to undo: its password and no other.
        with node.connect("rewinder", "REWINDERS_PASSWORD"):
            pass
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            node.connect("rewinder", "of-somebody")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            node.connect("rewinder", own.token("example"))


def test_the_doctor_warns_of_what_patroni_needs(cluster, own):
    for node in cluster.nodes:
        done = own.run("doctor", "--json", node.conninfo)
        assert done.returncode == 0, done
        warnings = [row["found"] for row in json.loads(done.stdout) if row["status"] != "ok"]
        assert len(warnings) == 2 and any("with a password over TCP: rewinder" in found for found in warnings), warnings
        assert any(found.startswith("for replication, with scram-sha-256, by line ") for found in warnings), warnings


def test_documents_that_differ(cluster):
    """Each node goes by its own documents: a key that one has opens that one, until the others have it too."""
    documents = {
        "differing-account.json": account(users={"late": [policy("dsql:DbConnectAdmin")]}),
        "differing-key.json": access_key("late", Key("AKIALATELATELATELATE", "secret-of-the-late-key")),
    }
    key = Key("AKIALATELATELATELATE", "secret-of-the-late-key")
    first, *others = cluster.nodes
    place = lambda node: [node.write(node.iam / name, json.dumps(text)) for name, text in documents.items()]
    place(first)
    token = lambda: sign(key, "DbConnectAdmin")
    until(lambda: first.admits("admin", token()), "the first node has the key")
    for node in others:
        assert node.refusal("admin", token()).sqlstate == "08006"
    for node in others:
        place(node)
        until(lambda: node.admits("admin", token()), f"{node.name} has the key")
    for node in cluster.nodes:
        for name in documents:
            (node.iam / name).unlink()
        until(lambda: not node.admits("admin", token()), f"{node.name} has it no longer")


def test_a_session_is_known_where_its_file_is(cluster, own):
    """Copied as the page says."""
    first, *others = cluster.nodes
    with contextlib.ExitStack() as stack:
        for node in cluster.nodes:
            stack.enter_context(identities(node))
        with cluster.primary().connect() as admin:
            grant(admin, "assuming", role_arn("delegating"))
        variables = os.environ | own.variables | {"AWS_ACCESS_KEY_ID": ALICE.id, "AWS_SECRET_ACCESS_KEY": ALICE.secret}
        done = own.run("assume-role", "--role-arn", role_arn("delegating"), "--role-session-name", "s1",
                       "--iam-directory", first.iam, env=variables)
        key = session_key(json.loads(done.stdout)["Credentials"])
        until(lambda: first.admits("assuming", token(key)), "the mapping is there")
        for node in others:
            until(lambda: "assuming" in node.mappings(), "the mapping is there")
            refused = node.refusal("assuming", token(key))
            assert (refused.sqlstate, refused.hint) == (
                "08006", "The security token included in the request is invalid.")
            subprocess.run(["rsync", "--archive", "--exclude", ".*", f"{first.iam}/sessions/", f"{node.iam}/sessions/"],
                           check=True)
            assert node.admits("assuming", token(key))
            assert not list(node.iam.glob("sessions/*/.*")), "what a node counts is its own"
            session_path(node, key.id).unlink()
            assert not node.admits("assuming", token(key))


class Grants(threading.Thread):
    """Maps one role after the other on whichever node is the primary, as a migration that starts again does."""

    def __init__(self, cluster, own):
        super().__init__(daemon=True)
        self.cluster, self.own = cluster, own
        self.acknowledged, self.is_over, self.fault = [], threading.Event(), None

    def run(self):
        number = 0
        while not self.is_over.is_set():
            try:
                with self.cluster.primary().connect(password=self.own.token("admin")) as admin:
                    while not self.is_over.is_set():
                        number += 1
                        grant(admin, f"role {number}", role_arn(f"number-{number}"))
                        self.acknowledged.append(f"role {number}")
            except psycopg.Error:
                continue
            except Exception as fault:
                self.fault = fault
                return


def test_a_failover_loses_no_grant(cluster, own):
    old = cluster.primary()
    cluster.replicas()
    cluster.synchronous()
    grants = Grants(cluster, own)
    grants.start()
    until(lambda: len(grants.acknowledged) >= 20, "grants before")
    old.kill()
    survivors = [node for node in cluster.nodes if node is not old]
    new = until(lambda: next((node for node in survivors if node.is_primary()), None), "another primary", 90)
    before = len(grants.acknowledged)
    until(lambda: grants.fault or len(grants.acknowledged) >= before + 20, "grants behind", 90)

    # The old one has committed what nobody else has: it comes back by pg_rewind, whose role is an exempt one.
    alone = [old.seed.bin_dir / "postgres", "--single", "-D", old.data, "-c", "synchronous_commit=local", "postgres"]
    subprocess.run(alone, check=True, timeout=60, input=b"CREATE ROLE diverged\n", capture_output=True, cwd=old.dir,
                   **old.owner)
    assert "pg_rewind exit code" not in old.log
    old.start()
    until(old.is_streaming, "the old primary follows", 120)
    grants.is_over.set()
    grants.join(60)
    assert not grants.fault and not grants.is_alive()
    assert cluster.primary() is new
    assert "pg_rewind exit code=0" in old.log
    assert not old.execute("SELECT 1 FROM pg_roles WHERE rolname = 'diverged'")
    for node in cluster.nodes:
        until(lambda: set(grants.acknowledged) <= node.mappings(), f"{node.name} has all of them")
    assert old.mappings() == new.mappings()
    for node in cluster.nodes:
        with node.connect("everywhere", own.token("example")):
            pass
    print(f"{len(grants.acknowledged)} GRANTs acknowledged, none lost")


def test_a_switchover(cluster, own):
    """Asked for, as for maintenance: the same tokens log in before and behind."""
    old = cluster.primary()
    cluster.replicas()
    synchronous = cluster.synchronous()
    request = urllib.request.Request(
        f"http://127.0.0.1:{old.rest}/switchover", method="POST",
        data=json.dumps({"leader": old.name, "candidate": synchronous.name}).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200
    until(lambda: synchronous.is_primary(), "the other is the primary", 60)
    cluster.replicas()
    with synchronous.connect(password=own.token("admin")) as admin:
        grant(admin, "behind", role_arn("behind"))
    for node in cluster.nodes:
        until(lambda: "behind" in node.mappings(), "the mapping is there")
