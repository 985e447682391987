# Enters a Debian with a layer above it, and runs the test there: DEBIAN LAYER PACKAGE WORKSPACE.
# In namespaces of its own, so that with this process all that it mounted and started is gone.
set -euo pipefail
debian=$1 layer=$2 package=$3 workspace=$4
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$debian,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
root=$layer/root
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
cp "$package" "$root/tmp/package.deb"
cp "$workspace"/tests/package/{inside,container}.sh "$root/tmp/"
chroot "$root" bash /tmp/inside.sh
# The image has what its Dockerfile lays out, and nothing of the package.
cp -r --no-dereference "$layer/out/." "$root/"
chroot "$root" bash /tmp/container.sh
