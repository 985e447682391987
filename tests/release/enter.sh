# Enters a Debian with a layer above it, and installs there from a release's files: DEBIAN LAYER FILES WORKSPACE.
# In namespaces of its own, so that with this process all that it mounted and started is gone.
set -euo pipefail
debian=$1 layer=$2 files=$3 workspace=$4
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$debian,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
root=$layer/root
mount -t proc proc "$root/proc"
mkdir -p "$root/dev/shm" "$root/release"
mount -t tmpfs tmpfs "$root/dev/shm"
cp "$files"/* "$root/release/"
cp "$workspace/tests/release/inside.sh" "$workspace/.github/actions/setup/setup.sh" "$root/tmp/"
exec chroot "$root" bash /tmp/inside.sh
