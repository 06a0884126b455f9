#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# fallback.sh COMMAND MODULE: with a driver that fails, a device that nobody named gives way to the CPU path, and
# standard error says so; a named one fails.
set -eu
command=$1 module=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset RATECL_DEVICE
if ! "$command" eval --help >/dev/null || [ "$("$command" devices | grep -c '^[* ] opencl:')" -eq 0 ]; then
    echo 'skipped: there is no OpenCL device'
    exit 77
fi
# The header of a (2, 1) array of bytes, padded to 128 bytes, and the states 1 and 2.
printf '\223NUMPY\001\000v\000%-117s\n\001\002' "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 1), }" >"$folder/states.npy"

evaluate() {
    LD_PRELOAD=$module "$command" eval --quiet --term firing_rate:metric=l1 "$@" "$folder/states.npy" 2>"$folder/messages"
}
value=$(evaluate)
[ "$value" = 1.5 ]
grep -q 'is not used: clCreateContext failed: CL_OUT_OF_RESOURCES' "$folder/messages"

status=0
evaluate --device opencl >/dev/null || status=$?
[ "$status" -ne 0 ]
grep -q 'clCreateContext failed: CL_OUT_OF_RESOURCES' "$folder/messages"

status=0
(export RATECL_DEVICE=opencl; evaluate) >/dev/null || status=$?
[ "$status" -ne 0 ]

value=$("$command" eval --quiet --term firing_rate:metric=l1 "$folder/states.npy" 2>"$folder/messages")
[ "$value" = 1.5 ]
[ ! -s "$folder/messages" ]

LD_PRELOAD=$module RATECL_TEST_FAILING_LIST=1 "$command" devices >"$folder/list" 2>"$folder/messages"
grep -q '^\* cpu ' "$folder/list"
grep -q 'OpenCL devices may be missing: .*clGetDeviceIDs failed: CL_OUT_OF_RESOURCES' "$folder/messages"
