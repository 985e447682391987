# The container's entry point and health check, in a Debian with what the Dockerfile lays out: what the
# image's own entry point and gosu do is stood in for, as its documentation has it.
set -euo pipefail
# The image has that, and nothing of the package.
cp -r --no-dereference /test/out/. /
fail() { echo "FAILED: $*" >&2; exit 1; }
step() { echo "- $*"; }
export PATH=/usr/lib/postgresql/$VERSION/bin:/usr/local/bin:$PATH PGDATA=/var/lib/container/data
[ "$(command -v dsql-iam dsql-iam-entrypoint dsql-iam-health | xargs -n 1 dirname | uniq)" = /usr/local/bin ] ||
    fail "$(command -v dsql-iam dsql-iam-entrypoint dsql-iam-health)"
cat >/usr/local/bin/gosu <<'SH'
#!/bin/bash
user=$1; shift
exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"
SH
cat >/usr/local/bin/docker-entrypoint.sh <<'SH'
#!/bin/bash
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"; chown postgres: "$PGDATA" /var/run/postgresql
    exec gosu postgres "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -n "$POSTGRES_PASSWORD" ]
    initdb --username=postgres --pwfile=<(echo "$POSTGRES_PASSWORD") $POSTGRES_INITDB_ARGS >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl -w start -o "$(printf '%q ' "${@:2}" -c listen_addresses=)" >/dev/null
    for script in /docker-entrypoint-initdb.d/*; do "$script"; done
    pg_ctl -w -m fast stop >/dev/null
fi
exec "$@"
SH
chmod 755 /usr/local/bin/{gosu,docker-entrypoint.sh}
unset DSQL_IAM_DIRECTORY AWS_REGION
log=/tmp/container.log
export POSTGRES_USER=postgres
run() { dsql-iam-entrypoint postgres >$log 2>&1 & pid=$!; }
# Waits until the condition holds, as long as the server lives, at most for 30 seconds.
until_() {
    local end=$((SECONDS + 30))
    until "$@" >/tmp/health 2>&1; do
        kill -0 $pid 2>/dev/null || fail "the server ended: $(cat $log)"
        [ $SECONDS -lt $end ] || fail "$(cat /tmp/health $log)"
        sleep 0.1
    done
}
end() { kill -INT $pid; wait $pid || true; }

step "where the folder of the documents is empty the container says what it needs"
mkdir /iam
if dsql-iam-entrypoint postgres 2>$log; then fail "it started"; fi
grep -q "^dsql-iam: there are no IAM documents in /iam: mount a folder with them" $log || fail "$(cat $log)"
rmdir /iam

step "with another superuser than postgres it says that this cannot be"
for arguments in postgres "" "-c work_mem=5MB"; do
    # shellcheck disable=SC2086
    if POSTGRES_USER=dba dsql-iam-entrypoint $arguments 2>$log; then fail "it started"; fi
    grep -q '^dsql-iam: POSTGRES_USER is "dba", and the superuser has to be postgres: ' $log || fail "$(cat $log)"
done

step "anything but the server is run as it is"
[ "$(POSTGRES_USER=dba dsql-iam-entrypoint echo hello)" = hello ] || fail "echo"

step "without that folder it makes identities, which another start keeps, and has the extension again if it is gone"
login() {
    PGPASSWORD=$(dsql-iam token --admin --region us-east-1 --hostname localhost) psql -XAtq \
        "host=localhost user=admin dbname=postgres sslmode=verify-full sslrootcert=/tmp/server.crt" \
        -c "SELECT sys.iam_session_user()"
}
made=/var/lib/dsql-iam/credentials
for start in first second; do
    run
    until_ dsql-iam-health
    cp /var/lib/dsql-iam/tls/server.crt /tmp/server.crt
    [ "$(AWS_SHARED_CREDENTIALS_FILE=$made login)" = arn:aws:iam::012345678912:user/app ] || fail "login"
    [ $start = second ] || gosu postgres psql -XAtqc "DROP EXTENSION dsql_iam"
    end
done
[ "$(stat -c '%a %U' $made)" = "600 postgres" ] || fail "$(stat $made)"
if grep -F -f <(sed -n 's/^aws_secret_access_key = //p' $made) $log; then fail "a secret is in the log"; fi

step "the key of the environment takes their place"
export AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF AWS_SECRET_ACCESS_KEY=0123456789abcdefghijklmnopqrstuvwxyzABCD
DSQL_IAM_ACCESS_KEY_ID=$AWS_ACCESS_KEY_ID DSQL_IAM_SECRET_ACCESS_KEY=$AWS_SECRET_ACCESS_KEY run
until_ dsql-iam-health
[ "$(login)" = arn:aws:iam::012345678912:user/app ] || fail "login"
[ ! -e $made ] || fail "$made is still there"
if tr '\0' '\n' <"/proc/$pid/environ" | grep ^DSQL_IAM_; then fail "the server has the key in its environment"; fi
end

step "with documents of a user of the host it is well"
mkdir -m 700 /iam
cat >/iam/account.json <<JSON
{"UserDetailList": [{"Path": "/", "UserName": "dba", "UserId": "AIDA", "GroupList": [],
  "Arn": "arn:aws:iam::012345678912:user/dba", "AttachedManagedPolicies": [], "Tags": [],
  "UserPolicyList": [{"PolicyName": "connect", "PolicyDocument": {"Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "dsql:DbConnectAdmin", "Resource": "*"}]}}]}],
 "RoleDetailList": [], "GroupDetailList": [], "Policies": []}
JSON
cat >/iam/key.json <<JSON
{"AccessKey": {"UserName": "dba", "AccessKeyId": "$AWS_ACCESS_KEY_ID", "Status": "Active",
  "SecretAccessKey": "$AWS_SECRET_ACCESS_KEY", "CreateDate": "2026-01-01T00:00:00+00:00"}}
JSON
chown -R 1000:1000 /iam
chmod 600 /iam/*
if dsql-iam-health >/dev/null 2>&1; then fail "healthy without a server"; fi
run
until_ dsql-iam-health
grep -q "works on copies" $log || fail "$(cat $log)"
if grep -v '^ok ' /tmp/health; then fail "not all green"; fi
cp /var/lib/dsql-iam/tls/server.crt /tmp/server.crt
[ "$(login)" = arn:aws:iam::012345678912:user/dba ] || fail "login"
cluster=$(cat /var/lib/dsql-iam/cluster_id)
shown=$(gosu postgres psql -XAtqc "SHOW default_transaction_isolation" -c "SHOW dsql_iam.async_indexes")
[ "$shown" = $'repeatable read\non' ] || fail "$shown"

step "a second start keeps the cluster, and takes documents that it can read as they are"
end
chown -R postgres: /iam
run
until_ dsql-iam-health
[ "$(cat /var/lib/dsql-iam/cluster_id)" = "$cluster" ] || fail "another cluster"
if grep -q "works on copies" $log; then fail "copies"; fi
login >/dev/null
gosu postgres psql -XAtqc "ALTER ROLE admin NOLOGIN"
if dsql-iam-health >/tmp/health; then fail "healthy with a fault"; fi
grep -q "^fault    admin " /tmp/health || fail "$(cat /tmp/health)"
end

step "documents of two accounts need to be told whose the cluster is"
sed -i 's/"RoleDetailList": \[\]/"RoleDetailList": [{"Arn": "arn:aws:iam::111111111111:role\/x"}]/' /iam/account.json
if dsql-iam-entrypoint postgres 2>$log; then fail "it started"; fi
grep -q "of 2 accounts: set DSQL_IAM_ACCOUNT_ID" $log || fail "$(cat $log)"
echo "the container does what it should"
