"""`dsql-iam install` and `dsql-iam setup`: what they do, take back, and say where they cannot."""

import os
import pathlib
import pwd
import re
import shutil
import subprocess
import tempfile

import pytest

from support import for_anyone, on_a_terminal, without

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
CLUSTER = ("--account-id", "012345678912", "--region", "us-east-1")


@pytest.fixture(scope="session")
def command(server):
    return server.command


def run(command, *arguments, user=None, **environment):
    variables = without("PG", "AWS", "DSQL") | environment
    switch = {}
    if user is not None:
        command = for_anyone(command)
        switch = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return subprocess.run([command, *arguments], text=True, capture_output=True, env=variables,
                          stdin=subprocess.DEVNULL, timeout=60, cwd=WORKSPACE, **switch)


def fault(done):
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("dsql-iam: ")
    return done.stderr.removeprefix("dsql-iam: ").rstrip()


def told(done):
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="session")
def ordinary(server):
    """A user who is not root: whoever runs this, or nobody."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


@pytest.fixture(scope="session")
def library(server):
    return server.library_directory / "dsql_iam.so"


def pg_config(folder, **replaced):
    """A pg_config that says what the true one says, but for this."""
    text = subprocess.run([os.environ["PG_CONFIG"]], check=True, text=True,
                          capture_output=True).stdout
    answers = dict(line.split(" = ", 1) for line in text.splitlines())
    for name, value in replaced.items():
        answers[name.replace("_", "-")] = value
    path = folder / "pg_config"
    lines = "\n".join(f"{name} = {value}" for name, value in answers.items())
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    path.chmod(0o755)
    return path


# install


def test_install_puts_the_files_where_postgresql_looks(command, library, tmp_path):
    lib, share = tmp_path / "lib", tmp_path / "share"
    config = pg_config(tmp_path, PKGLIBDIR=lib, SHAREDIR=share)
    first = told(run(command, "install", "--pg-config", config, "--library", library))
    assert [line.split()[0] for line in first.splitlines()[:-1]] == ["installed"] * 3
    assert first.splitlines()[-1].startswith("next: dsql-iam setup --data DIR")
    assert (lib / "dsql_iam.so").read_bytes() == library.read_bytes()
    control = (share / "extension/dsql_iam.control").read_text()
    assert "default_version = '0.1.0'" in control
    assert (share / "extension/dsql_iam--0.1.0.sql").exists()
    again = told(run(command, "install", "--pg-config", config, "--library", library))
    assert [line.split()[:2] for line in again.splitlines()[:-1]] == [["is", "there"]] * 3


def test_install_for_a_package(command, library, tmp_path):
    config = pg_config(tmp_path, PKGLIBDIR="/opt/pg/lib", SHAREDIR="/opt/pg/share")
    stage = tmp_path / "stage"
    told(run(command, "install", "--pg-config", config, "--library", library, "--destdir", stage))
    assert sorted(str(path.relative_to(stage)) for path in stage.rglob("*.*")) == [
        "opt/pg/lib/dsql_iam.so", "opt/pg/share/extension/dsql_iam--0.1.0.sql",
        "opt/pg/share/extension/dsql_iam.control"]
    assert not pathlib.Path("/opt/pg").exists()


def test_install_without_postgresql(command):
    assert fault(run(command, "install", "--pg-config", "/nonexistent")) == (
        "/nonexistent does not work as a pg_config (No such file or directory (os error 2)): "
        "name another with --pg-config")
    if not pathlib.Path("/usr/lib/postgresql").exists():
        assert fault(run(command, "install", PATH="/nonexistent")).startswith(
            "no PostgreSQL was found: install one ")


def test_install_for_another_version(command, tmp_path):
    config = pg_config(tmp_path, VERSION="PostgreSQL 13.9")
    assert fault(run(command, "install", "--pg-config", config)) == (
        f"{config} is of PostgreSQL 13, and dsql_iam is for PostgreSQL 14 to 19: name another with "
        "--pg-config")


def test_install_without_headers(command, tmp_path):
    config = pg_config(tmp_path, INCLUDEDIR_SERVER="/nonexistent", PKGLIBDIR=tmp_path / "lib",
                       SHAREDIR=tmp_path / "share")
    said = fault(run(command, "install", "--pg-config", config))
    assert f"{config} has no server headers (/nonexistent/postgres.h is missing)" in said
    assert "apt-get install postgresql-server-dev-" in said


def test_install_without_cargo(command, tmp_path):
    config = pg_config(tmp_path, PKGLIBDIR=tmp_path / "lib", SHAREDIR=tmp_path / "share")
    said = fault(run(command, "install", "--pg-config", config, PATH="/usr/bin:/bin",
                     CARGO="/nonexistent/cargo"))
    assert said.startswith("cargo could not be started (No such file or directory (os error 2)): ")
    assert "install Rust" in said


def test_install_tells_on_a_terminal_that_it_takes_long(command, tmp_path):
    config = pg_config(tmp_path, PKGLIBDIR=tmp_path / "lib", SHAREDIR=tmp_path / "share")
    cargo = tmp_path / "cargo"
    cargo.write_text('#!/bin/sh\necho "$@" >"$0.asked"\necho printed\nexit 3\n')
    cargo.chmod(0o755)
    arguments = ["install", "--pg-config", config]
    failed = "cargo did not build the extension (exit status: 3)"
    assert fault(run(command, *arguments, CARGO=str(cargo))) == failed
    asked = (tmp_path / "cargo.asked").read_text().split()
    assert {"--quiet", "--ignore-rust-version", "--release", "--locked"} <= set(asked)
    major = re.search(r"\d+", config.read_text().partition("VERSION = ")[2])[0]
    assert on_a_terminal([command, *arguments], cwd=WORKSPACE,
                         env=os.environ | {"CARGO": str(cargo)}) == (
        1, f"building the extension for PostgreSQL {major}, which takes some minutes\n"
           f"dsql-iam: {failed}\n")
    asked = (tmp_path / "cargo.asked").read_text().split()
    assert "--quiet" not in asked and f"pg{major}" in asked


def test_install_of_what_is_no_library_of_dsql_iam(command, library, tmp_path):
    """A server that loads it does not start."""
    lib, share = tmp_path / "lib", tmp_path / "share"
    config = pg_config(tmp_path, PKGLIBDIR=lib, SHAREDIR=share)

    def refused(path, config=config):
        said = fault(run(command, "install", "--pg-config", config, "--library", path))
        assert not lib.exists() and not share.exists()
        return said
    others = library.parent / "plpgsql.so"
    for path in (WORKSPACE / "README.md", command, others):
        assert refused(path) == (
            f"{path} is not a library of dsql_iam: name a libdsql_iam.so that cargo built, or leave --library out")
    assert refused(tmp_path / "x") == f"{tmp_path}/x cannot be read: No such file or directory (os error 2)"
    text = config.read_text()
    major = re.search(r"\d+", text.partition("VERSION = ")[2])[0]
    other = "16" if major != "16" else "17"
    pg_config(tmp_path, PKGLIBDIR=lib, SHAREDIR=share, VERSION=f"PostgreSQL {other}.1")
    assert refused(library) == (
        f"{library} is built for PostgreSQL {major}, and {config} is of PostgreSQL {other}: name another of "
        "the two, or leave --library out")
    config.write_text(text)
    content = library.read_bytes()
    mark = b"dsql_iam library, version 0.1.0 for"
    assert content.count(mark) >= 1
    older = tmp_path / "older.so"
    older.write_bytes(content.replace(mark, mark.replace(b"0.1.0", b"0.0.9")))
    assert refused(older) == (
        f"{older} is of dsql_iam 0.0.9, and this command and its scripts are of 0.1.0: use those of one version")


def test_install_of_a_library_for_another_machine(command, library, tmp_path):
    lib, share = tmp_path / "lib", tmp_path / "share"
    config = pg_config(tmp_path, PKGLIBDIR=lib, SHAREDIR=share)
    content = bytearray(library.read_bytes())
    number = int.from_bytes(content[18:20], "little")
    content[18:20] = (183 if number == 62 else 62).to_bytes(2, "little")
    other = tmp_path / "other.so"
    other.write_bytes(content)
    names = {62: "x86-64", 183: "64-bit Arm"}
    program = subprocess.run([os.environ["PG_CONFIG"], "--bindir"], check=True, text=True,
                             capture_output=True).stdout.strip() + "/postgres"
    assert fault(run(command, "install", "--pg-config", config, "--library", other)) == (
        f"{other} is built for {names[183 if number == 62 else 62]}, and {program} for {names[number]}: build the "
        "library on a machine like the server's")
    assert not lib.exists() and not share.exists()


def test_install_takes_its_files_away_again(command, library, tmp_path):
    lib, share = tmp_path / "lib", tmp_path / "share"
    config = pg_config(tmp_path, PKGLIBDIR=lib, SHAREDIR=share)
    told(run(command, "install", "--pg-config", config, "--library", library))
    of_others = [lib / "other.so", share / "extension/other.control", share / "extension/dsql_iam2--1.sql"]
    for path in of_others:
        path.write_text("")
    # A script of an older version, too.
    (share / "extension/dsql_iam--0.0.9--0.1.0.sql").write_text("")
    done = told(run(command, "install", "--undo", "--pg-config", config)).splitlines()
    assert [line.split()[0] for line in done[:-1]] == ["removed"] * 4
    assert done[-1].startswith("a server that still names dsql_iam in shared_preload_libraries will not start")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file() and path != config) == sorted(of_others)
    assert told(run(command, "install", "--undo", "--pg-config", config)) == (
        f"nothing to remove in {share}/extension\n")


class Checkout:
    """A checkout of somebody else's, in which a stand-in for cargo says who runs it."""

    def __init__(self, folder, owner):
        self.path, self.owner = folder / "checkout", owner
        self.path.mkdir()
        shutil.copy(WORKSPACE / "dsql_iam.control", self.path)
        shutil.copytree(WORKSPACE / "sql", self.path / "sql")
        (self.path / "Cargo.toml").write_text("")
        self.cargo = folder / "cargo"
        self.cargo.write_text(f"""#!/bin/sh
echo "$(id -u) $(id -G) $HOME" >>{self.path}/ran_as
""")
        self.cargo.chmod(0o755)
        if os.geteuid() == 0:
            for path in [self.path, *self.path.rglob("*")]:
                os.chown(path, owner.pw_uid, owner.pw_gid)

    def ran_as(self):
        return (self.path / "ran_as").read_text().split("\n")[0] if (self.path / "ran_as").exists() else None

    def put_library(self, library, config):
        major = re.search(r"\d+", config.read_text().partition("VERSION = ")[2])[0]
        folder = self.path / f"target/pg{major}/release"
        folder.mkdir(parents=True)
        shutil.copy(library, folder / "libdsql_iam.so")
        return folder / "libdsql_iam.so"


SECURE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def passable():
    """A folder that another user gets at, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        path.chmod(0o755)
        yield path


def test_install_by_sudo_builds_as_the_user_who_called_it(command, library, passable, ordinary):
    """sudo's PATH has no cargo, and root has no business in that user's checkout."""
    if ordinary is None:
        pytest.skip("only root can be somebody else")
    checkout = Checkout(passable, ordinary)
    lib, share = passable / "lib", passable / "share"
    config = pg_config(passable, PKGLIBDIR=lib, SHAREDIR=share)
    built = checkout.put_library(library, config)
    arguments = ("install", "--pg-config", config, "--source", checkout.path)
    done = told(run(command, *arguments, CARGO=str(checkout.cargo), PATH=SECURE_PATH,
                    SUDO_UID=str(ordinary.pw_uid)))
    assert f"installed   {lib}/dsql_iam.so" in done
    assert checkout.ran_as() == f"{ordinary.pw_uid} {ordinary.pw_gid} {ordinary.pw_dir}"
    assert (lib / "dsql_iam.so").stat().st_uid == 0
    # Without sudo, or by another user's, root builds nothing there.
    (checkout.path / "ran_as").unlink()
    for more in ({}, {"SUDO_UID": "1"}, {"SUDO_UID": "x"}):
        assert fault(run(command, *arguments, CARGO=str(checkout.cargo), PATH=SECURE_PATH, **more)) == (
            f"the checkout {checkout.path} belongs to the user {ordinary.pw_name}, and root does not build there: "
            "run dsql-iam install as that user, which builds, and then as root: sudo "
            f"{command} install --pg-config {config} --source {checkout.path} --library {built}")
    assert checkout.ran_as() is None
    # Where cargo is nowhere, the line to go on with is said.
    said = fault(run(command, *arguments, CARGO="/nonexistent/cargo", PATH=SECURE_PATH,
                     SUDO_UID=str(ordinary.pw_uid)))
    assert said.startswith("cargo could not be started (No such file or directory (os error 2)): install Rust ")
    assert said.endswith(f"--library {built}")


def test_install_builds_as_oneself_and_says_the_line_for_root(command, library, passable, ordinary):
    if ordinary is None:
        pytest.skip("only root can be somebody else")
    checkout = Checkout(passable, ordinary)
    lib, share = passable / "lib", passable / "share"
    for folder in (lib, share):
        folder.mkdir()
    config = pg_config(passable, PKGLIBDIR=lib, SHAREDIR=share)
    built = checkout.put_library(library, config)
    own_command = for_anyone(command)
    done = told(run(command, "install", "--pg-config", config, "--source", checkout.path,
                    user=ordinary, CARGO=str(checkout.cargo))).splitlines()
    assert done[0] == f"built       {built}"
    assert done[1] == f"nothing is installed yet, since {lib} is not yours to write; next, as root:"
    assert done[2] == (f"sudo {own_command} install --pg-config {config} --source {checkout.path} "
                       f"--library {built}")
    assert list(lib.iterdir()) == list(share.iterdir()) == []
    # That line, under a PATH without cargo.
    line = done[2].split()[1:]
    said = told(run(*line, PATH=SECURE_PATH))
    assert f"installed   {lib}/dsql_iam.so" in said
    assert (lib / "dsql_iam.so").read_bytes() == library.read_bytes()


def test_install_without_permission(command, library, tmp_path, ordinary):
    # One that an ordinary user gets at: pytest's folders are private.
    config = pathlib.Path(os.environ["PG_CONFIG"])
    done = subprocess.run([config, "--pkglibdir"], text=True, capture_output=True, check=True)
    folder = pathlib.Path(done.stdout.strip())
    if ordinary is None and os.access(folder, os.W_OK):
        pytest.skip("this user may write there")
    said = fault(run(command, "install", "--pg-config", config, "--library", library,
                     user=ordinary))
    assert said.startswith(f"{folder} cannot be written (Permission denied (os error 13)")
    assert said.endswith(": run it as the owner of that folder, mostly root")


def test_install_elsewhere_than_in_a_checkout(command, tmp_path):
    assert fault(run(command, "install", "--pg-config", os.environ["PG_CONFIG"],
                     "--source", tmp_path)) == (
        f"{tmp_path} is not a checkout of dsql_iam: it has no dsql_iam.control; name one with --source")


# setup


class Cluster:
    """A data directory as initdb makes it, and a server for it, without dsql_iam."""

    def __init__(self, own, path):
        self.own, self.path = own, path
        self.program = own.program

    def pg_ctl(self, *arguments):
        self.own.as_owner("pg_ctl", "-D", self.path, "-w", "-s", "-p", self.program,
                          "-o", f"-c port=5432 -c listen_addresses= -c unix_socket_directories={self.path}",
                          "-l", self.path / "log", *arguments)

    @property
    def conninfo(self):
        return f"host={self.path} port=5432 user={self.superuser} dbname=postgres"

    superuser = "postgres"

    def query(self, statement):
        done = subprocess.run(
            [self.own.bin / "psql", "-XAtqd", self.conninfo, "-c", statement], text=True,
            capture_output=True, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def documents(self):
        """The folder for the IAM documents, as setup makes it: beside the data directory."""
        return self.path.with_name(f"{self.path.name}.dsql_iam")

    def state(self):
        """Names, owners, modes and contents of all that setup could change."""
        paths = [path for path in self.path.iterdir()
                 if path.name not in ("log", "postmaster.opts", "postmaster.pid")]
        return sorted((path.name, path.stat().st_uid, path.stat().st_mode,
                       path.read_bytes() if path.suffix == ".conf" else b"")
                      for path in paths)


@pytest.fixture(scope="module")
def template(own):
    path = own.folder("template")
    own.as_owner("initdb", "-D", path, "-U", "postgres", "-A", "trust", "--no-sync")
    return path


@pytest.fixture
def cluster(own, template):
    # In a folder of the server's user, as packages have it.
    above = own.folder("clusters")
    above.chmod(0o711)
    path = own.folder("clusters/cluster")
    own.as_owner("/bin/cp", "-a", f"{template}/.", path)
    cluster = Cluster(own, path)
    # The mirror with the extension in it is found by what ran there last.
    own.write(path / "postmaster.opts", f'{own.program} "-D" "{path}"\n')
    yield cluster
    if (path / "postmaster.pid").exists():
        cluster.pg_ctl("stop", "-m", "immediate")
    shutil.rmtree(above)


def setup(own, *arguments, **more):
    return run(own.command, "setup", *arguments, **more)


def test_setup_shows_does_and_takes_back(own, cluster):
    before = cluster.state()
    shown = told(setup(own, "--data", cluster.path, *CLUSTER))
    assert "  + shared_preload_libraries = 'dsql_iam'" in shown
    assert "  + dsql_iam.account_id = '012345678912'" in shown
    assert f"{cluster.documents}: a new folder, mode 0700" in shown
    assert shown.splitlines()[-1] == "nothing is changed yet: add --yes to have it done"
    assert cluster.state() == before

    done = told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    assert "restart the server" in done.splitlines()[-1]
    after = cluster.state()
    assert {row[1] for row in after} == {cluster.path.stat().st_uid}
    assert cluster.documents.stat().st_mode & 0o777 == 0o700
    assert "nothing to change" in told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    assert cluster.state() == after

    cluster.pg_ctl("start")
    assert cluster.query("SHOW dsql_iam.region") == "us-east-1"
    assert "nothing to change" in told(setup(own, cluster.conninfo, "--yes"))
    # Somebody changes the file meanwhile, and that stays.
    cluster.pg_ctl("stop", "-m", "fast")
    config = cluster.path / "postgresql.conf"
    own.write(config, config.read_text() + "work_mem = '5MB'\n")
    shown = told(setup(own, "--data", cluster.path, "--undo"))
    assert "  - shared_preload_libraries = 'dsql_iam'" in shown
    assert "BEGIN dsql_iam" in config.read_text()
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert config.read_text().endswith("work_mem = '5MB'\n")
    own.write(config, config.read_text().removesuffix("work_mem = '5MB'\n"))
    assert cluster.state() == before
    assert "nothing to change" in told(setup(own, "--data", cluster.path, "--undo", "--yes"))


def test_setup_as_the_servers_user(own, cluster):
    if os.geteuid() != 0:
        pytest.skip("the other tests are that already")
    before = cluster.state()
    user = pwd.getpwuid(cluster.path.stat().st_uid)
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes", user=user))
    told(setup(own, "--data", cluster.path, "--undo", "--yes", user=user))
    assert cluster.state() == before


def test_setup_does_not_lend_roots_rights_to_the_servers_user(own, cluster):
    """The command line of the last start is in a file that the server's user can write."""
    if os.geteuid() != 0:
        pytest.skip("only root has rights to lend")
    program = cluster.path / "program"
    own.write(program, f"""#!/bin/sh
id -u >>{cluster.path}/ran_as
echo "postgres (PostgreSQL) {own.version}"
""", mode=0o755)
    own.write(cluster.path / "postmaster.opts", f'{program} "-D" "{cluster.path}"\n')
    setup(own, "--data", cluster.path, *CLUSTER)
    ran_as = (cluster.path / "ran_as").read_text().split()
    assert set(ran_as) == {str(cluster.path.stat().st_uid)}
    # Nor is a file written through a link that this user may not write.
    own.write(cluster.path / "postmaster.opts", f'{own.program} "-D" "{cluster.path}"\n')
    roots = own.dir / "roots.conf"
    roots.write_text("")
    (cluster.path / "postgresql.conf").unlink()
    (cluster.path / "postgresql.conf").symlink_to(roots)
    assert "Permission denied" in fault(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    assert roots.read_text() == ""
    roots.unlink()


@pytest.fixture
def roots(own):
    """A file of root's that nobody else may read, with a block to be taken out of it."""
    if os.geteuid() != 0:
        pytest.skip("only root has rights to lend")
    folder = own.dir / "roots"
    folder.mkdir(mode=0o700)
    path = folder / "postgresql.conf"
    path.write_text("secret = 'x'\n# BEGIN dsql_iam, written by dsql-iam setup; dsql-iam setup --undo "
                    "takes it out\n# END dsql_iam\n")
    (folder / "PG_VERSION").write_text(f"{own.version}\n")
    before = path.read_bytes()
    yield folder
    assert path.read_bytes() == before
    shutil.rmtree(folder)


@pytest.fixture
def configuration(own):
    """A folder with nothing but a postgresql.conf, as Debian has it, of whom the test says."""
    made = []

    def make(data, user, group=None):
        folder = own.dir / "configuration"
        made.append(folder)
        folder.mkdir(mode=0o755)
        config = folder / "postgresql.conf"
        config.write_text(f"data_directory = '{data}'\n")
        os.chown(config, user, user if group is None else group)
        os.chown(folder, user, user if group is None else group)
        return folder

    yield make
    for folder in made:
        shutil.rmtree(folder)


STRANGER = 65533
ROOTS = ("belongs to root, and PostgreSQL never runs as root: name the data directory of a server with "
         "--data")


def test_setup_of_a_data_directory_of_roots(own, roots):
    for arguments in (CLUSTER, ("--undo",)):
        said = fault(setup(own, "--data", roots, *arguments, "--yes"))
        assert said == f"{roots} {ROOTS}"


@pytest.mark.parametrize("user", [0, STRANGER])
def test_setup_of_a_configuration_that_names_a_folder_of_roots(own, roots, configuration, user):
    """The configuration is the server's user's, who has every file of root's in reach by it."""
    named = "/" if user else roots
    folder = configuration(named, user)
    for arguments in (CLUSTER, ("--undo",)):
        said = fault(setup(own, "--data", folder, *arguments, "--yes"))
        assert said == f"{named} {ROOTS}"


def test_setup_reads_nothing_of_a_users_as_root(own, roots, configuration):
    """Neither the file with the settings nor what it names, whatever either is."""
    folder = configuration("/", STRANGER)
    (folder / "postgresql.conf").unlink()
    (folder / "postgresql.conf").symlink_to(roots / "postgresql.conf")
    (folder / "PG_VERSION").write_text(f"{own.version}\n")
    said = fault(setup(own, "--data", folder, "--undo", "--yes"))
    assert said.startswith(f"{folder} has no postgresql.conf")
    # A file of this user's in a folder of root's is this user's too.
    (folder / "PG_VERSION").unlink()
    (folder / "postgresql.conf").unlink()
    (folder / "postgresql.conf").write_text(f"data_directory = '{roots}'\n")
    os.chown(folder / "postgresql.conf", STRANGER, 0)
    os.chown(folder, 0, 0)
    said = fault(setup(own, "--data", folder, "--undo", "--yes"))
    assert said == (f"the system does not know the server's user {STRANGER}, nor a group for it: run it as "
                    "that user")
    os.chown(folder / "postgresql.conf", STRANGER, STRANGER)
    said = fault(setup(own, "--data", folder, "--undo", "--yes"))
    assert said == f"{roots} {ROOTS}"


def test_setup_of_a_configuration_of_another_user(own, cluster, configuration):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    before = cluster.state()
    os.chmod(cluster.path, 0o711)
    folder = configuration(cluster.path, STRANGER)
    owner = cluster.path.stat().st_uid
    assert fault(setup(own, "--data", folder, *CLUSTER, "--yes")) == (
        f"{cluster.path} belongs to the user {owner}, and the configuration that names it to the user "
        f"{STRANGER}: run it as the one that the server runs as")
    os.chmod(cluster.path, 0o700)
    assert cluster.state() == before
    # Root's may name it.
    os.chown(folder / "postgresql.conf", 0, 0)
    os.chown(folder, 0, 0)
    assert "a new folder, mode 0700" in told(setup(own, "--data", folder, *CLUSTER))


def test_setup_of_files_that_a_server_makes_up(own, cluster, configuration, tmp_path):
    """By a connection: what would be written is another user's to choose, and where as well."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    before = cluster.state()
    config = configuration(cluster.path, STRANGER) / "postgresql.conf"
    psql = tmp_path / "psql"
    psql.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{cluster.path}'\necho '{config}'\n")
    psql.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    owner = cluster.path.stat().st_uid
    for arguments in (CLUSTER, ("--undo",)):
        said = fault(setup(own, "host=made.up", *arguments, "--yes", PATH=path))
        assert said == (f"{config} belongs to the user {STRANGER}, and the data directory to the user "
                        f"{owner}: run it as the one that the server runs as")
    # Nor one that everybody could replace.
    os.chown(config, owner, owner)
    config.parent.chmod(0o1777)
    os.chown(config.parent, 0, 0)
    told(setup(own, "host=made.up", *CLUSTER, PATH=path))
    config.chmod(0o666)
    said = fault(setup(own, "host=made.up", *CLUSTER, "--yes", PATH=path))
    assert said.startswith(f"{config} can be written by others than root and the owner of {config}")
    assert cluster.state() == before


@pytest.mark.parametrize(("user", "mode"), [(STRANGER, 0o755), (0, 0o777), (0, 0o775)])
def test_setup_below_a_folder_of_somebody_elses(own, cluster, user, mode):
    """Its user could put another folder in its place, once the owner is known."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    between = own.dir / "between"
    between.mkdir()
    between.chmod(mode)
    os.chown(between, user, user)
    inside = between / "cluster"
    cluster.path.rename(inside)
    said = fault(setup(own, "--data", inside, *CLUSTER, "--yes"))
    assert said == (f"{between} can be written by others than root and the owner of {inside}, who could "
                    "have root work on other files: run it as that owner")
    # As in /tmp.
    os.chown(between, 0, 0)
    between.chmod(0o1777)
    told(setup(own, "--data", inside, *CLUSTER))
    inside.rename(cluster.path)
    # Everybody puts things there, so it is nobody's configuration.
    said = fault(setup(own, "--data", between, *CLUSTER, "--yes"))
    assert said.startswith(f"{between} can be written by others than root and the owner of {between}")
    between.rmdir()


def test_setup_hands_on_neither_roots_groups_nor_roots_environment(own, cluster):
    if os.geteuid() != 0:
        pytest.skip("only root has rights to lend")
    owner = cluster.path.stat()
    os.chown(cluster.path, owner.st_uid, 0)
    program = cluster.path / "program"
    own.write(program, f"""#!/bin/sh
{{ id -G; env; }} >>{cluster.path}/ran_as
echo "postgres (PostgreSQL) {own.version}"
""", mode=0o755)
    own.write(cluster.path / "postmaster.opts", f'{program} "-D" "{cluster.path}"\n')
    setup(own, "--data", cluster.path, *CLUSTER, AWS_SECRET_ACCESS_KEY="of root's", PGPASSWORD="too")
    lines = (cluster.path / "ran_as").read_text().splitlines()
    name = pwd.getpwuid(owner.st_uid).pw_name
    groups = os.getgrouplist(name, pwd.getpwuid(owner.st_uid).pw_gid)
    assert sorted(map(int, lines[0].split())) == sorted(groups)
    names = {line.partition("=")[0] for line in lines[1:]}
    assert "PATH" in names
    assert names <= {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TZ", "PWD", "OLDPWD", "SHLVL", "_"} | {
        line for line in lines if "=" not in line}
    os.chown(cluster.path, owner.st_uid, owner.st_gid)


def test_setup_does_not_show_an_id_that_no_cluster_gets(own, cluster):
    shown = told(setup(own, "--data", cluster.path, *CLUSTER))
    assert re.findall(r".*cluster_id.*", shown) == [
        "  + dsql_iam.cluster_id is made anew with --yes; choose one with --cluster-id"]
    done = told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    made = re.findall(r"^  \+ (dsql_iam.cluster_id = '[a-z2-7]{26}')$", done, re.MULTILINE)
    assert len(made) == 1 and f"\n{made[0]}\n" in (cluster.path / "postgresql.conf").read_text()
    chosen = "abcdefghijklmnopqrstuvwxyz"
    shown = told(setup(own, "--data", cluster.path, *CLUSTER, "--cluster-id", chosen))
    assert re.findall(r".*cluster_id.*", shown) == [f"  + dsql_iam.cluster_id = '{chosen}'"]


@pytest.mark.parametrize("is_running", [True, False])
def test_undo_once_the_library_is_gone_takes_the_rest(own, cluster, is_running):
    before = cluster.state()
    file = cluster.path / "dsql_iam_hba.conf"
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    cluster.pg_ctl("start")
    said = told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert (f"{file} is in force until the restart; after that setup --undo --yes takes it away") in said
    assert said.splitlines()[-1] == "done; restart the server"
    # While the server has the library, it may be in force.
    assert told(setup(own, "--data", cluster.path, "--undo", "--yes")) == (
        f"nothing to change in {cluster.path}\n")
    # Restarted or stopped, it is not.
    cluster.pg_ctl("restart" if is_running else "stop", "-m", "fast")
    assert file.exists()
    shown = told(setup(own, "--data", cluster.path, "--undo"))
    assert shown == f"{file}: taken away\nnothing is changed yet: add --yes to have it done\n"
    assert file.exists()
    assert told(setup(own, "--data", cluster.path, "--undo", "--yes")) == f"{file}: taken away\ndone\n"
    if is_running:
        cluster.pg_ctl("stop", "-m", "fast")
    assert cluster.state() == before
    assert "nothing to change" in told(setup(own, "--data", cluster.path, "--undo", "--yes"))


@pytest.mark.parametrize("line", ["this is no setting", "work_mem = 'x'"])
def test_setup_names_the_line_that_the_server_would_not_start_with(own, cluster, line):
    config = cluster.path / "postgresql.conf"
    text = config.read_text() + f"{line}\n"
    own.write(config, text)
    for arguments in (CLUSTER, ()):
        said = fault(setup(own, "--data", cluster.path, *arguments, "--yes"))
        first, *others = said.splitlines()
        assert first == f"{config} cannot be read:"
        if line.startswith("this"):
            assert others == [
                f'LOG:  syntax error in file "{config}" line {len(text.splitlines())}, near token "no"',
                f'FATAL:  configuration file "{config}" contains errors']
        else:
            assert others[0] == 'LOG:  invalid value for parameter "work_mem": "x"'
            assert others[-1] == f'FATAL:  configuration file "{config}" contains errors'
    assert config.read_text() == text


@pytest.mark.parametrize("end", ["\n", "", "\n\n"])
def test_setup_keeps_other_libraries(own, cluster, end):
    config = cluster.path / "postgresql.conf"
    own.write(config, config.read_text() + "shared_preload_libraries = 'auto_explain'" + end)
    before = cluster.state()
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    assert "shared_preload_libraries = 'auto_explain,dsql_iam'\n" in config.read_text()
    cluster.pg_ctl("start")
    assert cluster.query("SHOW shared_preload_libraries") == "auto_explain,dsql_iam"
    told(setup(own, cluster.conninfo, "--undo", "--yes"))
    cluster.pg_ctl("restart", "-m", "fast")
    assert cluster.query("SHOW shared_preload_libraries") == "auto_explain"
    cluster.pg_ctl("stop", "-m", "fast")
    (cluster.path / "dsql_iam_hba.conf").unlink()
    assert cluster.state() == before


def test_setup_where_alter_system_has_the_last_word(own, cluster):
    auto = cluster.path / "postgresql.auto.conf"
    own.write(auto, auto.read_text() + "shared_preload_libraries = 'auto_explain'\nwork_mem = '5MB'\n")
    before = cluster.state()
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    assert "nothing to change" in told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    cluster.pg_ctl("start")
    assert cluster.query("SHOW shared_preload_libraries") == "auto_explain,dsql_iam"
    cluster.pg_ctl("stop", "-m", "fast")
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert cluster.state() == before


AUTO = (r"dsql_iam.region = 'eu-west-1'" "\n" r"DSQL_IAM.iam_directory = 'it''s\\here' # mine" "\n"
        "dsql_iam.region = 'eu-west-2'\nwork_mem = '5MB'\n")


@pytest.mark.parametrize("is_running", [True, False])
def test_setup_where_alter_system_has_set_something_else(own, cluster, is_running):
    """Otherwise nobody would get in after the restart that setup asks for."""
    auto = cluster.path / "postgresql.auto.conf"
    own.write(auto, auto.read_text() + AUTO)
    before = cluster.state()
    server = ("--data", cluster.path)
    if is_running:
        cluster.pg_ctl("start")
        server = (cluster.conninfo,)
    directory = cluster.path / "docu'ments"
    wanted = (*CLUSTER, "--iam-directory", directory)
    shown = told(setup(own, *server, *wanted))
    quoted = str(directory).replace("'", "''")
    changes = (
        f"{auto}:\n  - dsql_iam.region = 'eu-west-2'\n  + dsql_iam.region = 'us-east-1'\n"
        f"  - DSQL_IAM.iam_directory = 'it''s\\\\here' # mine\n  + dsql_iam.iam_directory = '{quoted}'\n")
    assert changes in shown
    assert auto.read_text().endswith(AUTO)
    told(setup(own, *server, *wanted, "--yes"))
    assert "nothing to change" in told(setup(own, *server, *wanted, "--yes"))
    assert "nothing to change" in told(setup(own, *server, "--yes"))
    cluster.pg_ctl("restart" if is_running else "start", "-m", "fast")
    for name, value in {"region": "us-east-1", "iam_directory": str(directory)}.items():
        assert cluster.query(f"SHOW dsql_iam.{name}") == value
    # Another change of mind, and all the same it is the first line that comes back.
    told(setup(own, *server, "--region", "ca-central-1", "--yes"))
    cluster.pg_ctl("restart", "-m", "fast")
    assert cluster.query("SHOW dsql_iam.region") == "ca-central-1"
    cluster.pg_ctl("stop", "-m", "fast")
    shown = told(setup(own, "--data", cluster.path, "--undo"))
    assert "  - dsql_iam.region = 'ca-central-1'\n  + dsql_iam.region = 'eu-west-2'\n" in shown
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert cluster.state() == before


def test_undo_leaves_what_alter_system_has_set_since_then(own, cluster):
    auto = cluster.path / "postgresql.auto.conf"
    own.write(auto, auto.read_text() + AUTO)
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    cluster.pg_ctl("start")
    cluster.query("ALTER SYSTEM SET dsql_iam.region = 'sa-east-1'")
    cluster.query("ALTER SYSTEM RESET dsql_iam.iam_directory")
    cluster.pg_ctl("stop", "-m", "fast")
    lines = auto.read_text()
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert auto.read_text() == lines
    # And if setup has taken that over, it is not what setup has written.
    told(setup(own, "--data", cluster.path, "--account-id", "012345678912", "--yes"))
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert auto.read_text() == lines


@pytest.mark.parametrize("with_setup", [True, False])
@pytest.mark.parametrize(("others", "left"), [("", ""), ("'auto_explain', ", "auto_explain")])
def test_undo_of_what_alter_system_did(own, cluster, with_setup, others, left):
    """As the doctor's remedy has it. With the library gone the server would not start."""
    before = cluster.state()
    if with_setup:
        told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    cluster.pg_ctl("start")
    cluster.query(f"ALTER SYSTEM SET shared_preload_libraries = {others}'dsql_iam'")
    cluster.query("ALTER SYSTEM SET work_mem = '5MB'")
    cluster.pg_ctl("stop", "-m", "fast")
    shown = told(setup(own, "--data", cluster.path, "--undo"))
    auto = cluster.path / "postgresql.auto.conf"
    assert f"{auto}:\n  - shared_preload_libraries = " in shown
    assert "dsql_iam" in auto.read_text()
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert "nothing to change" in told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    cluster.pg_ctl("start")
    assert cluster.query("SHOW shared_preload_libraries") == left
    assert cluster.query("SHOW work_mem") == "5MB"
    cluster.query("ALTER SYSTEM RESET ALL")
    cluster.pg_ctl("stop", "-m", "fast")
    (cluster.path / "dsql_iam_hba.conf").unlink(missing_ok=True)
    assert [row[:3] for row in cluster.state()] == [row[:3] for row in before]
    assert dict((row[0], row[3]) for row in cluster.state())["postgresql.conf"] == (
        dict((row[0], row[3]) for row in before)["postgresql.conf"])


@pytest.mark.parametrize("with_setup", [True, False])
@pytest.mark.parametrize("is_included", [True, False])
def test_undo_names_the_line_that_somebody_else_wrote(own, cluster, with_setup, is_included):
    """That file is theirs, so it stays as it is; but nobody is told that all is done."""
    config = cluster.path / "postgresql.conf"
    text = config.read_text()
    line = "Shared_Preload_Libraries auto_explain,dsql_iam # mine\n".replace(
        "auto_explain,dsql_iam", "'auto_explain,dsql_iam'")
    if is_included:
        own.write(cluster.path / "mine.conf", line)
        line = "include 'mine.conf'\n"
    own.write(config, text + line)
    if with_setup:
        told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    number = len(text.splitlines()) + 1
    where = f"a file that {config} names" if is_included else f"line {number} of {config}"
    done = setup(own, "--data", cluster.path, "--undo", "--yes")
    assert fault(done) == (
        f"{where} has the server load the library, and setup did not write that: take dsql_iam out of "
        "shared_preload_libraries there, or the server does not start once the library is gone")
    assert config.read_text() == text + line


def test_undo_leaves_the_documents(own, cluster):
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    own.write(cluster.documents / "a.json", "{}")
    said = told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert f"{cluster.documents} stays, since it is not empty" in said
    assert (cluster.documents / "a.json").exists()


def test_setup_of_what_is_no_server(own, tmp_path):
    assert fault(setup(own, "--data", tmp_path)) == (
        f"{tmp_path} is not a data directory: it has no PG_VERSION")
    assert fault(setup(own, "--data", tmp_path / "x")) == (
        f"{tmp_path}/x: No such file or directory (os error 2)")
    assert fault(setup(own, "host=/nonexistent")).startswith("the server could not be asked: ")


def test_setup_of_nothing(command):
    said = fault(run(command, "setup", *CLUSTER))
    assert said == "name the server: --data DIR, or a connection"


def test_setup_of_another_version(own, cluster, tmp_path):
    own.write(cluster.path / "PG_VERSION", "13\n")
    assert fault(setup(own, "--data", cluster.path)) == (
        f"{cluster.path} is of PostgreSQL 13, and dsql_iam is for PostgreSQL 14 to 19")
    other = 14 if own.version != 14 else 15
    own.write(cluster.path / "PG_VERSION", f"{other}\n")
    config = pg_config(tmp_path)
    assert fault(setup(own, "--data", cluster.path, "--pg-config", config)) == (
        f"{cluster.path} is of PostgreSQL {other}, and {config} of PostgreSQL {own.version}: name "
        "the right one with --pg-config")
    if not pathlib.Path(f"/usr/lib/postgresql/{other}").exists():
        assert fault(setup(own, "--data", cluster.path)) == (
            f"{cluster.path} is of PostgreSQL {other}, which was not found: name its pg_config with "
            "--pg-config")


def test_setup_before_install(own, cluster, tmp_path):
    config = pg_config(tmp_path)
    done = subprocess.run([os.environ["PG_CONFIG"], "--pkglibdir"], text=True, capture_output=True)
    if (pathlib.Path(done.stdout.strip()) / "dsql_iam.so").exists():
        pytest.skip("the system's PostgreSQL has the extension")
    said = fault(setup(own, "--data", cluster.path, *CLUSTER, "--pg-config", config))
    assert "does not have the extension's files: dsql-iam install puts them there" in said


def test_setup_by_neither_root_nor_the_owner_runs_nothing(own, cluster, ordinary):
    """Whose data directory it is has named a program in it."""
    if ordinary is None:
        pytest.skip("only root can be somebody else")
    ran = own.dir / "ran"
    program = own.dir / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    own.write(cluster.path / "postmaster.opts", f'{program} "-D" "x"\n', mode=0o644)
    for path in cluster.path, *cluster.path.iterdir():
        path.chmod(path.stat().st_mode | 0o055)
    name = pwd.getpwuid(cluster.path.stat().st_uid).pw_name
    for arguments in (CLUSTER, ("--undo",)):
        assert fault(setup(own, "--data", cluster.path, *arguments, user=ordinary)) == (
            f"{cluster.path} belongs to the user {name}: run it as that user, or as root")
    assert not ran.exists()
    program.unlink()


def test_setup_keeps_documents_out_of_the_data_directory(own, cluster, configuration):
    """Beside the configuration where that is elsewhere, as on Debian."""
    if os.geteuid() == 0:
        owner = cluster.path.stat()
        folder = configuration(cluster.path, owner.st_uid, owner.st_gid)
        shown = told(setup(own, "--data", folder, *CLUSTER))
        assert f"{folder}/dsql_iam: a new folder, mode 0700" in shown
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    config = (cluster.path / "postgresql.conf").read_text()
    assert f"dsql_iam.iam_directory = '{cluster.documents}'\n" in config
    # One inside goes on working, and is named.
    inside = cluster.path / "iam"
    shown = told(setup(own, "--data", cluster.path, "--iam-directory", inside, "--yes"))
    assert (f"note: {inside} lies in the data directory, so each base backup and standby gets the secrets in it: "
            "move it, and name the new place with --iam-directory\n") in shown
    assert inside.is_dir()


def test_setup_where_the_servers_user_may_make_no_folder(own, cluster, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root has a folder that the server's user may not write")
    above = own.dir / "above"
    above.mkdir(mode=0o755)
    moved = above / "cluster"
    cluster.path.rename(moved)
    own.write(moved / "postmaster.opts", f'{own.program} "-D" "{moved}"\n')
    try:
        said = fault(setup(own, "--data", moved, *CLUSTER))
        assert said == (
            f"the server's user may make a folder neither beside {moved}/postgresql.conf nor beside {moved}: make "
            "one for the IAM documents (as root: install -d -m 700 -o "
            f"{pwd.getpwuid(moved.stat().st_uid).pw_name} /etc/dsql_iam) and name it with --iam-directory")
    finally:
        moved.rename(cluster.path)
        above.rmdir()


def test_setup_names_settings_that_stand_elsewhere(own, cluster):
    auto, config = cluster.path / "postgresql.auto.conf", cluster.path / "postgresql.conf"
    own.write(auto, auto.read_text() + "dsql_iam.exempt_roles = 'app, dba'\n")
    own.write(config, config.read_text() + "include_if_exists 'more.conf'\n")
    own.write(cluster.path / "more.conf", "\ndsql_iam.require_tls = off\n")
    notes = (f"note: line 2 of {cluster.path}/more.conf stays: dsql_iam.require_tls = 'off'\n"
             f"note: line {len(auto.read_text().splitlines())} of {auto} stays: "
             "dsql_iam.exempt_roles = 'app, dba'\n")
    assert notes in told(setup(own, "--data", cluster.path, *CLUSTER))
    assert notes in told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    assert notes in told(setup(own, "--data", cluster.path, "--undo"))
    undone = told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert notes in undone
    assert "note: the role admin stays; to drop it, as a superuser: DROP OWNED BY admin in each database" in undone
    # Also when there is nothing left to undo.
    assert notes in told(setup(own, "--data", cluster.path, "--undo"))


def test_setup_with_exempt_roles(own, cluster):
    before = cluster.state()
    shown = told(setup(own, "--data", cluster.path, *CLUSTER, "--exempt-roles", "app,dba", "--yes"))
    assert "  + dsql_iam.exempt_roles = 'app,dba'\n" in shown
    # Named once, they stay.
    assert "nothing to change" in told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    told(setup(own, "--data", cluster.path, "--region", "eu-west-1", "--yes"))
    assert "dsql_iam.exempt_roles = 'app,dba'\n" in (cluster.path / "postgresql.conf").read_text()
    cluster.pg_ctl("start")
    assert cluster.query("SHOW dsql_iam.exempt_roles") == "app,dba"
    cluster.pg_ctl("stop", "-m", "fast")
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert cluster.state() == before


LIKE_DSQL = {"default_transaction_isolation": "repeatable read", "TimeZone": "UTC", "log_timezone": "UTC",
             "dsql_iam.async_indexes": "on", "max_connections": "1000"}


def test_setup_like_dsql(own, cluster):
    auto = cluster.path / "postgresql.auto.conf"
    own.write(auto, auto.read_text() + "timezone = 'Europe/Zurich'\n")
    before = cluster.state()
    shown = told(setup(own, "--data", cluster.path, *CLUSTER, "--like-dsql", "--yes"))
    for name, value in LIKE_DSQL.items():
        assert f"  + {name} = '{value}'\n" in shown
    assert "  - timezone = 'Europe/Zurich'\n  + TimeZone = 'UTC'\n" in shown
    # Asked for once, it stays.
    for more in ((), ("--like-dsql",)):
        assert "nothing to change" in told(setup(own, "--data", cluster.path, *CLUSTER, *more, "--yes"))
    cluster.pg_ctl("start")
    for name, value in LIKE_DSQL.items():
        assert cluster.query(f"SHOW {name}") == value
    assert "nothing to change" in told(setup(own, cluster.conninfo, "--yes"))
    cluster.query("CREATE EXTENSION dsql_iam")
    cluster.query("CREATE TABLE t (n int)")
    assert len(cluster.query("CREATE INDEX ASYNC ON t (n)").splitlines()[0]) == 26
    cluster.pg_ctl("stop", "-m", "fast")
    told(setup(own, "--data", cluster.path, "--undo", "--yes"))
    assert cluster.state() == before


def test_setup_like_dsql_leaves_more_connections(own, cluster):
    auto = cluster.path / "postgresql.auto.conf"
    own.write(auto, auto.read_text() + "max_connections = 2000\n")
    assert "max_connections" not in told(setup(own, "--data", cluster.path, *CLUSTER, "--like-dsql"))


def test_setup_starts_postgres_where_its_user_gets(own, cluster, tmp_path):
    """It says so otherwise, where only what counts should stand."""
    if os.geteuid() != 0:
        pytest.skip("only root gets where the server's user does not")
    config = cluster.path / "postgresql.conf"
    own.write(config, config.read_text() + "work_mem = 'x'\n")
    tmp_path.chmod(0o700)
    done = subprocess.run([own.command, "setup", "--data", cluster.path, *CLUSTER], cwd=tmp_path, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "could not change directory" not in done.stderr


def test_admin_can_be_dropped_after_the_removal(own, cluster):
    told(setup(own, "--data", cluster.path, *CLUSTER, "--yes"))
    cluster.pg_ctl("start")
    cluster.query("CREATE EXTENSION dsql_iam")
    cluster.query("DROP EXTENSION dsql_iam")
    told(setup(own, cluster.conninfo, "--undo", "--yes"))
    cluster.pg_ctl("restart", "-m", "fast")
    cluster.query("DROP OWNED BY admin")
    cluster.query("DROP ROLE admin")
    assert cluster.query("SELECT count(*) FROM pg_roles WHERE rolname = 'admin'") == "0"


def test_a_password_is_on_no_command_line(own, tmp_path):
    psql = tmp_path / "psql"
    psql.write_text(f'#!/bin/sh\ncat >/dev/null\necho "$@" >{tmp_path}/said\n'
                    f'echo "$PGPASSWORD" >>{tmp_path}/said\nexit 3\n')
    psql.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    for connection in ("host=h password='top secret' user=u", "postgresql://u:top%20secret@h/postgres",
                       "postgresql://u@h/postgres?password=top%20secret"):
        for arguments in (["doctor", connection], ["setup", connection]):
            assert run(own.command, *arguments, PATH=path).returncode == 1
            line, password = (tmp_path / "said").read_text().splitlines()
            assert password == "top secret"
            assert "secret" not in line and "--dbname" in line
    assert run(own.command, "doctor", PATH=path, DSQL_SUPERUSER="host=h password=x sslpassword=y").stderr == (
        "dsql-iam: the server could not be asked: sslpassword would stand on psql's command line, where others can "
        "see it: name a key without a passphrase, or a service file that has it\n")
    assert "top secret" not in run(own.command, "doctor", "--help", DSQL_SUPERUSER="password='top secret'").stdout


def test_setup_without_permission(own, cluster, ordinary):
    if ordinary is None:
        pytest.skip("only root can be somebody else")
    assert fault(setup(own, "--data", cluster.path, *CLUSTER, user=ordinary)) == (
        f"{cluster.path}: Permission denied (os error 13): run it as root, or as the server's user, who "
        "has to have the right to it")


@pytest.mark.parametrize(("arguments", "message"), [
    (("--region", "us-east-1"), 'account_id must be twelve digits, not ""'),
    (("--account-id", "1", "--region", "us-east-1"), 'account_id must be twelve digits, not "1"'),
    (("--account-id", "012345678912"), 'region must look like "us-east-1", not ""'),
    ((*CLUSTER, "--cluster-id", "x"), 'cluster_id must be 26 characters of a-z and 0-9, not "x"'),
])
def test_setup_without_a_cluster(own, cluster, arguments, message):
    said = fault(setup(own, "--data", cluster.path, *arguments))
    assert said == f"{message}: give --account-id, --region and, if you have one, --cluster-id"


# Completions and manual


@pytest.mark.parametrize(("shell", "check"), [
    ("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])])
def test_completions(command, shell, check, tmp_path):
    path = tmp_path / "completions"
    path.write_text(told(run(command, "completions", shell)))
    assert "simulate-principal-policy" in path.read_text()
    if shutil.which(check[0]):
        subprocess.run([*check, path], check=True)


def test_manual(command, tmp_path):
    page = told(run(command, "man"))
    assert page.splitlines()[2].startswith(".TH dsql-iam 1 ")
    told(run(command, "man", "--into", tmp_path))
    pages = {path.name for path in tmp_path.iterdir()}
    assert {"dsql-iam.1", "dsql-iam-setup.1", "dsql-iam-token.1"} <= pages
    if shutil.which("man"):
        subprocess.run(["man", "--warnings=w", "--local-file", tmp_path / "dsql-iam.1"], check=True,
                       stdout=subprocess.DEVNULL)
