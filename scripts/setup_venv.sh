#!/bin/sh
# Makes the virtual environment. usage: setup_venv.sh PYTHON VENV
# Debian keeps the module that does it in a package of its own: installed as root, otherwise named.
set -eu
python=$1
venv=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "lotj needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1 || true). Try: make PYTHON=python3.11" >&2
    exit 1
fi
[ -x "$venv/bin/python" ] && exit 0
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing python3-venv"
        export DEBIAN_FRONTEND=noninteractive
        apt-get -qq update && apt-get -qq install -y --no-install-recommends python3-venv >/dev/null
    else
        echo "Python's venv module is missing: as root, apt-get install python3-venv, then try again" >&2
        exit 1
    fi
fi
"$python" -m venv "$venv"
