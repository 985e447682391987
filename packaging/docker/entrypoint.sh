#!/usr/bin/env bash
# Starts the official image's server with dsql_iam. IAM documents that are mounted at /iam are taken; without that
# folder it makes identities: with the access key that the environment has, or with keys of its own. Each of
# these says otherwise than it would do by itself:
#   DSQL_IAM_ACCESS_KEY_ID and DSQL_IAM_SECRET_ACCESS_KEY (a key for the user app)
#   DSQL_IAM_ACCOUNT_ID, AWS_REGION (us-east-1), DSQL_IAM_CLUSTER_ID (kept beside the data),
#   DSQL_IAM_ENDPOINTS (further names of the server), DSQL_IAM_DIRECTORY (/iam),
#   DSQL_IAM_TLS (a folder with server.crt and server.key), DSQL_IAM_STATE (/var/lib/dsql-iam),
#   DSQL_IAM_PLAIN (if not empty, the server is not made more like Aurora DSQL's)
set -euo pipefail

say() { echo "dsql-iam: $*" >&2; }
die() { say "$@"; exit 1; }

# Anything but the server is run as it is: bash, psql.
[ "${1:-postgres}" = postgres ] || [ "${1#-}" != "$1" ] || exec "$@"
[ "${1:-}" != postgres ] || shift

# The health check, and whoever looks after the server, come in over the socket as the system's user
# postgres, and over TCP no superuser comes in at all: any other would be shut out for ever.
user=${POSTGRES_USER:-postgres}
[ -z "${POSTGRES_USER_FILE:-}" ] || user=$(cat "$POSTGRES_USER_FILE") || die "the file of POSTGRES_USER_FILE cannot be read"
[ "$user" = postgres ] || die "POSTGRES_USER is \"$user\", and the superuser has to be postgres: over TCP no superuser is let in, and over the socket it is the system's user postgres who comes; leave POSTGRES_USER out"

kept=${DSQL_IAM_STATE:-/var/lib/dsql-iam}
iam=${DSQL_IAM_DIRECTORY:-/iam}
is_root() { [ "$(id -u)" = 0 ]; }
# Each command runs as the user of the server; root has to become that user.
as_server() { if is_root; then gosu postgres "$@"; else "$@"; fi; }
# A folder of that user's, that nobody else gets at.
private() { as_server mkdir -p "$1" && as_server chmod 700 "$1"; }

# Documents that are there are taken, and an empty folder is a mistake: identities are made only where nobody
# said where they are.
makes_identities=no
[ -n "${DSQL_IAM_DIRECTORY:-}" ] || [ -e "$iam" ] || [ -L "$iam" ] || makes_identities=yes
shopt -s nullglob
documents=("$iam"/*.json)
if [ $makes_identities = no ]; then
    [ ${#documents[@]} -gt 0 ] || die "there are no IAM documents in $iam: mount a folder with them, for example with --volume \"\$PWD/iam:$iam:ro\"; without a folder the container makes identities"
    [ -z "${DSQL_IAM_ACCESS_KEY_ID+set}${DSQL_IAM_SECRET_ACCESS_KEY+set}" ] || die "there are IAM documents in $iam, and DSQL_IAM_ACCESS_KEY_ID or DSQL_IAM_SECRET_ACCESS_KEY is set: leave out the one or the other"
fi
key_id=${DSQL_IAM_ACCESS_KEY_ID-} secret=${DSQL_IAM_SECRET_ACCESS_KEY-}
if [ -n "${DSQL_IAM_ACCESS_KEY_ID+set}${DSQL_IAM_SECRET_ACCESS_KEY+set}" ]; then
    [[ $key_id =~ ^AKIA[A-Z0-9]{12,124}$ ]] || die "DSQL_IAM_ACCESS_KEY_ID is not an access key id: AKIA, and 12 to 124 capital letters and digits"
    [[ $secret =~ ^[A-Za-z0-9/+=]{16,128}$ ]] || die "DSQL_IAM_SECRET_ACCESS_KEY is missing or not a secret access key: 16 to 128 letters, digits, /, + and ="
fi
account=${DSQL_IAM_ACCOUNT_ID:-}
[[ $account =~ ^([0-9]{12})?$ ]] || die "DSQL_IAM_ACCOUNT_ID is not an account id: twelve digits"
endpoints=${DSQL_IAM_ENDPOINTS:-}
[[ $endpoints =~ ^[A-Za-z0-9.,-]*$ ]] || die "DSQL_IAM_ENDPOINTS has to be names of hosts with commas between them"
region=${AWS_REGION:-us-east-1}
[[ $region =~ ^[a-z0-9]+(-[a-z0-9]+){2,}$ ]] || die "AWS_REGION is \"$region\", which is not a region such as us-east-1"
cluster=${DSQL_IAM_CLUSTER_ID:-}
is_cluster_id() { [[ $1 =~ ^[a-z0-9]{26}$ ]]; }
[ -z "$cluster" ] || is_cluster_id "$cluster" || die "DSQL_IAM_CLUSTER_ID is \"$cluster\", which is not a cluster id: 26 small letters and digits"

# The certificate that is given: all for which PostgreSQL would not start. It would find that only when the official
# image has made a cluster, and a cluster that is there gets no scripts any more.
tls=${DSQL_IAM_TLS:-$kept/tls}
if [ -n "${DSQL_IAM_TLS:-}" ]; then
    tls_fault() { die "DSQL_IAM_TLS has to be a folder with server.crt and server.key for PostgreSQL: $*"; }
    [[ $tls = /* ]] || tls_fault "$tls is not an absolute path"
    for file in "$tls/server.crt" "$tls/server.key"; do
        [ -e "$file" ] || as_server test -e "$file" || tls_fault "there is no $file"
        as_server test -r "$file" || tls_fault "the server's user, $(as_server id -u), cannot read $file"
    done
    # As its check_ssl_key_file_permissions() has it.
    read -r owner mode < <(as_server stat --dereference --format "%u %a" "$tls/server.key")
    others=077
    [ "$owner" != 0 ] || others=037
    [ "$owner" = 0 ] || [ "$owner" = "$(as_server id -u)" ] || tls_fault "$tls/server.key is owned by the user $owner, and has to be by the server's, $(as_server id -u), or by root"
    [ $((0$mode & others)) = 0 ] || tls_fault "others have access to $tls/server.key: it has mode $mode, and may have 600, or 640 if it is root's"
    certified=$(as_server openssl x509 -in "$tls/server.crt" -noout -pubkey 2>/dev/null) || tls_fault "$tls/server.crt is not a certificate"
    # An encrypted one takes the server's ssl_passphrase_command.
    if ! as_server grep -q ENCRYPTED "$tls/server.key"; then
        public=$(as_server openssl pkey -in "$tls/server.key" -pubout 2>/dev/null) || tls_fault "$tls/server.key is not a private key"
        [ "$public" = "$certified" ] || tls_fault "$tls/server.key is not the key of the certificate in server.crt"
    fi
fi
# What runs in the server could read its environment.
unset DSQL_IAM_ACCESS_KEY_ID DSQL_IAM_SECRET_ACCESS_KEY

# Root makes this folder, if need be, and nothing below it: whoever has run code as the server's user may have
# put links there, and would have root write, read and give away other files at the next start.
if is_root; then
    # busybox has no such options: no answer is not the answer that both are the same.
    { real=$(realpath -m "$kept") && named=$(realpath -ms "$kept"); } || die "realpath of the GNU coreutils is missing, and without it nobody can tell whether $kept is reached by a link"
    [ "$real" = "$named" ] || die "$kept is reached by a link: name the folder that it leads to with DSQL_IAM_STATE"
    mkdir -p "$kept"
    chown --no-dereference postgres: "$kept"
else
    mkdir -p "$kept" && [ -w "$kept" ] || die "the user $(id -u) cannot write in $kept: mount a volume that is its own there"
fi
# The image's own folder is open to each user that the container may be started as; its content is not.
if is_root || [ -O "$kept" ]; then private "$kept"; fi

# Over the socket comes in who is called postgres on this system: whoever the server runs as is called so.
if ! is_root && [ "$(id -un 2>/dev/null)" != postgres ]; then
    wrappers=(/usr/lib/*/libnss_wrapper.so)
    [ ${#wrappers[@]} -gt 0 ] || die "the user $(id -u) is not called postgres, and libnss_wrapper is missing: start the container as root or as postgres"
    export NSS_WRAPPER_PASSWD=$kept/passwd NSS_WRAPPER_GROUP=$kept/group
    printf 'postgres:x:%s:%s:PostgreSQL:/var/lib/postgresql:/bin/bash\n' "$(id -u)" "$(id -g)" >"$NSS_WRAPPER_PASSWD"
    printf 'postgres:x:%s:\n' "$(id -g)" >"$NSS_WRAPPER_GROUP"
    # The official entry point takes its own wrapper away again, and knows it by how this ends.
    export LD_PRELOAD=${wrappers[0]}:
fi

# The documents belong to a user of the host, and those with secrets are for that user alone. If the
# server cannot read them, or would refuse them because others can write them, it gets copies, which a restart
# brings up to date.
is_readable=yes
if [ $makes_identities = no ] && is_root && [ -n "$(find -L "$iam" -maxdepth 1 -perm /022 \( -name '*.json' -o -path "$iam" \) -print -quit)" ]; then
    is_readable=no
fi
for document in "${documents[@]}"; do
    as_server test -r "$document" || is_readable=no
done
if [ $is_readable = no ]; then
    is_root || die "the user $(id -un) cannot read the documents in $iam"
    for document in "${documents[@]}"; do
        # Root would read for the server's user what that user linked to.
        [ ! -L "$document" ] || ! { as_server test -w "$iam" || as_server test -O "$iam"; } || die "$document is a link, and the server's user, who can write in $iam, may have made it: put the document itself there"
    done
    say "the server's user cannot use $iam as it is, so it works on copies: restart it after a change"
    as_server rm -rf "$kept/iam"
    private "$kept/iam"
    for document in "${documents[@]}"; do
        # shellcheck disable=SC2016 # The shell that runs as the server's user expands it.
        as_server bash -c 'umask 077; cat >"$1"' bash "$kept/iam/${document##*/}" <"$document"
    done
    iam=$kept/iam
fi

if [ -z "$cluster" ]; then
    # shellcheck disable=SC2016
    cluster=$(as_server bash -c '[ -s "$1" ] || tr -dc a-z2-7 </dev/urandom | head -c 26 >"$1"; cat "$1"' bash "$kept/cluster_id")
    is_cluster_id "$cluster" || die "there is no cluster id in $kept/cluster_id: remove that file, and one is made"
fi

if [ $makes_identities = yes ]; then
    : "${account:=012345678912}"
    iam=$kept/identities
    credentials=$kept/credentials
    DSQL_IAM_ACCESS_KEY_ID=$key_id DSQL_IAM_SECRET_ACCESS_KEY=$secret \
        as_server dsql-iam-identities "$iam" "$account" "$credentials"
    if [ -n "$key_id" ]; then
        say "the access key $key_id is of the user app, who may connect as admin and as each role"
    else
        say "the users app, dba and visitor have access keys that were made for them, in $credentials, which AWS's programs read"
    fi
elif [ -z "$account" ]; then
    mapfile -t accounts < <(as_server grep -ohE '"Arn": *"arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:' "$iam"/*.json | grep -oE '[0-9]{12}' | sort -u)
    [ ${#accounts[@]} = 1 ] || die "the documents are of ${#accounts[@]} accounts: set DSQL_IAM_ACCOUNT_ID to the cluster's"
    account=${accounts[0]}
fi

# A certificate that clients can trust by its own file, unless one is given. It is made anew if the server's names
# change, or before it expires.
if [ -z "${DSQL_IAM_TLS:-}" ]; then
    names="DNS:localhost,DNS:$cluster.dsql.$region.on.aws,IP:127.0.0.1,IP:::1"
    for name in ${endpoints//,/ }; do names="$names,DNS:$name"; done
    if ! as_server test -s "$tls/server.key" ||
        [ "$(as_server cat "$tls/names" 2>/dev/null)" != "$names" ] ||
        ! as_server openssl x509 -in "$tls/server.crt" -noout -checkend 604800 >/dev/null 2>&1; then
        private "$tls"
        said=$(as_server openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 \
            -subj "/CN=dsql_iam development server" -addext "subjectAltName=$names,DNS:$(hostname)" \
            -keyout "$tls/server.key" -out "$tls/server.crt" 2>&1) || die "openssl made no certificate: $said"
        # shellcheck disable=SC2016
        as_server bash -c 'echo "$2" >"$1"' bash "$tls/names" "$names"
    fi
fi

# As on Aurora DSQL, where it costs nothing; what the command says counts more.
like_dsql=()
if [ -z "${DSQL_IAM_PLAIN:-}" ]; then
    like_dsql=(-c "default_transaction_isolation=repeatable read" -c TimeZone=UTC -c log_timezone=UTC
        -c dsql_iam.async_indexes=on)
    # In kB; the container may have less than the machine.
    memory=$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)
    limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || echo max)
    [ "$limit" = max ] || [ $((limit / 1024)) -ge "$memory" ] || memory=$((limit / 1024))
    [ "$memory" -lt 1000000 ] || like_dsql+=(-c max_connections=1000)
fi

# Nobody uses it: a superuser comes in over the socket only, as the user postgres. The official image takes either
# from a file as well, and not both.
[ -n "${POSTGRES_PASSWORD:-}${POSTGRES_PASSWORD_FILE:-}" ] || POSTGRES_PASSWORD=$(openssl rand -hex 32)
if [ -n "${POSTGRES_INITDB_ARGS_FILE:-}" ] && [ -z "${POSTGRES_INITDB_ARGS:-}" ]; then
    POSTGRES_INITDB_ARGS=$(cat "$POSTGRES_INITDB_ARGS_FILE") || die "the file of POSTGRES_INITDB_ARGS_FILE cannot be read"
    unset POSTGRES_INITDB_ARGS_FILE
fi
[[ ! ${POSTGRES_INITDB_ARGS:-} =~ (^|[[:space:]])(-A|--auth(-local)?([=[:space:]]|$)) ]] || [ -s "${PGDATA:-}/PG_VERSION" ] || die "POSTGRES_INITDB_ARGS says how the socket admits (-A, --auth or --auth-local), and that has to be by peer, as the health check comes: leave it out; --auth-host is yours"
POSTGRES_INITDB_ARGS="--auth-local=peer ${POSTGRES_INITDB_ARGS:-}"
export POSTGRES_PASSWORD POSTGRES_INITDB_ARGS

# Scripts of the user's may hide the image's own, which creates the extension; a cluster may be of an older image, or of
# a first start that failed. The server inherits this process, and one that ends by a signal, or with more
# than 1, it would take for a session that crashed.
{
    trap "" HUP TERM
    as_server dsql-iam-extension $$ || {
        say "the extension dsql_iam could not be created, or updated to this image's version: the reason is above"
        exit 1
    }
} &

say "cluster arn:aws:dsql:$region:$account:cluster/$cluster, certificate in $tls/server.crt"
exec docker-entrypoint.sh postgres \
    -c shared_preload_libraries=dsql_iam \
    -c ssl=on -c "ssl_cert_file=$tls/server.crt" -c "ssl_key_file=$tls/server.key" \
    -c "dsql_iam.account_id=$account" -c "dsql_iam.region=$region" \
    -c "dsql_iam.cluster_id=$cluster" -c "dsql_iam.iam_directory=$iam" -c dsql_iam.loopback_endpoints=on \
    -c "dsql_iam.endpoints=$endpoints" "${like_dsql[@]}" "$@"
