"""A plugin for pytest: the containers of an example are a server that runs already.

Everything that a test says about a container is said to testcontainers itself; only where it would turn
to the engine, the server of the environment stands in.
"""

import os
import pathlib

from testcontainers.core import container as containers
from testcontainers.core.container import DockerContainer

SERVER = pathlib.Path(os.environ["DSQL_IAM_DIRECTORY"])


def start(container):
    """Puts the documents where the server looks, as its user's."""
    assert container.image == "dsql-iam"
    assert container._wait_strategy is not None
    for source, destination, mode in container._transferable_specs:
        folder, _, name = destination.rpartition("/")
        assert folder == "/iam"
        copy = SERVER / name
        copy.write_bytes(source.read_bytes())
        copy.chmod(mode)
        os.chown(copy, SERVER.stat().st_uid, SERVER.stat().st_gid)
    return container


def get_exposed_port(container, port):
    assert str(port) in container.ports
    return int(os.environ["PGPORT"])


def copy_from_container(container, source, destination):
    assert source == "/var/lib/dsql-iam/tls/server.crt"
    destination.write_bytes(pathlib.Path(os.environ["PGSSLROOTCERT"]).read_bytes())


containers.DockerClient = lambda **options: None
DockerContainer.start = start
DockerContainer.stop = lambda container, *arguments, **options: None
DockerContainer.get_exposed_port = get_exposed_port
DockerContainer.copy_from_container = copy_from_container
