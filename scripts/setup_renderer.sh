#!/bin/sh
# Finds an off-screen renderer; without one installs Mesa's (as root, on Debian) or names the package and stops.
# usage: setup_renderer.sh PYTHON (the one that has lotj installed)
set -eu
python=$1

if "$python" -m lotj doctor; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    exit 3 # the doctor has said what to install
fi
echo "installing libegl1, libopengl0 and libgl1-mesa-dri"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update && apt-get -qq install -y --no-install-recommends libegl1 libopengl0 libgl1-mesa-dri >/dev/null
exec "$python" -m lotj doctor
