#!/bin/sh
# debian.sh MAJOR FOLDER: puts PostgreSQL MAJOR of Debian's suites experimental and unstable into FOLDER/pg,
# with the libraries that it is linked to, libc among them, since those of the system may be older. Nothing
# is installed: apt has lists of its own here, and needs no root. patchelf has to be in PATH.
set -eu
major=$1 folder=$(realpath "$2")
work=$(mktemp -d "$folder/apt-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"

key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $key ] || { echo "$key, of the package debian-archive-keyring, is missing" >&2; exit 1; }
# The mirror that the system is set up for, if it is a Debian.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
for suite in unstable experimental; do
    echo "deb [signed-by=$key] ${mirror:-http://deb.debian.org/debian} $suite main"
done > sources.list
mkdir -p lists/partial cache/archives/partial packages
touch status
set -- -qq -o "Dir::Etc::SourceList=$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o "Dir::State::Lists=$work/lists" -o "Dir::State::status=$work/status" -o "Dir::Cache=$work/cache" \
    -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User= -o Acquire::Languages=none
apt-get "$@" update

# The names of the libraries that a package depends on, of alternatives the first.
libraries_of() {
    apt-cache "$@" | sed -n 's/^Depends: //p' | tr ',' '\n' | sed 's,^ *,,; s,[ (|:].*,,' |
        grep -e '^lib' -e '^zlib1g' | grep -v -e '-perl$' -e '-dev$' -e '^libpq5$' || true
}
server="postgresql-$major postgresql-client-$major libpq5"
(cd packages && apt-get "$@" -t experimental download $server "postgresql-server-dev-$major")
known=" "
wanted=$(for package in $server; do libraries_of "$@" -t experimental show --no-all-versions "$package"; done)
while [ -n "$wanted" ]; do
    next=
    for package in $wanted; do
        case $known in *" $package "*) continue ;; esac
        known="$known$package "
        next="$next $(libraries_of "$@" show --no-all-versions "$package")"
    done
    wanted=$(echo $next)
done
(cd packages && apt-get "$@" download $known)
for package in packages/*.deb; do dpkg-deb --extract "$package" root; done

rm -rf "$folder/pg"
mv root "$folder/pg"
libraries=$(dirname "$(find "$folder/pg" -path '*/lib/*' -name libc.so.6)")
loader=$(find "$libraries" -maxdepth 1 -name 'ld-linux*' | head -n 1)
# Of the executable, so that the modules, which are loaded later, take their libraries from there too.
for program in "$folder/pg/usr/lib/postgresql/$major/bin/"*; do
    if patchelf --print-interpreter "$program" >/dev/null 2>&1; then
        patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$program"
    fi
done
