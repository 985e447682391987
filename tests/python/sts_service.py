"""A running `dsql-iam sts`, for tests."""

import contextlib
import http.client
import os
import subprocess
import threading
import urllib.parse

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from assumable import ALICE
from support import REGION, SECRETS, until

CONTAINER_TOKEN = "a-token-that-only-the-container-has"
IDENTITY = "Action=GetCallerIdentity&Version=2011-06-15"


class Sts:
    """A running `dsql-iam sts`."""

    def __init__(self, server, *arguments, **variables):
        if "--listen" not in arguments:
            arguments = ["--listen", "127.0.0.1:0", *arguments]
        self.process = subprocess.Popen(
            [server.command, "sts", *arguments], text=True,
            env=os.environ | server.variables | variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.errors = []
        self.reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr))
        self.reader.start()
        self.variables = {}
        for _ in range(3 if "--container-role" in arguments else 2):
            line = self.process.stdout.readline()
            assert line.startswith("export "), (line, self.errors)
            name, _, value = line.strip().removeprefix("export ").partition("=")
            self.variables[name] = value
        self.url = self.variables["AWS_ENDPOINT_URL_STS"]
        # So that the next line on stderr is of what a test does.
        until(lambda: "listening on" in "".join(self.errors), "it says that it is there")

    def end(self):
        self.process.terminate()
        self.process.wait(20)
        self.reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        for secret in [*SECRETS, CONTAINER_TOKEN]:
            assert secret not in "".join(self.errors)

    def client(self, key=ALICE, service="sts"):
        return boto3.client(service, endpoint_url=self.url, region_name=REGION,
                            aws_access_key_id=key.id, aws_secret_access_key=key.secret,
                            aws_session_token=key.session_token)

    def send(self, body=IDENTITY, headers=(), method="POST", path="/"):
        address = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return response.status, response.read().decode()

    def signed(self, body=IDENTITY, key=ALICE, service="sts", url=None):
        """The headers of a request that botocore signs."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        request = AWSRequest("POST", url or self.url + "/", headers=form, data=body)
        credentials = Credentials(key.id, key.secret, key.session_token)
        SigV4Auth(credentials, service, REGION).add_auth(request)
        return dict(request.headers)
