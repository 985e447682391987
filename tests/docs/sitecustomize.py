"""Python loads this before the programs of the documents: the cluster's name leads here, as a line in
/etc/hosts would make it."""

import os
import socket

resolve = socket.getaddrinfo


def getaddrinfo(host, *arguments, **options):
    name = "localhost" if host == os.environ.get("DSQL_ENDPOINT") else host
    return resolve(name, *arguments, **options)


socket.getaddrinfo = getaddrinfo
