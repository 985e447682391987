#!/usr/bin/env bash
# Builds the image and starts containers of it: FOLDER PYTHON MAJOR WORDS..., which pytest gets. FOLDER keeps the Debian of
# the stand-in; PYTHON has the packages of the tests. The engine is the one that `docker` reaches, else one
# that is started for this alone. The image is built on what the Dockerfile names; where that cannot be pulled, on
# stand-ins of Debian's packages and of this machine's Rust. IMAGE in the environment names one that is built already.
set -euo pipefail
folder=$1 python=$2 major=$3
shift 3
root=$(cd "${BASH_SOURCE[0]%/*}/../.." && pwd)
dockerfile=$root/packaging/docker/Dockerfile
run=$(mktemp -d "$folder/run.XXXXXX")
engine=
made=()
end() {
    [ ${#made[@]} = 0 ] || docker rmi --force "${made[@]}" >/dev/null 2>&1 || true
    if [ -n "$engine" ]; then
        kill "$engine" && wait "$engine" || true
        grep "$run" /proc/mounts | cut -d ' ' -f 2 | xargs --no-run-if-empty umount --lazy
    fi
    rm -rf "$run"
}
trap end EXIT

if ! docker info >/dev/null 2>&1; then
    # Without rules of a firewall, which containers here do not need and the machine may not allow.
    dockerd --data-root "$run/data" --exec-root "$run/exec" --pidfile "$run/pid" --host "unix://$run/docker.sock" \
        --iptables=false --ip6tables=false >"$run/dockerd.log" 2>&1 &
    engine=$!
    export DOCKER_HOST=unix://$run/docker.sock
    until docker info >/dev/null 2>&1; do
        kill -0 "$engine" 2>/dev/null || { cat "$run/dockerd.log" >&2; exit 1; }
        sleep 0.2
    done
fi
# The builder that needs no plugin, and that is in each version.
export DOCKER_BUILDKIT=0

# The images that the Dockerfile names, if nobody says otherwise.
named() { sed -n "s/^ARG $1=//p" "$dockerfile" | sed "s/\${PG}/$major/"; }
arguments=(--build-arg "PG=$major")
if [ -n "${IMAGE:-}" ]; then
    major=$(docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$IMAGE" | sed -n 's/^PG_MAJOR=//p')
    arguments=(--build-arg "PG=$major")
    echo "$IMAGE is tested, with PostgreSQL $major"
elif timeout 300 docker pull --quiet "$(named POSTGRES)" && timeout 300 docker pull --quiet "$(named RUST)"; then
    echo "the image is built on $(named POSTGRES) and $(named RUST)"
else
    echo "the official images cannot be pulled: stand-ins are made of Debian's packages and of this machine's Rust"
    postgres=dsql-iam-stand-in/postgres rust=dsql-iam-stand-in/rust
    layout=()
    case $major in
        15) release=bookworm ;;
        17) release=trixie ;;
        18)
            release=sid
            layout=(--build-arg PGDATA=/var/lib/postgresql/18/docker --build-arg VOLUME=/var/lib/postgresql)
            ;;
        *) echo "no Debian has PostgreSQL $major" >&2; exit 1 ;;
    esac
    if [ ! -d "$folder/$release" ]; then
        rm -rf "$folder/$release.new"
        debootstrap --variant=minbase "$release" "$folder/$release.new" http://deb.debian.org/debian >"$run/debootstrap.log" ||
            { tail "$run/debootstrap.log" >&2; exit 1; }
        mv "$folder/$release.new" "$folder/$release"
    fi
    tar --create --directory "$folder/$release" --exclude './dev/*' . |
        docker import - dsql-iam-stand-in/debian >/dev/null
    docker build --quiet --network host --build-arg DEBIAN=dsql-iam-stand-in/debian --build-arg "PG=$major" "${layout[@]}" \
        --file "$root/tests/image/postgres.Dockerfile" --tag $postgres "$root/tests/image"
    # As the official image has it, with the authorities that this machine trusts.
    cargo=$run/rust/usr/local/cargo toolchain=usr/local/rustup/toolchains/stand-in
    mkdir -p "$cargo/bin"
    for program in cargo rustc rustdoc rustfmt; do ln -s "/$toolchain/bin/$program" "$cargo/bin/$program"; done
    cp /etc/ssl/certs/ca-certificates.crt "$cargo/authorities.crt"
    printf '[http]\ncainfo = "/usr/local/cargo/authorities.crt"\n' >"$cargo/config.toml"
    tar --create --directory "$run/rust" usr --transform "flags=r;s,^\(bin\|lib\),$toolchain/\1," \
        --directory "$(rustc --print sysroot)" bin lib | docker import - $rust >/dev/null
    made+=("$postgres" "$rust" dsql-iam-stand-in/debian)
    arguments+=(--build-arg "POSTGRES=$postgres" --build-arg "RUST=$rust")
fi

if [ -z "${IMAGE:-}" ]; then
    IMAGE=dsql-iam-test
    docker build --network host "${arguments[@]}" --file "$dockerfile" --tag "$IMAGE" "$root"
    made+=("$IMAGE")
fi
IMAGE=$IMAGE BUILD_ARGUMENTS=${arguments[*]} PYTHONPATH=$root/tests/python "$python" -m pytest -q -rs -p no:cacheprovider \
    "$root/tests/image" "$@"
