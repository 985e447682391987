#!/usr/bin/env bash
# The action's own step: has a package, of the release TAG or PACKAGE, and a PostgreSQL that is new enough for it;
# makes a server of PostgreSQL MAJOR with setup.sh, and hands its environment to the steps that follow. As a user with
# sudo on a runner, or as root in a container.
set -euo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
die() { echo "::error title=Set up dsql_iam::$*"; exit 1; }
export DEBIAN_FRONTEND=noninteractive
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo --preserve-env=AWS_REGION,DSQL_IAM_ACCOUNT_ID,DEBIAN_FRONTEND "$@"; fi
}
apt() { as_root apt-get --quiet --yes --option DPkg::Lock::Timeout=300 "$@" >&2; }

[[ $MAJOR =~ ^[0-9]+$ ]] || die "postgres: is \"$MAJOR\", and has to be a major version such as 16"
[[ $NAME =~ ^[a-z][a-z0-9_]*$ ]] || die "name: is \"$NAME\", and has to be of small letters and digits"
environment=$RUNNER_TEMP/dsql_iam-$NAME.env
[ ! -e "$environment" ] || die "this job has a server $NAME already: give another name:"
type -P apt-get dpkg-deb >/dev/null || die "this is for Debian and Ubuntu: there is no apt-get, or no dpkg-deb"

# The version of this project's package that is installed, if one is.
installed() {
    dpkg-query --show --showformat '${db:Status-Status} ${Version}' "postgresql-$MAJOR-dsql-iam" 2>/dev/null |
        sed -n 's/^installed //p'
}
# Whether apt would install a PostgreSQL that the package's dependencies take: at least $1.
has_postgres() {
    local candidate
    candidate=$(LC_ALL=C apt-cache policy "postgresql-$MAJOR" | sed -n 's/^  Candidate: \([^(].*\)/\1/p')
    [ -n "$candidate" ] && dpkg --compare-versions "$candidate" ge "$1"
}

if [ -z "$PACKAGE" ]; then
    [[ $TAG =~ ^v[0-9] ]] ||
        die "give version:, such as v0.1.0, or package:, since the action is used by ${TAG:-a path}, no release's tag"
    version=${TAG#v}
    released=postgresql-$MAJOR-dsql-iam_${version}_$(dpkg --print-architecture).deb
    [ "$(installed)" = "$version" ] || PACKAGE=$RUNNER_TEMP/$released
else
    PACKAGE=$(realpath -e -- "$PACKAGE") || die "package: names a file that is not there"
fi
if [ -n "$PACKAGE" ]; then
    # What the image lists is weeks old, and its versions may be gone from the mirrors. The fault of an archive that is
    # of no use here is none; if PostgreSQL's lists are too old the installation says so.
    apt update || echo "::warning title=Set up dsql_iam::apt's lists could not be updated"
    if [ -n "${released:-}" ]; then
        type -P curl >/dev/null || apt install --no-install-recommends curl ca-certificates
        curl --fail --silent --show-error --location --remote-name-all --output-dir "$RUNNER_TEMP" \
            "https://github.com/$REPOSITORY/releases/download/$TAG/"{"$released",SHA256SUMS} ||
            die "$released or SHA256SUMS of the release $TAG of $REPOSITORY could not be downloaded"
        (cd "$RUNNER_TEMP" && sha256sum --check --ignore-missing SHA256SUMS >&2)
    fi
    minimum=$(dpkg-deb --field "$PACKAGE" Depends | sed -n "s/^postgresql-$MAJOR (>= \([^)]*\)).*/\1/p")
    [ -n "$minimum" ] || die "${PACKAGE##*/} is not for PostgreSQL $MAJOR"
    if ! has_postgres "$minimum"; then
        # PostgreSQL's own packages: versions that this system does not have, and newer minor releases.
        apt install --no-install-recommends postgresql-common ca-certificates
        as_root /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y >&2
        has_postgres "$minimum" || die "apt has no postgresql-$MAJOR of $minimum or newer, which ${PACKAGE##*/} needs"
    fi
fi

# A runner of one's own may have servers of earlier jobs.
cluster=$NAME number=1
while [ -e "/etc/postgresql/$MAJOR/$cluster" ]; do number=$((number + 1)) cluster=$NAME$number; done
made=$(as_root bash "$here/setup.sh" "$MAJOR" "$cluster" "$PACKAGE")
(umask 077 && echo "$made" >"$environment")
sed -n 's/^AWS_SECRET_ACCESS_KEY=/::add-mask::/p' "$environment"
cat "$environment" >>"$GITHUB_ENV"
echo "/usr/lib/postgresql/$MAJOR/bin" >>"$GITHUB_PATH"
printf '%s\n' "environment=$environment" "cluster=$MAJOR $cluster" >>"$GITHUB_OUTPUT"
# It cannot be set empty instead: Python's SDK fails, for there is no profile of that name.
[ -z "${AWS_PROFILE:-}" ] || echo "::warning title=Set up dsql_iam::AWS_PROFILE is set, and AWS's SDK for JavaScript" \
    "takes that rather than the server's key: unset it in the steps that use the server"
