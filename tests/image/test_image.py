"""The image, in containers: as somebody runs it who has never read the documents, as pipelines run it, and as
operators do who restart, upgrade and confine it. `cargo xtask test --only image` builds it and starts these."""

import configparser
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import boto3
import psycopg
import pytest
from ruamel.yaml import YAML

from support import until

WORKSPACE = pathlib.Path(__file__).parent.parent.parent
EXAMPLES = WORKSPACE / "examples/ci"
IMAGE = os.environ["IMAGE"]
ACCOUNT = "012345678912"
CLUSTER = "abcdefghijklmnopqrstuvwxyz"
KEY_ID, SECRET = "AKIA0123456789ABCDEF", "0123456789/bcdefghijklmnopqrstuvwxyzABCD"
KEY = ("--env", f"DSQL_IAM_ACCESS_KEY_ID={KEY_ID}", "--env", f"DSQL_IAM_SECRET_ACCESS_KEY={SECRET}")
CREDENTIALS = "/var/lib/dsql-iam/credentials"
SCRIPTS = "/docker-entrypoint-initdb.d"
CERTIFICATE = "/var/lib/dsql-iam/tls/server.crt"
# The longest that a container may take, in seconds; it takes a few.
PATIENCE = 120


def docker(*words, check=True, **options):
    done = subprocess.run(["docker", *words], text=True, capture_output=True, **options)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


# The official image's volume, which is another from version 18 on.
DATA, = json.loads(docker("inspect", "--format", "{{json .Config.Volumes}}", IMAGE)).keys() - {"/var/lib/dsql-iam"}


class Container:
    """A container, and how clients get into it."""

    def __init__(self, *options, image=IMAGE, words=()):
        self.id = docker("run", "--detach", "--publish", "127.0.0.1::5432", *options, image, *words)

    def inspect(self, form):
        return docker("inspect", "--format", form, self.id)

    def wait(self):
        """Until the image's own health check is content."""
        self.until_it_is("healthy")
        self.port = docker("port", self.id, "5432/tcp").splitlines()[0].rpartition(":")[2]
        return self

    def until_it_is(self, status):
        def found():
            assert self.inspect("{{.State.Running}}") == "true"
            return self.inspect("{{.State.Health.Status}}") == status
        until(found, f"the container is {status}", PATIENCE)

    def logs(self):
        done = subprocess.run(["docker", "logs", self.id], text=True, capture_output=True, check=True)
        return done.stdout + done.stderr

    def read(self, path):
        return docker("exec", self.id, "cat", path)

    def ask(self, query):
        """The answer to a superuser, over the socket."""
        return docker("exec", "--user", "postgres", self.id, "psql", "-XAtc", query)

    def health(self):
        """What the health check says at this moment, and whether it is content."""
        done = subprocess.run(["docker", "exec", self.id, "dsql-iam-health"], text=True, capture_output=True,
                              check=False)
        return done.returncode == 0, done.stdout + done.stderr

    def profiles(self):
        parsed = configparser.ConfigParser()
        parsed.read_file(io.StringIO(self.read(CREDENTIALS)))
        return {name: (parsed[name]["aws_access_key_id"], parsed[name]["aws_secret_access_key"])
                for name in parsed.sections()}

    def login(self, key, folder, user="admin", hostname="localhost", certificate=CERTIFICATE):
        authority = folder / "authority.crt"
        authority.write_text(self.read(certificate))
        return psycopg.connect(
            host="localhost", hostaddr="127.0.0.1", port=self.port, dbname="postgres", user=user,
            password=token(key, user, hostname), sslmode="verify-full", sslrootcert=authority,
            autocommit=True)

    def who(self, *arguments, **options):
        with self.login(*arguments, **options) as connection:
            return connection.execute("SELECT sys.iam_session_user()").fetchone()[0]


def token(key, user="admin", hostname="localhost"):
    client = boto3.client("dsql", region_name="us-east-1", aws_access_key_id=key[0],
                          aws_secret_access_key=key[1])
    if user == "admin":
        return client.generate_db_connect_admin_auth_token(hostname)
    return client.generate_db_connect_auth_token(hostname)


@contextlib.contextmanager
def started(*options, **named):
    """A container that need not get as far as being healthy."""
    container = Container(*options, **named)
    try:
        yield container
    except BaseException:
        print(container.logs(), container.inspect("{{json .State.Health.Log}}"))
        raise
    finally:
        docker("rm", "--force", "--volumes", container.id)


@contextlib.contextmanager
def running(*options, **named):
    with started(*options, **named) as container:
        yield container.wait()


@contextlib.contextmanager
def volumes(*names):
    made = [docker("volume", "create") for _ in names]
    try:
        yield [word for name, path in zip(made, names) for word in ("--volume", f"{name}:{path}")]
    finally:
        docker("volume", "rm", *made)


def refusal(*options):
    """The log of a container that does not start."""
    done = subprocess.run(["docker", "run", "--rm", *options, IMAGE], text=True, capture_output=True,
                          timeout=PATIENCE, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.removeprefix("dsql-iam: ").strip()


def seen_by_everybody(container):
    """All that tells of a container without reading its private files."""
    processes = docker("exec", container.id, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    # As the server's user, who may read the environment of all that the server runs.
    environments = docker("exec", "--user", "postgres", container.id, "sh", "-c",
                          "cat /proc/1/environ /proc/$(pgrep -n -f 'postgres:' || echo 1)/environ | tr '\\0' '\\n'")
    return container.logs() + processes + environments


# Nothing given


@pytest.fixture(scope="module")
def plain():
    with running() as container:
        yield container


def test_with_nothing_given_it_makes_identities(plain, tmp_path):
    profiles = plain.profiles()
    assert list(profiles) == ["default", "app", "dba", "visitor"]
    assert profiles["default"] == profiles["app"]
    assert plain.who(profiles["default"], tmp_path) == f"arn:aws:iam::{ACCOUNT}:user/app"
    assert plain.who(profiles["dba"], tmp_path) == f"arn:aws:iam::{ACCOUNT}:user/dba"
    with pytest.raises(psycopg.OperationalError, match="unable to accept connection, access denied"):
        plain.login(profiles["visitor"], tmp_path)
    with pytest.raises(psycopg.OperationalError, match="unable to accept connection, access denied"):
        plain.login((profiles["app"][0], profiles["dba"][1]), tmp_path)


def test_the_made_secrets_are_in_private_files_only(plain):
    said = plain.logs()
    assert f"have access keys that were made for them, in {CREDENTIALS}, which AWS's programs read" in said
    shown = docker("exec", plain.id, "find", "/var/lib/dsql-iam", "-type", "f", "-printf", "%m %u %P\\n")
    files = {line.split()[2]: tuple(line.split()[:2]) for line in shown.splitlines()}
    assert files["credentials"] == files["tls/server.key"] == ("600", "postgres")
    assert {mode for name, mode in files.items() if name.endswith(".json")} == {("600", "postgres")}
    assert docker("exec", plain.id, "stat", "--format", "%a %U", "/var/lib/dsql-iam") == "700 postgres"
    everywhere = seen_by_everybody(plain)
    for _, secret in plain.profiles().values():
        assert secret not in everywhere


def test_a_role_logs_in_as_soon_as_it_is_mapped(plain, tmp_path):
    key = plain.profiles()["default"]
    with plain.login(key, tmp_path) as admin:
        admin.execute("CREATE ROLE reader WITH LOGIN")
        with pytest.raises(psycopg.OperationalError, match="access denied"):
            plain.login(key, tmp_path, user="reader")
        admin.execute(f"AWS IAM GRANT reader TO 'arn:aws:iam::{ACCOUNT}:user/app'")
    assert plain.who(key, tmp_path, user="reader") == f"arn:aws:iam::{ACCOUNT}:user/app"


# The environment


def test_the_key_of_the_environment_opens_it(tmp_path):
    options = ("--env", "DSQL_IAM_ACCOUNT_ID=111122223333", "--env", f"DSQL_IAM_CLUSTER_ID={CLUSTER}",
               "--env", "AWS_REGION=us-east-1", "--env", "DSQL_IAM_ENDPOINTS=dsql,db.example")
    with running(*KEY, *options) as container:
        arn = "arn:aws:iam::111122223333:user/app"
        assert container.who((KEY_ID, SECRET), tmp_path) == arn
        assert container.who((KEY_ID, SECRET), tmp_path, hostname="db.example") == arn
        assert container.who((KEY_ID, SECRET), tmp_path, hostname=f"{CLUSTER}.dsql.us-east-1.on.aws") == arn
        for key, hostname in (((KEY_ID, SECRET[::-1]), "localhost"), ((KEY_ID, SECRET), "other.example")):
            with pytest.raises(psycopg.OperationalError, match="access denied"):
                container.login(key, tmp_path, hostname=hostname)
        assert SECRET not in seen_by_everybody(container)
        assert docker("exec", container.id, "sh", "-c", f"! test -e {CREDENTIALS} && echo none") == "none"
        # The log names the cluster, and the next start makes another key.
        assert f"cluster arn:aws:dsql:us-east-1:111122223333:cluster/{CLUSTER}, certificate in" in container.logs()


def test_without_its_key_the_environments_key_opens_nothing_more(tmp_path):
    with volumes(DATA, "/var/lib/dsql-iam") as kept:
        with running(*KEY, *kept) as first:
            assert first.who((KEY_ID, SECRET), tmp_path)
        with running(*kept) as second:
            with pytest.raises(psycopg.OperationalError, match="access denied|token .* is invalid"):
                second.login((KEY_ID, SECRET), tmp_path)
            made = second.profiles()["default"]
            assert second.who(made, tmp_path)
        with running(*KEY, *kept) as third:
            assert third.who((KEY_ID, SECRET), tmp_path)
            with pytest.raises(psycopg.OperationalError, match="access denied|token .* is invalid"):
                third.login(made, tmp_path)


BOTH = "there are IAM documents in /iam, and DSQL_IAM_ACCESS_KEY_ID or DSQL_IAM_SECRET_ACCESS_KEY is set: leave out the one or the other"
NO_ID = "DSQL_IAM_ACCESS_KEY_ID is not an access key id: AKIA, and 12 to 124 capital letters and digits"
NO_SECRET = "DSQL_IAM_SECRET_ACCESS_KEY is missing or not a secret access key: 16 to 128 letters, digits, /, + and ="


@pytest.mark.parametrize(("options", "said"), [
    (("--tmpfs", "/iam"), "there are no IAM documents in /iam: mount a folder with them, for example with "
                          "--volume \"$PWD/iam:/iam:ro\"; without a folder the container makes identities"),
    (("--env", "DSQL_IAM_DIRECTORY=/elsewhere"),
     "there are no IAM documents in /elsewhere: mount a folder with them, for example with "
     "--volume \"$PWD/iam:/elsewhere:ro\"; without a folder the container makes identities"),
    (("--volume", f"{EXAMPLES}/iam:/iam:ro", *KEY), BOTH),
    (("--volume", f"{EXAMPLES}/iam:/iam:ro", "--env", "DSQL_IAM_ACCESS_KEY_ID="), BOTH),
    (KEY[:2], NO_SECRET),
    (KEY[2:], NO_ID),
    (("--env", "DSQL_IAM_ACCESS_KEY_ID=", "--env", "DSQL_IAM_SECRET_ACCESS_KEY="), NO_ID),
    ((*KEY[:2], "--env", 'DSQL_IAM_SECRET_ACCESS_KEY=0123456789012345", "x": "'), NO_SECRET),
    ((*KEY, "--env", "DSQL_IAM_ENDPOINTS=a b"),
     "DSQL_IAM_ENDPOINTS has to be names of hosts with commas between them"),
    (("--env", "DSQL_IAM_ACCOUNT_ID=12"), "DSQL_IAM_ACCOUNT_ID is not an account id: twelve digits"),
    (("--env", "POSTGRES_USER=dba"),
     'POSTGRES_USER is "dba", and the superuser has to be postgres: over TCP no superuser is let in, and over the '
     "socket it is the system's user postgres who comes; leave POSTGRES_USER out"),
], ids=lambda value: "" if isinstance(value, str) else None)
def test_it_does_not_start(options, said):
    found = refusal(*options)
    assert found == said
    assert SECRET not in found


def test_a_refused_start_leaves_the_volumes_as_they_were(tmp_path):
    with volumes(DATA, "/var/lib/dsql-iam") as kept:
        for variable, said in (
                ("AWS_REGION=us,east-1", 'AWS_REGION is "us,east-1", which is not a region such as us-east-1'),
                ("DSQL_IAM_CLUSTER_ID=cluster",
                 'DSQL_IAM_CLUSTER_ID is "cluster", which is not a cluster id: 26 small letters and digits'),
                ("DSQL_IAM_TLS=/tls", "DSQL_IAM_TLS has to be a folder with server.crt and server.key for "
                                      "PostgreSQL: there is no /tls/server.crt")):
            assert refusal("--env", variable, *kept) == said
        with running(*kept) as container:
            assert "Success. You can now start the database server" in container.logs()
            assert container.who(container.profiles()["default"], tmp_path)


def test_a_certificate_that_is_given_is_taken(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir(mode=0o755)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-subj", "/CN=db", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "server.key",
                    "-out", folder / "server.crt"], check=True, capture_output=True)
    options = ("--volume", f"{folder}:/tls:ro", "--env", "DSQL_IAM_TLS=/tls")
    user = int(docker("run", "--rm", IMAGE, "id", "-u", "postgres"))
    os.chown(folder / "server.key", 1000, 1000)
    assert refusal(*options) == (
        "DSQL_IAM_TLS has to be a folder with server.crt and server.key for PostgreSQL: the server's user, "
        f"{user}, cannot read /tls/server.key")
    os.chown(folder / "server.key", user, user)
    with running(*options) as container:
        assert container.who(container.profiles()["default"], tmp_path, certificate="/tls/server.crt")


def test_what_the_official_image_takes_from_files(tmp_path):
    for name, text in (("password", "secret"), ("user", "postgres"), ("other", "dba")):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o644)
    options = [word for name in ("password", "user", "other") for word in
               ("--volume", f"{tmp_path / name}:/run/secrets/{name}:ro")]
    with running(*options, "--env", "POSTGRES_PASSWORD_FILE=/run/secrets/password", "--env",
                 "POSTGRES_USER_FILE=/run/secrets/user", "--env",
                 "POSTGRES_INITDB_ARGS=--data-checksums") as container:
        assert container.who(container.profiles()["default"], tmp_path)
        assert container.ask("SHOW data_checksums") == "on"
        # The socket is not open to whoever is in the container.
        lines = container.ask("SELECT auth_method FROM pg_hba_file_rules WHERE type = 'local'").splitlines()
        assert set(lines) == {"peer"}
    assert refusal(*options, "--env", "POSTGRES_USER_FILE=/run/secrets/other").startswith(
        'POSTGRES_USER is "dba", and the superuser has to be postgres: ')


# The extension


USES_IT = f"CREATE ROLE reader LOGIN; SELECT sys.iam_grant('reader', 'arn:aws:iam::{ACCOUNT}:user/app');"


@pytest.mark.parametrize(("hidden", "script"), [
    (False, USES_IT),
    (True, "CREATE ROLE reader LOGIN;"),
    # The image does not create it before, nor is it there a second time.
    (True, "CREATE EXTENSION dsql_iam; " + USES_IT),
], ids=["beside the image's", "in its place", "in its place and creating it"])
def test_scripts_of_the_users_find_the_extension_or_leave_it_to_the_image(hidden, script, tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir(mode=0o755)
    (folder / "10-own.sql").write_text(script)
    mounted = f"{folder}:{SCRIPTS}:ro" if hidden else f"{folder}/10-own.sql:{SCRIPTS}/10-own.sql:ro"
    with running("--volume", mounted) as container:
        key = container.profiles()["default"]
        assert container.who(key, tmp_path)
        if script.endswith(USES_IT):
            assert container.who(key, tmp_path, user="reader")


def test_a_first_start_that_failed_is_made_good_by_the_next(tmp_path):
    """The official image has made the cluster by then, and runs no more scripts."""
    with volumes(DATA, "/var/lib/dsql-iam") as kept:
        done = subprocess.run(["docker", "run", "--rm", *kept, IMAGE, "postgres", "-c", "work_mem=none"], text=True,
                              capture_output=True, timeout=PATIENCE, check=False)
        assert done.returncode != 0 and 'invalid value for parameter "work_mem": "none"' in done.stdout + done.stderr
        with running(*kept) as container:
            assert container.who(container.profiles()["default"], tmp_path)


def test_the_extension_is_brought_to_the_version_of_a_newer_image(tmp_path):
    extension = "/usr/share/postgresql/*/extension"
    older = docker("build", "--quiet", "-", input=f"FROM {IMAGE}\nRUN cd {extension} && mv dsql_iam--*.sql "
                   "dsql_iam--0.0.9.sql && "
                   "sed -i \"s/^default_version.*/default_version = '0.0.9'/\" dsql_iam.control\n")
    newer = docker("build", "--quiet", "-", input=f"FROM {IMAGE}\nRUN cd {extension} && v=$(ls dsql_iam--*.sql) && "
                   "echo 'SELECT 1;' >\"dsql_iam--0.0.9--${v#dsql_iam--}\"\n")
    version = "SELECT extversion FROM pg_extension WHERE extname = 'dsql_iam'"
    with volumes(DATA, "/var/lib/dsql-iam") as kept:
        # Its library is of another version, so this one is not healthy.
        with started(*kept, image=older) as container:
            until(lambda: "fault    extension" in container.health()[1], "the cluster is there", PATIENCE)
            assert container.ask(version) == "0.0.9"
        # One that has no way from there to its own version says so, and serves on.
        with started(*kept) as container:
            until(lambda: "could not be created, or updated" in container.logs(), "the log has it", PATIENCE)
            said = container.logs()
            assert 'ERROR:  extension "dsql_iam" has no update path from version "0.0.9" to version' in said
            assert ("dsql-iam: the extension dsql_iam could not be created, or updated to this image's version: the "
                    "reason is above") in said
            is_healthy, found = container.health()
            assert not is_healthy and "fault    extension      version 0.0.9, but the library has version" in found
            assert container.ask("SELECT 1") == "1"
            # The postmaster, which is the father of the process that failed, took it for no crash.
            assert "terminating any other active server processes" not in container.logs()
        with running(*kept, image=newer) as container:
            assert container.who(container.profiles()["default"], tmp_path)
            assert container.ask(version) != "0.0.9"
    docker("rmi", older, newer)


# The health check


def test_it_is_not_healthy_before_clients_reach_it(tmp_path):
    """While scripts run, the official image's server listens on the socket alone."""
    script = tmp_path / "10-wait.sh"
    script.write_text("#!/bin/bash\ntouch /tmp/waits\nuntil [ -e /tmp/go ]; do sleep 0.1; done\n")
    script.chmod(0o755)
    with started("--volume", f"{script}:{SCRIPTS}/10-wait.sh:ro") as container:
        until(lambda: docker("exec", container.id, "find", "/tmp/waits", check=False) == "/tmp/waits",
              "the scripts run", PATIENCE)
        assert container.ask("SELECT 1") == "1"
        assert container.health() == (False, "the server does not listen on TCP\n")
        assert container.inspect("{{.State.Health.Status}}") == "starting"
        docker("exec", container.id, "touch", "/tmp/go")
        assert container.wait().health()[0]


def test_variables_for_clients_lead_neither_the_health_check_nor_the_extension_astray(tmp_path):
    variables = ("PGHOST=db.example", "PGHOSTADDR=192.0.2.1", "PGUSER=admin", "PGDATABASE=other", "PGPASSWORD=wrong",
                 "PGSSLMODE=verify-full", "PGOPTIONS=-c search_path=nowhere", "PGSERVICE=none", "DSQL_SUPERUSER=host=x")
    with running(*(word for variable in variables[:-2] for word in ("--env", variable))) as container:
        assert container.who(container.profiles()["default"], tmp_path)
        # The official image's own psql would not get past these.
        shown = docker("exec", *(word for variable in variables for word in ("--env", variable)), container.id,
                       "dsql-iam-health")
        assert "ok       extension" in shown


# Documents


@pytest.fixture
def documents(tmp_path):
    """The documents of the examples, as a user of the host has them."""
    folder = tmp_path / "iam"
    folder.mkdir(mode=0o755)
    for name in ("account.json", "key.json"):
        shutil.copy(EXAMPLES / "iam" / name, folder)
        os.chown(folder / name, 1000, 1000)
        (folder / name).chmod(0o600)
    return folder


def test_mounted_documents_are_taken_and_again_after_a_restart(documents, tmp_path):
    document = json.loads((documents / "key.json").read_text())
    key = (document["AccessKey"]["AccessKeyId"], document["AccessKey"]["SecretAccessKey"])
    with running("--volume", f"{documents}:/iam:ro") as container:
        assert "the server's user cannot use /iam as it is, so it works on copies" in container.logs()
        assert container.who(key, tmp_path) == f"arn:aws:iam::{ACCOUNT}:user/ci"
        document["AccessKey"]["Status"] = "Inactive"
        (documents / "key.json").write_text(json.dumps(document))
        second = {"AccessKey": {**document["AccessKey"], "AccessKeyId": KEY_ID, "SecretAccessKey": SECRET,
                                "Status": "Active"}}
        (documents / "second.json").write_text(json.dumps(second))
        (documents / "second.json").chmod(0o600)
        docker("restart", container.id)
        container.wait()
        assert container.who((KEY_ID, SECRET), tmp_path) == f"arn:aws:iam::{ACCOUNT}:user/ci"
        with pytest.raises(psycopg.OperationalError):
            container.login(key, tmp_path)


# Operators


def state(container, folder):
    """The state that outlives a container."""
    key = container.profiles()["default"]
    with container.login(key, folder) as admin:
        mappings = admin.execute("SELECT * FROM sys.iam_pg_role_mappings").fetchall()
        cluster = admin.execute("SHOW dsql_iam.cluster_id").fetchone()
    return mappings, cluster, container.read(CERTIFICATE), container.read(CREDENTIALS)


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_restart_keeps_all(how, tmp_path):
    with running() as container:
        before = state(container, tmp_path)
        if how == "kill":
            docker("kill", container.id)
            docker("start", container.id)
        else:
            docker("restart", container.id)
            assert "database system is shut down" in container.logs()
        container.wait()
        assert state(container, tmp_path) == before


def test_another_image_on_the_old_volumes_keeps_all(tmp_path):
    """An upgrade: the container is another, and so is the image."""
    newer = docker("build", "--quiet", "-", input=f"FROM {IMAGE}\nRUN touch /usr/lib/postgresql/*/lib/dsql_iam.so\n")
    with volumes(DATA, "/var/lib/dsql-iam") as kept:
        with running(*kept) as container:
            key = container.profiles()["default"]
            with container.login(key, tmp_path) as admin:
                admin.execute("CREATE ROLE reader WITH LOGIN")
                admin.execute(f"AWS IAM GRANT reader TO 'arn:aws:iam::{ACCOUNT}:user/app'")
            before = state(container, tmp_path)
            assert len(before[0]) == 1
        with running(*kept, image=newer) as container:
            assert state(container, tmp_path) == before
            assert container.who(key, tmp_path, user="reader")
    docker("rmi", newer)


def test_the_folders_of_version_18(tmp_path):
    """Its official image has the cluster in another folder, and the volume is the one above."""
    later = docker("build", "--quiet", "-", input=f"FROM {IMAGE}\nENV PGDATA=/var/lib/postgresql/18/docker\n"
                   "VOLUME /var/lib/postgresql\n")
    with volumes("/var/lib/postgresql", "/var/lib/dsql-iam") as kept:
        with running(*kept, image=later) as container:
            before = state(container, tmp_path)
            assert container.ask("SHOW data_directory") == "/var/lib/postgresql/18/docker"
        with running(*kept, image=later) as container:
            assert state(container, tmp_path) == before
    docker("rmi", later)


@pytest.mark.parametrize("options", [
    ("--user", "postgres"),
    # A folder that it may make its own, as the official image asks for.
    ("--user", "1234:1234", "--env", f"PGDATA={DATA}/own"),
])
def test_it_runs_as_another_user(options, tmp_path):
    with running(*options) as container:
        assert container.who(container.profiles()["default"], tmp_path)
        docker("restart", container.id)
        container.wait()
        assert container.who(container.profiles()["default"], tmp_path)


def test_another_user_on_roots_volumes_is_told(tmp_path):
    with volumes(DATA, "/var/lib/dsql-iam") as kept:
        with running(*kept):
            pass
        assert refusal("--user", "1234:1234", *kept) == (
            "the user 1234 cannot write in /var/lib/dsql-iam: mount a volume that is its own there")


def test_its_root_may_be_read_only(tmp_path):
    with running("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/var/run/postgresql",
                 "--cap-drop", "ALL", "--user", "postgres", "--security-opt", "no-new-privileges") as container:
        assert container.who(container.profiles()["default"], tmp_path)
    with running("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/var/run/postgresql", *KEY) as container:
        assert container.who((KEY_ID, SECRET), tmp_path)


def test_words_behind_the_image_are_the_servers():
    with running(words=("postgres", "-c", "work_mem=5MB")) as container:
        assert container.ask("SHOW work_mem") == "5MB"
    assert docker("run", "--rm", IMAGE, "dsql-iam", "--version").startswith("dsql-iam ")


def test_a_fault_is_unhealthy(tmp_path):
    with running("--health-interval", "1s", "--health-retries", "1") as container:
        container.ask("ALTER ROLE admin NOLOGIN")
        container.until_it_is("unhealthy")
        assert "fault    admin " in json.loads(container.inspect("{{json .State.Health.Log}}"))[-1]["Output"]


# Pipelines


def test_it_is_a_service_of_a_pipeline():
    """As GitHub Actions and GitLab start it: no file, a name in a network, the environment."""
    network = docker("network", "create", f"dsql-iam-{os.getpid()}")
    try:
        with running("--network", network, "--network-alias", "dsql", *KEY,
                     "--env", "DSQL_IAM_ENDPOINTS=dsql") as container:
            client = ("run", "--rm", "--network", network, "--env",
                      f"PGPASSWORD={token((KEY_ID, SECRET), hostname='dsql')}", IMAGE)
            # As the job of GitLab gets the certificate, since it can copy no file from a service.
            script = YAML(typ="safe").load((EXAMPLES / "gitlab-ci.yml").read_text())["test"]["script"]
            fetch, = (line for line in script if "openssl s_client" in line)
            shown = docker(*client, "bash", "-euo", "pipefail", "-c", f"cd /tmp; {fetch}; psql -XAt 'host=dsql user=admin "
                           "dbname=postgres sslmode=verify-full sslrootcert=server.crt' "
                           "-c 'SELECT sys.iam_session_user()'")
            assert shown == f"arn:aws:iam::{ACCOUNT}:user/app"
    finally:
        docker("network", "rm", network)


def test_the_layer_of_the_dependencies_outlives_a_change_of_the_source(tmp_path):
    """The layer's input is the same for another source, and another for another Cargo.lock."""
    context = tmp_path / "context"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=WORKSPACE, text=True, capture_output=True, check=True)
    for name in files.stdout.split("\0")[:-1]:
        if (WORKSPACE / name).exists():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(WORKSPACE / name, context / name)

    def manifests():
        image = docker("build", "--quiet", "--file", context / "packaging/docker/Dockerfile", "--target",
                       "manifests", *os.environ["BUILD_ARGUMENTS"].split(), context)
        return docker("run", "--rm", "--entrypoint", "sh", image, "-c",
                      "find . -type f -exec sha256sum {} + | sort -k 2")
    before = manifests()
    assert "Cargo.lock" in before and "./iam/src/lib.rs" in before and "./docs" not in before
    for path in ("src/lib.rs", "iam/src/lib.rs", "cli/src/main.rs"):
        (context / path).write_text("// another\n" + (context / path).read_text())
    (context / "src/another.rs").write_text("// another\n")
    assert manifests() == before
    (context / "Cargo.lock").write_text((context / "Cargo.lock").read_text() + "\n")
    assert manifests() != before


# testcontainers


@pytest.fixture
def example(tmp_path):
    """A copy of the examples, and the environment for libraries that cannot pull images of their own."""
    shutil.copytree(EXAMPLES, tmp_path / "ci")
    docker("tag", IMAGE, "dsql-iam")
    environment = os.environ | {"TESTCONTAINERS_RYUK_DISABLED": "true", "TESTCONTAINERS_CHECKS_DISABLE": "true",
                                "TESTCONTAINERS_HOST_OVERRIDE": "localhost"}

    def run(folder, *words):
        done = subprocess.run(words, cwd=tmp_path / "ci" / folder, env=environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout
    return run


def need(program):
    if not shutil.which(program):
        pytest.skip(f"{program} is not there")


def test_the_python_example(example):
    said = example("python", sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_login.py")
    assert "1 passed" in said


def test_the_node_example(example):
    need("npm")
    example("node", "npm", "install", "--no-audit", "--no-fund")
    assert re.search("pass 1$", example("node", "npm", "test"), re.MULTILINE)


def test_the_java_example(example):
    need("mvn")
    said = example("java", "mvn", "--batch-mode", "test")
    assert "Tests run: 1, Failures: 0, Errors: 0, Skipped: 0" in said


def test_the_go_example(example):
    need("go")
    example("go", "go", "mod", "tidy")
    assert re.search(r"^ok\s+example", example("go", "go", "test", "./..."), re.MULTILINE)
