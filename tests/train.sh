#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# train.sh TRAIN_RATES: on the best OpenCL device and on rusticl, where they are there, or on RATECL_TEST_DEVICE, the
# example's gradient agrees with central differences, and thirty steps divide its loss by five at least.
set -eu
train=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# run ARGUMENT...: the program on $device; false where there is no such device, and the end where it fails.
run() {
    status=0
    "$train" --device "$device" "$@" >log 2>&1 || status=$?
    cat log
    case $status in
    0) return 0 ;;
    77) return 1 ;;
    *) echo "train: status $status on $device: $*" >&2 && exit 1 ;;
    esac
}

tested=0
for device in ${RATECL_TEST_DEVICE:-opencl opencl:llvmpipe}; do
    case $device in
    *[Oo]clgrind*) echo "train: skipped on $device: a simulator takes hours" && continue ;;
    esac
    run --check || continue
    run --steps 30
    awk '/^loss before / { sub(/,/, "", $3); before = $3; after = $5 }
        END { exit !(after > 0 && before >= 5 * after) }' log || {
        echo "train: the loss did not fall to a fifth on $device" >&2
        exit 1
    }
    tested=$((tested + 1))
done
[ "$tested" -gt 0 ] || exit 77
