// Every refusal that AWS's signer can bring about, field by field.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import {
  account,
  adminToken,
  assertRefused,
  connect,
  connectAsAdmin,
  createRole,
  credentialsOf,
  customToken,
  putDocuments,
  refusalOf,
  server,
} from "./server.js";

const INVALID_SECURITY_TOKEN = "The security token included in the request is invalid.";
const WRONG_SIGNATURE =
  "The request signature we calculated does not match the signature you provided. Check your AWS " +
  "Secret Access Key and signing method. Consult the service documentation for details.";

/** IAM says no, or was not asked. */
const BY_IAM = "08006";
/** IAM says yes, the database no. */
const BY_DATABASE = "28000";

/** A text as long as `text`, and another. */
function reversed(text) {
  const result = [...text].reverse().join("");
  assert.ok(result !== text);
  return result;
}

test("an unknown access key", async (t) => {
  const credentials = { ...(await credentialsOf("admin")), accessKeyId: "AKIAIOSFODNN7EXAMPLE" };
  const token = await adminToken("admin", { credentials });
  await assertRefused(connect(t, "admin", token), BY_IAM, INVALID_SECURITY_TOKEN);
});

test("a session token that is wrong, missing or superfluous", async (t) => {
  const role = await createRole(t, await connectAsAdmin(t));
  const { sessionToken, ...permanent } = await credentialsOf("example");
  const wrong = { ...permanent, sessionToken: reversed(sessionToken) };
  for (const credentials of [wrong, permanent]) {
    const token = await customToken("example", { credentials });
    await assertRefused(connect(t, role, token), BY_IAM, INVALID_SECURITY_TOKEN);
  }
  const superfluous = { ...(await credentialsOf("admin")), sessionToken };
  const token = await adminToken("admin", { credentials: superfluous });
  await assertRefused(connect(t, "admin", token), BY_IAM, INVALID_SECURITY_TOKEN);
});

test("an expired token", async (t) => {
  const token = await adminToken("admin", { signedAt: new Date("2024-11-25T00:15:30Z") });
  const error = await refusalOf(connect(t, "admin", token));
  assert.equal(error.code, BY_IAM);
  assert.equal(error.message, "unable to accept connection, access denied");
  assert.match(
    error.hint,
    /^Signature expired: 20241125T001530Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)$/,
  );
});

test("a token lives as long as it asked", async (t) => {
  const signedAt = new Date(Date.now() - 902_000);
  const expired = await refusalOf(connect(t, "admin", await adminToken("admin", { signedAt })));
  assert.equal(expired.code, BY_IAM);
  assert.match(expired.hint, /^Signature expired: /);
  await connect(t, "admin", await adminToken("admin", { signedAt, expiresIn: 960 }));
});

test("a token from the future", async (t) => {
  const token = await adminToken("admin", { signedAt: new Date(Date.now() + 3_600_000) });
  const error = await refusalOf(connect(t, "admin", token));
  assert.equal(error.code, BY_IAM);
  assert.equal(error.message, "unable to accept connection, access denied");
  assert.match(
    error.hint,
    /^Signature not yet current: \d{8}T\d{6}Z is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 5 min\.\)$/,
  );
});

test("the action of the other kind of role", async (t) => {
  await assertRefused(
    connect(t, "admin", await customToken("admin")),
    BY_IAM,
    "Wrong user to action mapping. user: admin, action: DbConnect",
  );
  const role = await createRole(t, await connectAsAdmin(t));
  await assertRefused(
    connect(t, role, await adminToken("example")),
    BY_IAM,
    `Wrong user to action mapping. user: ${role}, action: DbConnectAdmin`,
  );
});

test("no policy allows it", async (t) => {
  const hint = (principal, action) =>
    `User: ${principal} is not authorized to perform: dsql:${action} on resource: ` +
    `${server.clusterArn} because no identity-based policy allows the dsql:${action} action`;
  const visitor = `arn:aws:iam::${account}:user/visitor`;
  const session = `arn:aws:sts::${account}:assumed-role/example/local`;

  for (const [profile, principal] of [["denied", visitor], ["example", session]]) {
    const token = await adminToken(profile);
    await assertRefused(connect(t, "admin", token), BY_IAM, hint(principal, "DbConnectAdmin"));
  }
  const role = await createRole(t, await connectAsAdmin(t));
  const token = await customToken("denied");
  await assertRefused(connect(t, role, token), BY_IAM, hint(visitor, "DbConnect"));
});

test("what documents bring about", async (t) => {
  const { documents, refusals } = JSON.parse(readFileSync(new URL("../refusals.json", import.meta.url), "utf8"));
  putDocuments(t, documents);
  assert.ok(refusals.length > 0);
  for (const refusal of refusals) {
    await t.test(refusal.case, async (t) => {
      const { AccessKey, Credentials } = documents[refusal.key];
      const { AccessKeyId, SecretAccessKey, SessionToken } = AccessKey ?? Credentials;
      const credentials = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: SessionToken };
      const login = async () => connect(t, "nobody", await customToken("example", { credentials }));
      // While another process reads the documents, those that were there before decide.
      const deadline = Date.now() + 20_000;
      while ((await refusalOf(login())).hint === INVALID_SECURITY_TOKEN) {
        assert.ok(Date.now() < deadline, "the documents are not in force");
      }
      const hint = refusal.hint.replace("CLUSTER_ARN", server.clusterArn);
      await assertRefused(login(), BY_IAM, hint);
    });
  }
});

test("another region", async (t) => {
  const token = await adminToken("admin", { region: "eu-west-3" });
  await assertRefused(
    connect(t, "admin", token),
    BY_IAM,
    "Credential should be scoped to a valid region, not 'eu-west-3'.",
  );
});

test("another host", async (t) => {
  const hostname = `abcdefghijklmnopqrstuvwxyz.dsql.${server.region}.on.aws`;
  const token = await adminToken("admin", { hostname });
  await assertRefused(connect(t, "admin", token), BY_IAM, WRONG_SIGNATURE);
});

test("another secret", async (t) => {
  const right = await credentialsOf("admin");
  const credentials = { ...right, secretAccessKey: reversed(right.secretAccessKey) };
  const token = await adminToken("admin", { credentials });
  await assertRefused(connect(t, "admin", token), BY_IAM, WRONG_SIGNATURE);
});

test("an ordinary password", async (t) => {
  for (const user of ["admin", "postgres"]) {
    await assertRefused(
      connect(t, user, "correct horse battery staple"),
      BY_IAM,
      "Request is missing Authentication Token",
    );
  }
});

test("an empty password", async (t) => {
  const error = await refusalOf(connect(t, "admin", ""));
  assert.deepEqual(
    { code: error.code, message: error.message, hint: error.hint },
    { code: "08P01", message: "invalid password packet size", hint: undefined },
  );
});

test("no TLS", async (t) => {
  const token = await adminToken("admin");
  const error = await refusalOf(connect(t, "admin", token, { ssl: false }));
  assert.deepEqual(
    { code: error.code, message: error.message, hint: error.hint },
    {
      code: "08P01",
      message: "unable to accept connection, SSL is mandatory. AWS Authentication is required.",
      hint: undefined,
    },
  );
});

test("another database", async (t) => {
  const token = await adminToken("admin");
  // One that is there, one that is not.
  for (const database of ["template1", "no_such_database"]) {
    await assertRefused(connect(t, "admin", token, { database }), BY_IAM, undefined);
  }
});

test("a role that is unknown, a superuser or without LOGIN", async (t) => {
  const group = await createRole(t, await connectAsAdmin(t), "NOLOGIN");
  const token = await customToken("example");
  for (const role of ["no_such_role", "postgres", group]) {
    await assertRefused(connect(t, role, token), BY_DATABASE, undefined);
  }
});

test("a role that is mapped to others", async (t) => {
  const admin = await connectAsAdmin(t);
  const role = await createRole(t, admin);
  await admin.query(`AWS IAM GRANT ${role} TO 'arn:aws:iam::${account}:user/visitor'`);
  await assertRefused(connect(t, role, await customToken("example")), BY_DATABASE, undefined);
});

test("each refusal has its own session id", async (t) => {
  const [first, second] = [
    await refusalOf(connect(t, "admin", "no token")),
    await refusalOf(connect(t, "admin", "no token")),
  ];
  assert.notEqual(first.detail, second.detail);
});
