#!/usr/bin/env bash
# Whether the server is as it should be; what is not is in the health check's log.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
    exec gosu postgres dsql-iam doctor "dbname=postgres"
fi
exec dsql-iam doctor "dbname=postgres user=postgres"
