#!/usr/bin/env bash
# Build an environment of other people's packages once for all checkouts, and print where it is.
#
#     lock/environment.sh NAME [--no-deps]
#
# It lies in the user's cache, named by the hash of its lock and its Python. `complete` is written last: an environment
# without it was interrupted, and is built anew. Two that build the same one at once wait for each other.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
shift
python=${PYTHON:-python3}
hash=$({ cat "lock/$name.txt" && "$python" -VV && uname -m && echo "$@"; } | sha256sum | cut -c 1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/feint/environments
room=$cache/$name-$hash
mkdir -p "$cache"
exec 9> "$room.lock"
flock 9
if [ ! -e "$room/complete" ]; then
    rm -rf "$room"
    "$python" -m venv "$room"
    "$room/bin/python" -m pip install --quiet --disable-pip-version-check "$@" -r "lock/$name.txt" >&2
    touch "$room/complete"
fi
touch "$room"
echo "$room"
