#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kernels.sh FOLDER: clang has nothing to say of the kernels, in the shapes of GPUs and of CPUs: some drivers print
# what their compiler warns of.
# shellcheck disable=SC2086 # lists of words
set -u
folder=$1
command -v clang >/dev/null || { echo 'skipped: no clang here'; exit 77; }
compiled=0 failed=0
check() {
    file=$1
    shift
    compiled=$((compiled + 1))
    cat "$folder/prelude.cl" "$folder/$file" |
        clang -x cl -cl-std=CL1.2 -target spir64 -Xclang -finclude-default-header -fsyntax-only -Werror "$@" - || {
        echo "$file: $*"
        failed=$((failed + 1))
    }
}

for precision in 32 64; do
    for shape in '-DLANES=1 -DVECTOR=16 -DSTEP=16' '-DLANES=64 -DVECTOR=4 -DSTEP=4'; do
        for element in 0 1 2 3; do
            set -- -DPRECISION=$precision $shape -DELEMENT=$element -DFETCH=1 -DSTREAM=1
            for gradient in 0 1; do
                for entropy in 0 1 2; do
                    check cpu/sweep.cl "$@" -DGRADIENT=$gradient -DENTROPY=$entropy
                done
            done
            check cpu/sweep.cl "$@" -DCONTIGUOUS=0 -DALONG=1
            check cpu/gradient.cl "$@"
            check cpu/gradient.cl "$@" -DOUTPUT=1 -DACCUMULATE=1
            for gradient in 0 1 2; do
                check cpu/correlation.cl "$@" -DGRADIENT=$gradient
                check cpu/correlation.cl "$@" -DGRADIENT=$gradient -DTILE=128 -DDEPTH=128 -DPANEL=32
            done
        done
        for gradient in 0 1; do
            check finish.cl -DPRECISION=$precision $shape -DGRADIENT=$gradient
        done
    done
done
echo "$compiled compiled, $failed with warnings"
[ "$failed" -eq 0 ]
