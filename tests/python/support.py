"""Shared by the tests: servers, tokens, a client that speaks the protocol byte by byte."""

import asyncio
import atexit
import contextlib
import datetime
import functools
import hashlib
import hmac
import json
import os
import pathlib
import pty
import re
import shlex
import shutil
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import urllib.parse

import asyncpg
import boto3
import psycopg

ACCOUNT = "012345678912"
REGION = "us-east-1"
EXAMPLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/example"
DENIED = "unable to accept connection, access denied"
TLS_MANDATORY = "unable to accept connection, SSL is mandatory. AWS Authentication is required."
SESSION_ID = re.compile(r"Session Id: ([a-z2-7]{26})")

# Nothing of what is in here may ever stand in a server's log.
SECRETS = set()


def until(condition, what, seconds=20):
    """Waits for `condition` to give something true, and gives that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)  # between two looks, not instead of one
    return found


def without(*prefixes):
    """The environment, without the variables whose names begin with one of these."""
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


@functools.cache
def for_anyone(program):
    """A copy of a program for another user to run: a checkout may lie in a home that is closed to others."""
    folder = tempfile.mkdtemp(prefix="dsql-iam-")
    atexit.register(shutil.rmtree, folder)
    os.chmod(folder, 0o755)
    return shutil.copy2(program, folder)


def on_a_terminal(command, **options):
    """Runs a command with its output and errors on a terminal, as somebody sees it; gives its status and
    all that it wrote."""
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower,
                                   **options)
        os.close(follower)
        written = b""
        while part := read(terminal):
            written += part
        return process.wait(60), written.decode().replace("\r\n", "\n")


def read(terminal):
    try:
        return terminal.read(4096)
    except OSError:  # what Linux says when nobody writes any more
        return b""


# Tokens


def note_secrets(token):
    """Remembers a token's signature and session token for the test of the logs."""
    query = urllib.parse.parse_qs(token.partition("?")[2])
    for name in ("X-Amz-Signature", "X-Amz-Security-Token"):
        SECRETS.update(value for value in query.get(name, []) if len(value) >= 16)
    return token


class Key:
    """An access key, as a document or a profile holds it."""

    def __init__(self, id, secret, session_token=None):
        self.id, self.secret, self.session_token = id, secret, session_token
        assert len(secret) >= 8, "a secret that every log has by chance cannot be looked for"
        SECRETS.update(filter(None, [secret, session_token]))


def sign(key, action, host="localhost", region=REGION, service="dsql", at=None, expires=900,
         terminator="aws4_request", scope_date=None, **replaced):
    """Signature Version 4 by hand, for the tokens that no signer makes.

    `replaced` holds parameters to sign with another value; None leaves one out.
    """
    at = at or datetime.datetime.now(datetime.UTC)
    date = at.strftime("%Y%m%dT%H%M%SZ")
    scope = [scope_date or date[:8], region, service, terminator]
    parameters = {
        "Action": action,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "/".join([key.id, *scope]),
        "X-Amz-Date": date,
        "X-Amz-Expires": str(expires),
        "X-Amz-Security-Token": key.session_token,
        "X-Amz-SignedHeaders": "host",
    }
    parameters |= {name.replace("_", "-"): value for name, value in replaced.items()}
    query = "&".join(
        f"{name}={urllib.parse.quote(value, safe='-_.~')}"
        for name, value in sorted(parameters.items()) if value is not None
    )
    empty = hashlib.sha256(b"").hexdigest()
    canonical = f"GET\n/\n{query}\nhost:{host}\n\nhost\n{empty}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", date, "/".join(scope), hashed])
    signing_key = ("AWS4" + key.secret).encode()
    for part in scope:
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    signature = hmac.digest(signing_key, text.encode(), "sha256").hex()
    return note_secrets(f"{host}/?{query}&X-Amz-Signature={signature}")


# Servers


class Server:
    """A server that `cargo xtask up` made, known by the variables of its env.sh."""

    def __init__(self, variables):
        self.variables = variables
        self.port = int(variables["PGPORT"])
        self.authority = variables.get("PGSSLROOTCERT")
        self.iam = pathlib.Path(variables["DSQL_IAM_DIRECTORY"])
        self.dir = self.iam.parent
        self.data = self.dir / "data"
        self.bin = pathlib.Path(json.loads((self.dir / "state.json").read_text())["bin"])
        self.conninfo = variables["DSQL_SUPERUSER"]
        self.cluster_arn = variables["DSQL_CLUSTER_ARN"]
        self.cluster_id = self.cluster_arn.rpartition("/")[2]
        self.version = int((self.data / "PG_VERSION").read_text())

    @classmethod
    def at(cls, directory):
        """Reads env.sh."""
        variables = {}
        for word in shlex.split((pathlib.Path(directory) / "env.sh").read_text(), comments=True):
            name, is_assignment, value = word.partition("=")
            if is_assignment and name != "PATH":
                variables[name] = value
        return cls(variables)

    @property
    def command(self):
        """The command `dsql-iam`."""
        text = (self.dir / "env.sh").read_text()
        words = shlex.split(text, comments=True)
        path = next(word for word in words if word.startswith("PATH="))
        folders = path.removeprefix("PATH=").split(":")
        return next(found for folder in folders
                    if (found := pathlib.Path(folder) / "dsql-iam").exists())

    @property
    def log(self):
        return (self.dir / "log").read_text(errors="replace")

    def run(self, *arguments, env=None, input="", timeout=60, **options):
        """Runs `dsql-iam` to its end, with the server's variables if no environment is given."""
        return subprocess.run([self.command, *arguments], input=input, text=True, capture_output=True, timeout=timeout,
                              env=os.environ | self.variables if env is None else env, **options)

    def mappings(self, role):
        """The ARNs that are mapped to a role, in order."""
        return [arn for arn, in self.execute(
            f"SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = '{role}' ORDER BY arn")]

    def log_mark(self):
        return (self.dir / "log").stat().st_size

    def log_since(self, mark):
        with open(self.dir / "log", "rb") as log:
            log.seek(mark)
            return log.read().decode(errors="replace")

    def logged(self, text, mark=0):
        """Waits for a line of the log that holds `text`, and gives it."""
        find = lambda: next((l for l in self.log_since(mark).splitlines() if text in l), None)
        return until(find, f"in the log: {text}")

    # Tokens

    @functools.cache
    def profile(self, name):
        """AWS's own client for a profile."""
        core = boto3.Session(profile_name=name)._session
        core.set_config_variable("config_file", self.variables["AWS_CONFIG_FILE"])
        core.set_config_variable(
            "credentials_file", self.variables["AWS_SHARED_CREDENTIALS_FILE"])
        return boto3.Session(botocore_session=core, profile_name=name)

    def key(self, profile):
        credentials = self.profile(profile).get_credentials()
        return Key(credentials.access_key, credentials.secret_key, credentials.token)

    @functools.cache
    def _client(self, profile):
        return self.profile(profile).client("dsql", region_name=REGION)

    def token(self, profile, admin=None, hostname="localhost", **arguments):
        """A token by AWS's own signer; for `admin`, the role, if the profile is that."""
        self.key(profile)
        client = self._client(profile)
        if admin if admin is not None else profile == "admin":
            return note_secrets(client.generate_db_connect_admin_auth_token(hostname, **arguments))
        return note_secrets(client.generate_db_connect_auth_token(hostname, **arguments))

    # Connections

    def connect(self, role="admin", password=None, **arguments):
        """psycopg over TCP and TLS, autocommit."""
        if password is None:
            password = self.token("admin") if role == "admin" else self.token("example")
        # One address: a machine may have two for localhost, and psycopg tries the second after a refusal.
        arguments = {"dbname": "postgres", "sslmode": "verify-full", "autocommit": True,
                     "hostaddr": "127.0.0.1", "sslrootcert": self.authority,
                     "connect_timeout": 20} | arguments
        return psycopg.connect(host="localhost", port=self.port, user=role, password=password,
                               **arguments)

    def superuser(self, **arguments):
        """psycopg over the Unix socket, autocommit."""
        return psycopg.connect(self.conninfo, autocommit=True, password="", sslmode="disable",
                               **arguments)

    def execute(self, *statements):
        """As the superuser, each statement by itself; gives the rows of the last."""
        with self.superuser() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else None

    def notices(self, *statements, **arguments):
        """As the superuser; gives message, detail and hint of each notice."""
        found = []
        with self.superuser(**arguments) as connection:
            connection.add_notice_handler(lambda notice: found.append(
                (notice.message_primary, notice.message_detail, notice.message_hint)))
            for statement in statements:
                connection.execute(statement)
        return found

    async def asyncpg(self, role, password, **arguments):
        tls = ssl.create_default_context(cafile=self.authority)
        arguments = {"database": "postgres", "ssl": tls, "timeout": 20} | arguments
        return await asyncpg.connect(host="localhost", port=self.port, user=role,
                                     password=password, **arguments)

    def refusal(self, role, password, **arguments):
        """The error that asyncpg raises for a login that has to fail."""
        async def attempt():
            connection = await self.asyncpg(role, password, **arguments)
            await connection.close()
        try:
            asyncio.run(attempt())
        except asyncpg.PostgresError as error:
            return error
        raise AssertionError(f"admitted as {role}")

    def admits(self, role, password):
        async def attempt():
            connection = await self.asyncpg(role, password)
            await connection.close()
        try:
            asyncio.run(attempt())
        except asyncpg.PostgresError:
            return False
        return True

    # Methods that change the server: for servers of one's own

    def postmaster(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def owner(self):
        """For subprocess: to run something as the user that the server runs as."""
        if os.geteuid() != 0:
            return {}
        owner = self.iam.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}

    def as_owner(self, program, *arguments, cwd=None):
        """Runs one of PostgreSQL's programs as the user that the server runs as."""
        subprocess.run([self.bin / program, *arguments], check=True, cwd=cwd or self.dir,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, **self.owner)

    @property
    def program(self):
        """The `postgres` that runs: of a mirror of the installation, with the extension in it."""
        return shlex.split((self.data / "postmaster.opts").read_text())[0]

    @property
    def library_directory(self):
        rows = self.execute("SELECT setting FROM pg_config WHERE name = 'PKGLIBDIR'")
        return pathlib.Path(rows[0][0])

    def folder(self, name):
        """A folder of the server's user, and of nobody else."""
        path = self.dir / name
        path.mkdir(mode=0o700)
        owner = self.iam.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
        return path

    def pg_ctl(self, *arguments):
        self.as_owner("pg_ctl", "-D", self.data, "-w", "-s", *arguments)

    def restart(self):
        self.pg_ctl("restart", "-m", "fast", "-l", self.dir / "log")

    def reload(self):
        """Reloads, and waits until new backends have the configuration."""
        before = self.execute("SELECT pg_conf_load_time()")
        self.execute("SELECT pg_reload_conf()")
        until(lambda: self.execute("SELECT pg_conf_load_time()") != before, "reload")

    def no_file_longer_than(self, size):
        """As on a full disk, for backends that start meanwhile, and without root's rights: a write that
        goes beyond is cut off, the next one fails."""
        return self.limited("fsize", size)

    @contextlib.contextmanager
    def limited(self, kind, soft):
        """Lowers a limit of the system's, for backends that start meanwhile."""
        def prlimit(*words):
            command = ["prlimit", f"--pid={self.postmaster()}", *words]
            return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, **self.owner).stdout
        before = prlimit(f"--{kind}", "--output=SOFT", "--noheadings").strip()
        prlimit(f"--{kind}={soft}:")
        try:
            yield
        finally:
            prlimit(f"--{kind}={before}:")

    @contextlib.contextmanager
    def settings(self, restart=False, **settings):
        """ALTER SYSTEM for a while. A dot in a name is written as two underlines."""
        apply = self.restart if restart else self.reload
        names = {name: name.replace("__", ".") for name in settings}
        try:
            self.execute(*(f"ALTER SYSTEM SET {names[name]} = {value}"
                           for name, value in settings.items()))
            apply()
            yield
        finally:
            # In the file, since the server may not have started with these settings.
            path = self.data / "postgresql.auto.conf"
            kept = [line for line in path.read_text().splitlines(keepends=True)
                    if line.partition(" = ")[0] not in names.values()]
            self.write(path, "".join(kept))
            apply()

    def write(self, path, text, mode=0o600):
        """A file that the server may read, put in its place in one go."""
        new = path.with_name("." + path.name)
        new.write_bytes(text if isinstance(text, bytes) else text.encode())
        new.chmod(mode)
        owner = path.parent.stat()
        os.chown(new, owner.st_uid, owner.st_gid)
        new.rename(path)

    def is_read_once(self, path):
        """Waits until a document is old enough not to be read by two logins."""
        until(lambda: time.time() - path.stat().st_ctime > 0.02, "20 ms after the change")

    @contextlib.contextmanager
    def documents(self, **documents):
        """Further IAM documents, by name, for a while."""
        paths = []
        try:
            for name, document in documents.items():
                paths.append(self.iam / f"{name}.json")
                self.write(paths[-1], json.dumps(document, indent=2))
            for path in paths[-1:]:
                self.is_read_once(path)
            yield
        finally:
            for path in paths:
                path.unlink()


# IAM documents


def policy(*actions, effect="Allow", **more):
    return {"PolicyName": "inline", "PolicyDocument": {
        "Version": "2012-10-17",
        "Statement": [{"Effect": effect, "Action": list(actions), "Resource": "*"} | more],
    }}


def account(users=None, roles=None, number=ACCOUNT):
    """As `aws iam get-account-authorization-details` prints it: names with inline policies."""
    return {
        "UserDetailList": [{
            "Path": "/", "UserName": name, "UserId": "AIDA", "GroupList": [],
            "Arn": f"arn:aws:iam::{number}:user/{name}", "UserPolicyList": policies,
            "AttachedManagedPolicies": [], "Tags": [],
        } for name, policies in (users or {}).items()],
        "RoleDetailList": [{
            "Path": "/", "RoleName": name, "RoleId": "AROA",
            "Arn": f"arn:aws:iam::{number}:role/{name}", "RolePolicyList": policies,
            "AttachedManagedPolicies": [], "Tags": [], "InstanceProfileList": [],
        } for name, policies in (roles or {}).items()],
        "GroupDetailList": [], "Policies": [],
    }


def access_key(user, key, status="Active"):
    """As `aws iam create-access-key` prints it."""
    return {"AccessKey": {
        "UserName": user, "AccessKeyId": key.id, "Status": status,
        "SecretAccessKey": key.secret, "CreateDate": "2026-01-01T00:00:00+00:00",
    }}


def assumed_role(role, key, number=ACCOUNT, expiration="2099-01-01T00:00:00+00:00"):
    """As `aws sts assume-role` prints it."""
    return {
        "Credentials": {"AccessKeyId": key.id, "SecretAccessKey": key.secret,
                        "SessionToken": key.session_token, "Expiration": expiration},
        "AssumedRoleUser": {"AssumedRoleId": "AROA:s",
                            "Arn": f"arn:aws:sts::{number}:assumed-role/{role}/s"},
    }


# The protocol, byte by byte


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


class Wire:
    """A client that sends exactly what it is told to.

    `tls` is True to ask for it first, "direct" to begin with it, False to do without; `context` says
    how, if it is not the usual one. `source` is the address that it comes from, of those of loopback.
    """

    def __init__(self, server, tls=True, server_name="localhost", context=None, source=None):
        host, source = ("127.0.0.1", (source, 0)) if source else ("localhost", None)
        self.socket = socket.create_connection((host, server.port), timeout=20, source_address=source)
        # As libpq does: the first packet behind a handshake would wait 40 ms for an answer to it.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = context or ssl.create_default_context(cafile=server.authority)
            if tls == "direct":
                context.set_alpn_protocols(["postgresql"])
            else:
                self.socket.sendall(struct.pack("!II", 8, 80877103))
                assert self.socket.recv(1) == b"S"
            context.check_hostname = server_name == "localhost"
            self.socket = context.wrap_socket(self.socket, server_hostname=server_name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def start(self, user="admin", database="postgres", **more):
        parameters = {"user": user, "database": database} | more
        body = struct.pack("!I", 196608) + b"".join(
            name.encode() + b"\0" + value.encode() + b"\0" for name, value in parameters.items()
        ) + b"\0"
        self.send(struct.pack("!I", len(body) + 4) + body)
        return self

    def password(self, password):
        self.send(message(b"p", password + b"\0"))
        return self

    def exactly(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def receive(self):
        """One message: its type and its body. An end of the connection is (None, b"")."""
        try:
            kind = self.exactly(1)
            length, = struct.unpack("!I", self.exactly(4))
            return kind, self.exactly(length - 4)
        except (EOFError, ConnectionResetError, ssl.SSLEOFError):
            return None, b""

    def asked_for_password(self):
        kind, body = self.receive()
        assert (kind, body) == (b"R", struct.pack("!I", 3)), (kind, body)
        return self

    def error(self):
        """The next message, which has to be an error: its fields. Then the connection ends."""
        kind, body = self.receive()
        assert kind == b"E", (kind, body)
        fields = fields_of(body)
        assert self.receive() == (None, b""), "the connection stays open"
        return fields

    def is_ended(self):
        return self.receive() == (None, b"")


def fields_of(body):
    """The fields of an ErrorResponse or a NoticeResponse."""
    names = {"S": "severity", "C": "sqlstate", "M": "message", "D": "detail", "H": "hint",
             "P": "position"}
    fields = dict.fromkeys(names.values())
    for field in body.rstrip(b"\0").split(b"\0"):
        if name := names.get(field[:1].decode()):
            fields[name] = field[1:].decode()
    return fields
