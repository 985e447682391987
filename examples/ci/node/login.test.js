// Logs in to dsql_iam in a container of its own. It needs the image dsql-iam.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import { DsqlSigner } from "@aws-sdk/dsql-signer";
import pg from "pg";
import { GenericContainer, Wait } from "testcontainers";

const IAM = new URL("../iam/", import.meta.url);
const ARN = "arn:aws:iam::012345678912:user/ci";
const key = JSON.parse(readFileSync(new URL("key.json", IAM))).AccessKey;
const signer = new DsqlSigner({
  hostname: "localhost",
  region: "us-east-1",
  credentials: { accessKeyId: key.AccessKeyId, secretAccessKey: key.SecretAccessKey },
});

let container;
let server;

before(async () => {
  container = await new GenericContainer("dsql-iam")
    .withExposedPorts(5432)
    .withWaitStrategy(Wait.forHealthCheck())
    .withCopyFilesToContainer(
      readdirSync(IAM).map((name) => ({
        source: new URL(name, IAM).pathname,
        target: `/iam/${name}`,
        // That nobody else can read: this is what the server asks for.
        mode: 0o600,
      })),
    )
    .start();
  const certificate = await container.exec(["cat", "/var/lib/dsql-iam/tls/server.crt"]);
  server = {
    host: "localhost",
    port: container.getMappedPort(5432),
    database: "postgres",
    ssl: { ca: certificate.stdout },
  };
});

after(() => container?.stop());

test("a role logs in once it is mapped", async () => {
  const login = async (user, password) => {
    const client = new pg.Client({ ...server, user, password });
    await client.connect();
    return client;
  };

  await assert.rejects(login("app", await signer.getDbConnectAuthToken()), {
    message: "unable to accept connection, access denied",
  });

  const admin = await login("admin", await signer.getDbConnectAdminAuthToken());
  await admin.query("CREATE ROLE app WITH LOGIN");
  await admin.query(`AWS IAM GRANT app TO '${ARN}'`);
  await admin.end();

  const app = await login("app", await signer.getDbConnectAuthToken());
  const { rows } = await app.query("SELECT sys.iam_session_user() AS arn");
  await app.end();
  assert.deepEqual(rows, [{ arn: ARN }]);
});
