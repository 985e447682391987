// Stands in for the package testcontainers: a container is a server that runs already, that of the
// environment.

import assert from "node:assert/strict";
import { chmodSync, chownSync, copyFileSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const { DSQL_IAM_DIRECTORY: folder, PGPORT, PGSSLROOTCERT } = process.env;

export const Wait = { forHealthCheck: () => "healthy" };

export class GenericContainer {
  constructor(image) {
    assert.equal(image, "dsql-iam");
  }
  withExposedPorts(port) {
    assert.equal(port, 5432);
    return this;
  }
  withWaitStrategy(strategy) {
    assert.equal(strategy, "healthy");
    return this;
  }
  withCopyFilesToContainer(files) {
    this.files = files;
    return this;
  }
  async start() {
    const { uid, gid } = statSync(folder);
    for (const { source, target, mode } of this.files) {
      assert.equal(dirname(target), "/iam");
      const copy = join(folder, basename(target));
      copyFileSync(source, copy);
      chmodSync(copy, mode);
      chownSync(copy, uid, gid);
    }
    return {
      exec: async (command) => {
        assert.deepEqual(command, ["cat", "/var/lib/dsql-iam/tls/server.crt"]);
        return { exitCode: 0, stdout: readFileSync(PGSSLROOTCERT, "utf8") };
      },
      getMappedPort: (port) => {
        assert.equal(port, 5432);
        return Number(PGPORT);
      },
      stop: async () => {},
    };
  }
}
