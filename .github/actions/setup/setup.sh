#!/usr/bin/env bash
# Makes a server that authenticates like Aurora DSQL, from a package that is there already: MAJOR NAME [DEB]. Runs as
# root, on Debian or Ubuntu with a package postgresql-MAJOR. NAME is Debian's for the cluster, and one that is taken
# already is a mistake; a second server is made by a second name, in seconds, without DEB. Prints the lines of an
# environment that clients find it by, with the access key of the user app, who may connect as admin and as each role.
set -euo pipefail
major=$1 name=$2 package=${3:-}
account=${DSQL_IAM_ACCOUNT_ID:-012345678912} region=${AWS_REGION:-us-east-1}
export DEBIAN_FRONTEND=noninteractive
die() { echo "setup.sh: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || die "only root installs packages and makes servers"
[[ $major =~ ^[0-9]+$ && $name =~ ^[a-z][a-z0-9_]*$ ]] || die "the words are MAJOR, such as 17, and NAME, of small letters and digits"
config=/etc/postgresql/$major/$name
[ ! -e "$config" ] || die "there is a cluster $major/$name already: take another name"

if [ -n "$package" ]; then
    # To apt a name without a folder is a package of the archive.
    package=$(realpath -e -- "$package") || die "there is no package $3"
    # The package of PostgreSQL starts no server of its own, unless there are some already.
    mkdir -p /etc/postgresql-common/createcluster.d
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/dsql-iam.conf
    apt-get install --yes --quiet --no-install-recommends "$package" openssl >&2
fi
as_server() { setpriv --reuid postgres --regid postgres --init-groups --reset-env "$@"; }
# As on Aurora DSQL, in every locale of the caller's: without one it would be SQL_ASCII.
pg_createcluster --encoding UTF8 --locale C.UTF-8 "$major" "$name" -- --auth-local=peer --data-checksums >&2
port=$(pg_conftool --short "$major" "$name" show port)
data=$(pg_conftool --short "$major" "$name" show data_directory)
as_server bash -euc 'umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
        -subj "/CN=dsql_iam development server" -addext "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1" \
        -keyout "$1/server.key" -out "$1/server.crt" 2>/dev/null
    chmod 644 "$1/server.crt"' bash "$config"
pg_conftool "$major" "$name" set ssl_cert_file "$config/server.crt"
pg_conftool "$major" "$name" set ssl_key_file "$config/server.key"
command=/usr/lib/postgresql/$major/bin/dsql-iam
$command setup --data "$data" --account-id "$account" --region "$region" --like-dsql --yes >&2
# Its clients are on this machine, and sign for it.
pg_conftool "$major" "$name" set dsql_iam.loopback_endpoints on
as_server $command sample-identities "$config/dsql_iam" --account-id "$account" >&2
key=$(as_server $command create-access-key --user-name app --iam-directory "$config/dsql_iam" --format env)
pg_ctlcluster "$major" "$name" start >&2
as_server psql --no-psqlrc --quiet --port "$port" --dbname postgres --command "CREATE EXTENSION dsql_iam" >&2
as_server $command doctor "port=$port dbname=postgres host=/var/run/postgresql" >&2
cp "$config/server.crt" "/usr/local/share/dsql-iam-$major-$name.crt"
echo "PGHOST=localhost
PGPORT=$port
PGDATABASE=postgres
PGSSLMODE=verify-full
PGSSLROOTCERT=/usr/local/share/dsql-iam-$major-$name.crt
AWS_REGION=$region"
sed -n "s/^export \(AWS_[A-Z_]*\)='\(.*\)'$/\1=\2/p" <<<"$key"
# A token of the environment would be signed along.
echo "AWS_SESSION_TOKEN="
