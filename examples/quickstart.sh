#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what is missing, build, simulate the example network and evaluate the six criteria on its states:
# in place, by the example itself, and from files, by the command.
set -eu
cd "$(dirname "$0")/.."

quietly() {
    "$@" >build/quickstart.log 2>&1 || {
        cat build/quickstart.log >&2
        echo "quickstart: failed: $*" >&2
        exit 1
    }
}

sh examples/install.sh gcc libc6-dev meson ninja-build python3 \
    ocl-icd-opencl-dev opencl-c-headers pocl-opencl-icd
mkdir -p build
echo 'building in build/'
[ -f build/build.ninja ] || quietly meson setup build -Dtests=disabled
quietly meson compile -C build

echo 'simulating the example network'
build/examples/rate_network --save build

printf '\nthe same from files: '
set -- build/src/command/ratecl eval --weights build/weights.npy --reference build/reference.npy build/states.npy
echo "$*"
"$@"
