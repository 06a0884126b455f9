#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kernels.sh FOLDER: clang has nothing to say of the kernels, of CPUs and of GPUs: some drivers print
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
    for element in 0 1 2 3; do
        set -- -DPRECISION=$precision -DELEMENT=$element -DLANES=1 -DVECTOR=16 -DSTEP=16 -DFETCH=1 -DSTREAM=1
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

        for shape in '-DLANES=256 -DACROSS=64 -DCOLUMNS=4' '-DLANES=16 -DACROSS=1 -DCOLUMNS=1'; do
            for aligned in 0 1; do
                for along in 0 1; do
                    set -- -DPRECISION=$precision -DELEMENT=$element $shape -DALIGNED=$aligned -DALONG=$along
                    for entropy in 0 1 2; do
                        check gpu/sweep.cl "$@" -DENTROPY=$entropy -DGRADIENT=1
                    done
                    check gpu/gradient.cl "$@" -DSTEP=2
                    check gpu/gradient.cl "$@" -DSTEP=2 -DOUTPUT=1 -DACCUMULATE=1 -DPRODUCT=3 -DWIDE=1
                done
            done
        done
        set -- -DPRECISION=$precision -DELEMENT=$element -DLANES=256 -DVECTOR=4 -DSQUARE_LANES=256 -DDEPTH=16
        for pass in 0 1 2 3; do
            check gpu/correlation.cl "$@" -DTILE=128 -DMR=8 -DNR=8 -DPASS=$pass -DCARRY=1
            check gpu/correlation.cl "$@" -DTILE=64 -DMR=4 -DNR=4 -DPASS=$pass -DCARRY=0
        done
    done
    for shape in '-DLANES=1 -DVECTOR=16' '-DLANES=256 -DVECTOR=4'; do
        for gradient in 0 1; do
            for kernels in 0 1 2 3; do
                check finish.cl -DPRECISION=$precision $shape -DGRADIENT=$gradient -DKERNELS=$kernels
            done
            check finish.cl -DPRECISION=$precision $shape -DGRADIENT=$gradient -DMOMENTS=0 -DREFERENCE=0 -DDISTANCES=0
        done
    done
done
echo "$compiled compiled, $failed with warnings"
[ "$failed" -eq 0 ]
