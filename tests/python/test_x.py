"""`./x`, on machines that lack something: a PATH with stand-ins for the programs that it asks for."""

import os
import pathlib
import shutil
import subprocess

import pytest

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
RUSTUP = "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal\n"


class Machine:
    """A machine with a checkout, and with no more programs than a test gives it."""

    def __init__(self, folder):
        self.bin = folder / "bin"
        self.home = folder / "home"
        self.checkout = folder / "a b" / "checkout"
        for path in (self.bin, self.home, self.checkout):
            path.mkdir(parents=True)
        for program in ("sh", "readlink", "env", "sed", "head"):
            (self.bin / program).symlink_to(shutil.which(program))
        shutil.copy(WORKSPACE / "x", self.checkout)
        self.has("id", "echo 1000")
        self.has("cc")
        self.has("curl")
        self.has("cargo", """
            [ "$1" != --version ] || { echo 'cargo 1.95.0 (f2d3ce0bd 2026-03-21)'; exit; }
            printf '%s\\n' "$(pwd)" "$XTASK_CALLED_FROM" "$@" """)

    def has(self, program, script="exit 0"):
        path = self.bin / program
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def lacks(self, program):
        (self.bin / program).unlink()

    def run(self, *arguments, program=None, cwd=None):
        """Gives the exit status, what was printed, and what was said."""
        done = subprocess.run(
            [program or self.checkout / "x", *arguments], cwd=cwd or self.checkout, text=True, timeout=60,
            env={"PATH": str(self.bin), "HOME": str(self.home)}, capture_output=True,
            stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_it_goes_on_to_cargo_from_anywhere(machine, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("a b/checkout/x")
    second = machine.home / "second"
    second.symlink_to(link)
    for program, cwd in [(None, None), ("./x", None), ("a b/checkout/x", tmp_path), (link, "/"),
                         (second, machine.home)]:
        status, printed, said = machine.run("up", "--dir", "a  b", "", program=program, cwd=cwd)
        assert (status, said) == (0, "")
        assert printed.split("\n") == [str(machine.checkout), str(cwd or machine.checkout), "run",
                                       "--package", "xtask", "--", "up", "--dir", "a  b", "", ""]


def test_there_is_no_rust(machine):
    machine.lacks("cargo")
    assert machine.run("up") == (1, "", f"error: there is no Rust. To install it, for this user:\n\n{RUSTUP}\n")
    machine.lacks("curl")
    assert machine.run("up") == (
        1, "", "error: there is no Rust. To install it, for this user:\n\n"
               f"  sudo apt-get install curl ca-certificates\n{RUSTUP}\n")


def test_rust_was_installed_after_the_shell_was_started(machine):
    folder = machine.home / ".cargo/bin"
    folder.mkdir(parents=True)
    (machine.bin / "cargo").rename(folder / "cargo")
    status, printed, said = machine.run("up")
    assert (status, said) == (0, "")
    assert printed.endswith("\nup\n")


@pytest.mark.parametrize("version", ["1.94.1", "1.85.0", "1.9.0"])
def test_rust_is_too_old(machine, version):
    machine.has("cargo", f"echo 'cargo {version} (f2d3ce0bd 2026-03-21)'")
    status, printed, said = machine.run("up")
    assert (status, printed) == (1, "")
    assert said.startswith(f"error: this needs Rust 1.95 or newer, and cargo is of {version}. ")
    assert said.endswith(f"\n\n{RUSTUP}\n")
    machine.has("rustup")
    assert machine.run("up") == (
        1, "", f"error: this needs Rust 1.95 or newer, and cargo is of {version}:\n\n"
               "  rustup update stable && rustup default stable\n\n")


@pytest.mark.parametrize("version", ["1.95.0", "1.100.0-nightly", "2.0.0"])
def test_rust_is_new_enough(machine, version):
    machine.has("cargo", f"[ \"$1\" != --version ] || echo 'cargo {version} (f2d3ce0bd 2026-03-21)'")
    assert machine.run("up") == (0, "", "")


def test_rustup_has_no_toolchain(machine):
    machine.has("cargo", "echo 'error: rustup could not choose a version of cargo to run' >&2; exit 1")
    status, printed, said = machine.run("up")
    assert (status, printed) == (1, "")
    assert said.startswith("error: rustup could not choose a version of cargo to run\n")
    assert said.endswith("With rustup:\n\n  rustup default stable\n\n")


NO_COMPILER = ("error: there is no C compiler (cc), or it lacks the headers of the C library. To install what is "
               "missing:\n\n")


@pytest.mark.parametrize(("node", "with_node", "depends", "server"), [
    ("18.20.4+dfsg-1~deb12u1", "", "Depends: postgresql-15", "postgresql-15 postgresql-server-dev-15"),
    ("20.19.2+dfsg-1", "nodejs npm ", "Depends: postgresql-17", "postgresql-17 postgresql-server-dev-17"),
    (None, "", "", "postgresql postgresql-server-dev-all"),
])
def test_a_user_is_asked_once_for_all_that_the_tests_need(machine, node, with_node, depends, server):
    machine.lacks("cc")
    machine.has("apt-get")
    machine.has("apt-cache", f"""
        case $2 in
            nodejs) {f"echo 'Version: {node}'" if node else "exit 100"} ;;
            postgresql) printf '%s\\n' 'Package: postgresql' '{depends}' ;;
        esac""")
    assert machine.run("test") == (1, "", f"""{NO_COMPILER}\
  sudo mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' | sudo tee /etc/postgresql-common/createcluster.d/no-server-on-5432.conf
  sudo apt-get install gcc libc6-dev clang libclang-dev python3 python3-venv default-jdk-headless \
libpostgresql-jdbc-java maven valgrind bzip2 xz-utils dpkg-dev {with_node}libicu-dev {server}

""")


def test_a_user_is_told_the_line_for_a_compiler(machine):
    machine.has("cc", "exit 1")
    machine.has("apt-get", "echo apt-get was run; exit 1")
    said = f"{NO_COMPILER}  sudo apt-get install gcc libc6-dev{{}}\n\n"
    assert machine.run("up", "--detach") == (1, "", said.format(" clang libclang-dev python3 python3-venv"))
    assert machine.run("lint") == (1, "", said.format(" clang libclang-dev"))
    # A sudo that would ask for a password, and a machine that has libclang.
    machine.has("sudo", "exit 1")
    machine.has("clang")
    assert machine.run("down") == (1, "", said.format(""))
    machine.lacks("apt-get")
    status, _, said = machine.run("up")
    assert status == 1
    assert said.startswith("error: there is no C compiler (cc), ")
    assert "apt-get" not in said


APT = """
printf '%s\\n' "$*" >> "$0.ran"
case $* in *install*) printf '#!/bin/sh\\n' > "${0%/*}/cc" ;; esac
"""


@pytest.mark.parametrize("user", ["0", "1000"])
def test_a_compiler_is_installed_where_that_is_allowed(machine, user):
    machine.has("cc", "exit 1")
    machine.has("apt-get", APT)
    machine.has("id", f"echo {user}")
    machine.has("sudo", '[ "$1" = -n ] && shift && exec "$@"')
    if user == "1000":
        machine.has("true")
    status, printed, said = machine.run("up")
    assert (status, said) == (0, "installing gcc libc6-dev clang libclang-dev\n")
    assert printed.endswith("\nup\n")
    assert (machine.bin / "apt-get.ran").read_text().splitlines() == [
        "-qq update", "-qq install -y --no-install-recommends gcc libc6-dev clang libclang-dev"]


def test_apt_fails(machine):
    machine.has("cc", "exit 1")
    machine.has("apt-get", "exit 100")
    machine.has("id", "echo 0")
    status, _, said = machine.run("up")
    assert (status, said.splitlines()[-1]) == (
        1, "error: apt-get could not install these packages: gcc libc6-dev clang libclang-dev")


def test_it_asks_for_the_rust_that_cargo_asks_for():
    manifest = (WORKSPACE / "Cargo.toml").read_text()
    script = (WORKSPACE / "x").read_text()
    minor = script.partition("\nrust_minor=")[2].splitlines()[0]
    assert f'\nrust-version = "1.{minor}"\n' in manifest
