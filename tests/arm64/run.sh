#!/usr/bin/env bash
# run.sh CHECKOUT MAJOR ROOT: builds for 64-bit Arm on x86-64, and runs tests with PostgreSQL MAJOR under qemu-user.
# Called by `cargo xtask test --arch arm64`, as root. ROOT becomes a Debian unstable of its own, which is kept for the
# next time (3 GB); what is built is in CHECKOUT/target/arm64 (2 GB). Nothing else of the system is changed, but for an
# entry of binfmt_misc, which is taken away at the end.
set -euo pipefail
checkout=$(realpath "$1") major=$2 root=$(realpath --canonicalize-missing "$3")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")") binfmt=/proc/sys/fs/binfmt_misc
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
mirror=${mirror:-http://deb.debian.org/debian}

if [ ! -e "$root/complete" ]; then
    rm -rf "$root"
    debootstrap --variant=minbase --include=ca-certificates unstable "$root" "$mirror"
    touch "$root/complete"
fi
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
# The settings of the system's apt for its mirror, such as a proxy, hold there too.
apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries)' >"$root/etc/apt/apt.conf.d/99dsql-iam" || true
# And the authorities that the system trusts, for pip and cargo.
authorities=/etc/ssl/certs/ca-certificates.crt
[ ! -e $authorities ] || cp -L $authorities "$root$authorities"
cp "$here/inside.sh" "$root/inside.sh"

[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
entry=dsql-iam-arm64
# An ELF file for aarch64, whatever its ABI and whether it is an executable or a shared object. F: the interpreter is
# opened now, so that it is found from within any root; P: it hears the name that the program was called by.
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
in_root() {
    unshare --mount --pid --fork --kill-child bash -euc '
        root=$1 checkout=$2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        mkdir -p "$root$checkout"
        mount --bind "$checkout" "$root$checkout"
        exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin bash /inside.sh "${@:3}"
    ' bash "$root" "$checkout" "$1" "$checkout" "$major" "$mirror"
}
in_root prepare
trap '[ ! -e $binfmt/$entry ] || echo -1 >$binfmt/$entry' EXIT
[ -e $binfmt/$entry ] || printf '%s' ":$entry:M::$magic:$mask:$root/usr/bin/qemu-aarch64:PF" >$binfmt/register
in_root test
