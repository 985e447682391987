#!/usr/bin/env bash
# Run by the official image when it has made a new cluster.
set -euo pipefail
PGHOST='' psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username postgres \
    --dbname postgres --command "CREATE EXTENSION dsql_iam"
