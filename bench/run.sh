#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Measure ratecl beside the ceilings of this machine and beside its peers, in one run: one JSON file and one
# picture. Build what is needed in build/ first.
#
#     bench/run.sh [RESULTS [PICTURE.svg [OPTIONS OF ratecl-bench...]]]
#
# RESULTS is a JSON file or a folder, by default bench/results, where the file is named after the OpenCL device;
# PICTURE.svg lies beside that file by default, as it does where an argument is ''. On a machine with an NVIDIA GPU
# the peers are measured on that GPU:
#
#     bench/run.sh '' '' --device opencl --batch 64
set -eu
cd "$(dirname "$0")/.." || exit 1
results=${1:-bench/results} picture=${2:-}
[ $# -lt 1 ] || shift
[ $# -lt 1 ] || shift

[ -f build/build.ninja ] || meson setup build -Dtests=disabled
meson compile -C build
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

build/bench/ratecl-bench --json "$parts/ours.json" "$@"
set -- "$parts/ours.json"

# A python that has PyTorch; Debian's is not always the first one.
python=
for candidate in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$candidate" -c 'import torch, numpy' 2>/dev/null; then
        python=$candidate
    fi
done
if [ -z "$python" ]; then
    echo 'PyTorch was not found (Debian packages python3-torch and python3-numpy): its lines are left out'
elif "$python" bench/peers.py "$parts/ours.json" "$parts/pytorch.json"; then
    set -- "$@" "$parts/pytorch.json"
fi

if [ ! -x build/bench/clblast ]; then
    echo 'CLBlast was not found (Debian package libclblast-dev): its line is left out'
elif build/bench/clblast >"$parts/clblast.json"; then
    set -- "$@" "$parts/clblast.json"
fi

results=$(python3 bench/merge.py "$results" "$@")
picture=${picture:-${results%.json}.svg}
if [ $# -gt 1 ]; then
    python3 bench/picture.py "$results" "$picture"
    echo "results: $results, picture: $picture"
else
    echo "results: $results; without a peer there is no picture"
fi
