# Uses the files of a release in a Debian with PostgreSQL and nothing else: a server and a first login
# from the package, a second server beside it, and the same from the archive. Runs as root in a Debian that
# is thrown away afterwards.
set -euo pipefail
fail() { echo "FAILED: $*" >&2; exit 1; }
step() { echo "- $* ($SECONDS s)"; }
! type -P cargo rustc cc gcc || fail "there is a compiler"
cd /release
lib=/usr/lib/postgresql/$MAJOR share=/usr/share/postgresql/$MAJOR
# Runs the action as a runner in a container does: as root, without a locale, its inputs as variables.
export RUNNER_TEMP=/tmp/runner
mkdir $RUNNER_TEMP
action() {
    rm -f $RUNNER_TEMP/github-*
    env --unset LC_ALL --unset LANG MAJOR="$MAJOR" NAME=dsql TAG= PACKAGE= REPOSITORY=dsql-iam/dsql_iam \
        GITHUB_ENV=$RUNNER_TEMP/github-env GITHUB_PATH=$RUNNER_TEMP/github-path GITHUB_OUTPUT=$RUNNER_TEMP/github-output \
        "$@" bash /test/action.sh >/tmp/said 2>&1
}
# The action fails, and says why: a part of the message, and inputs.
refused() {
    local why=$1
    shift
    if action "$@"; then fail "no fault: $*"; fi
    grep -qF "::error title=Set up dsql_iam::$why" /tmp/said || fail "$(cat /tmp/said)"
}
# Makes a server by a function or a program, which leaves its environment in a file, and logs in.
server() {
    local began=$SECONDS environment=$1
    shift
    "$@" || { cat /tmp/said; fail "$*"; }
    (
        # The job's own, of real AWS.
        export AWS_SESSION_TOKEN=old
        set -a
        . "$environment"
        set +a
        export PATH=$lib/bin:$PATH
        as_admin=$(dsql-iam token --admin --hostname "$PGHOST")
        PGPASSWORD=$as_admin psql -XAtq --username admin --command "CREATE ROLE reader WITH LOGIN" \
            --command "AWS IAM GRANT reader TO 'arn:aws:iam::012345678912:user/app'"
        PGPASSWORD=$(dsql-iam token --hostname "$PGHOST") psql -XAtq --username reader \
            --command "SELECT sys.iam_session_user()" >/tmp/login
        PGPASSWORD=$as_admin psql -XAtq --username reader 2>/tmp/refused && fail "admin's token is taken for another role"
        grep -q "access denied" /tmp/refused || fail "$(cat /tmp/refused)"
        PGPASSWORD=$as_admin psql -XAtq "sslmode=disable user=admin" 2>/tmp/refused && fail "it takes a token without TLS"
        # As in the image, and with `up`.
        PGPASSWORD=$as_admin psql -XAtq --username admin --command "CREATE TABLE t (a int)" \
            --command "CREATE INDEX ASYNC i ON t (a)" --command "SHOW server_encoding" \
            --command "SHOW default_transaction_isolation" | sed 1d >/tmp/settings
        true
    ) || fail "$(cat /tmp/refused /tmp/said)"
    [ "$(cat /tmp/login)" = arn:aws:iam::012345678912:user/app ] || fail "the login: $(cat /tmp/login)"
    [ "$(cat /tmp/settings)" = $'UTF8\nrepeatable read' ] || fail "it is not like DSQL: $(cat /tmp/settings)"
    echo "  the first login after $((SECONDS - began)) s, on port $(sed -n 's/^PGPORT=//p' "$environment")"
    [ $((SECONDS - began)) -lt 60 ] || fail "it took more than a minute"
}

step "the checksums are those of the files"
sha256sum --check --quiet --strict SHA256SUMS
[ "$(ls | grep -vc '^SHA256SUMS$')" = "$(wc -l <SHA256SUMS)" ] || fail "a file has no checksum"

version=$(echo postgresql-"$MAJOR"-dsql-iam_*.deb | cut -d _ -f 2)
step "what the action cannot do it says at once"
refused "give version:, such as v0.1.0, or package:, since the action is used by main," TAG=main
refused "give version:, such as v0.1.0, or package:, since the action is used by a path," TAG=
refused "package: names a file that is not there" PACKAGE=dist/x.deb
refused 'name: is "My-Server", and has to be' NAME=My-Server PACKAGE=x
refused 'postgres: is "16.1", and has to be' MAJOR=16.1
refused "$(echo postgresql-"$MAJOR"-dsql-iam_*.deb) is not for PostgreSQL 9" MAJOR=9 \
    PACKAGE="$(echo postgresql-"$MAJOR"-dsql-iam_*.deb)"

step "where apt's PostgreSQL is too old for the package it adds PostgreSQL's own packages"
mkdir -p /tmp/newer/DEBIAN
printf '%s\n' "Package: postgresql-$MAJOR-dsql-iam" "Version: 9" "Architecture: all" "Maintainer: a <a@example.com>" \
    "Depends: postgresql-$MAJOR (>= $MAJOR.99), libc6" "Description: of a newer minor release" >/tmp/newer/DEBIAN/control
dpkg-deb --build /tmp/newer /tmp/newer.deb >/dev/null
added=/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh
[ -x $added ] || fail "postgresql-common has no $added"
cp -p $added /tmp/added
printf '#!/bin/sh\necho "$@" >/tmp/was-added\n' >$added
refused "apt has no postgresql-$MAJOR of $MAJOR.99 or newer, which newer.deb needs" PACKAGE=/tmp/newer.deb
[ "$(cat /tmp/was-added)" = -y ] || fail "they were not added"
rm /tmp/was-added

step "the package"
server $RUNNER_TEMP/github-env action NAME=first PACKAGE="$(echo postgresql-"$MAJOR"-dsql-iam_*.deb)"
[ ! -e /tmp/was-added ] || fail "PostgreSQL's own packages were added where the system's are new enough"
cp -p /tmp/added $added
[ "$(cat $RUNNER_TEMP/github-path)" = "$lib/bin" ] || fail "$(cat $RUNNER_TEMP/github-path)"
[ "$(cat $RUNNER_TEMP/github-output)" = "environment=$RUNNER_TEMP/dsql_iam-first.env
cluster=$MAJOR first" ] || fail "$(cat $RUNNER_TEMP/github-output)"
cmp $RUNNER_TEMP/github-env $RUNNER_TEMP/dsql_iam-first.env
secret=$(sed -n 's/^AWS_SECRET_ACCESS_KEY=//p' $RUNNER_TEMP/github-env)
[ "$(grep -cF "$secret" /tmp/said)" = 1 ] && grep -qxF "::add-mask::$secret" /tmp/said || fail "the secret is shown"
grep -q "::warning" /tmp/said && fail "$(cat /tmp/said)"
step "a second server beside it, of the release that is installed"
server $RUNNER_TEMP/github-env action NAME=second TAG="v$version" AWS_PROFILE=prod
grep -q "^::warning title=Set up dsql_iam::AWS_PROFILE is set" /tmp/said || fail "$(cat /tmp/said)"
[ "$(pg_lsclusters --no-header | grep -c online)" = 2 ] || fail "$(pg_lsclusters)"
refused "this job has a server second already: give another name:" NAME=second TAG="v$version"
step "another job on the same machine, with the same name"
rm $RUNNER_TEMP/dsql_iam-second.env
action NAME=second TAG="v$version" || { cat /tmp/said; fail "another job"; }
grep -qx "cluster=$MAJOR second2" $RUNNER_TEMP/github-output || fail "$(cat $RUNNER_TEMP/github-output)"
step "a name that is taken, and a user that is not root, are told"
if bash /test/setup.sh "$MAJOR" second >/dev/null 2>/tmp/said; then fail "it was made twice"; fi
grep -q "^setup.sh: there is a cluster $MAJOR/second already: take another name" /tmp/said || fail "$(cat /tmp/said)"
if setpriv --reuid nobody --clear-groups bash /test/setup.sh "$MAJOR" x >/dev/null 2>/tmp/said; then fail "not root"; fi
grep -q "^setup.sh: only root " /tmp/said || fail "$(cat /tmp/said)"
for name in first second second2; do pg_dropcluster --stop "$MAJOR" $name; done
apt-get purge -yqq "postgresql-$MAJOR-dsql-iam" >/dev/null 2>&1

step "the archive"
[ ! -e "$lib/lib/dsql_iam.so" ] || fail "the package left its library"
mkdir /tmp/archive
tar -xzf dsql_iam-*-pg"$MAJOR"-*.tar.gz -C /tmp/archive --strip-components 1
[ -z "$(find /tmp/archive ! -user root)" ] || fail "files of others"
cmp /tmp/archive/LICENSE LICENSE
grep -q "Apache License" LICENSE || fail "the licence"
cp /tmp/archive/lib/* "$lib/lib/"
cp /tmp/archive/share/extension/* "$share/extension/"
cp /tmp/archive/bin/* "$lib/bin/"
setup() { bash /test/setup.sh "$MAJOR" third >/tmp/environment 2>/tmp/said; }
server /tmp/environment setup

step "the command by itself needs no library"
command=$(ls /release/dsql-iam-*-linux-*)
mkdir -p /tmp/empty/iam
cp "$command" /tmp/empty/dsql-iam
chmod 755 /tmp/empty/dsql-iam
chroot /tmp/empty /dsql-iam --version
AWS_ACCESS_KEY_ID=AKIA0123456789ABCDEF AWS_SECRET_ACCESS_KEY=x chroot /tmp/empty /dsql-iam token --region us-east-1 \
    --hostname localhost | grep -q 'X-Amz-Signature=' || fail "token"
setpriv --reuid postgres --regid postgres --init-groups "$command" doctor \
    "port=$(sed -n 's/^PGPORT=//p' /tmp/environment) dbname=postgres user=postgres host=/var/run/postgresql" >/tmp/said || fail "$(cat /tmp/said)"

step "the sources are as PGXN takes them"
# Debian's PostgreSQL brings perl, and nothing that unpacks.
perl -MIO::Uncompress::Unzip -e 'my $zip = IO::Uncompress::Unzip->new($ARGV[0]);
    for (my $more = 1; $more > 0; $more = $zip->nextStream) { print $zip->getHeaderInfo->{Name}, "\n" }' \
    /release/dsql_iam-*.zip >/tmp/list
grep -Eq '^dsql_iam-[0-9.]+/META.json' /tmp/list || fail "$(head /tmp/list)"
echo "a release's files are enough"
