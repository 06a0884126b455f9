#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Install what the tests need, build every configuration in build-test/, and run the tests on every OpenCL
# implementation that Debian has. The last line counts test programs over all stages, a build as one; the exit
# status is 0 when none failed.
set -u
cd "$(dirname "$0")/.." || exit 1

sh examples/install.sh gcc libc6-dev binutils meson ninja-build pkg-config python3 python3-venv check \
    ocl-icd-opencl-dev opencl-c-headers pocl-opencl-icd mesa-opencl-icd || exit 1
# Stages and tests that need one of these are skipped where it is missing: Debian 13 has no Oclgrind. clang, libclc and
# Intel's driver are for the static test of the kernels, libclang-rt-dev for libFuzzer; in Debian 12 libclc-19 would remove libclc-15, and rusticl with it.
sh examples/install.sh --optional oclgrind clang libclang-rt-dev clang-19 libclc-15 intel-opencl-icd g++ cmake debootstrap

mkdir -p build-test
export POCL_CACHE_DIR="$PWD/build-test/pocl"
results=$PWD/build-test/results
: >"$results"

# The functions below run in subshells, so that stages can run side by side.

# report NAME START LOG PASSED FAILED SKIPPED: one line, and the log where something failed.
report() (
    echo "$4 $5 $6" >>"$results"
    printf '%-48s %4d s   %2d passed, %d failed, %d skipped\n' "$1" $(($(date +%s) - $2)) "$4" "$5" "$6"
    [ "$5" -eq 0 ] || tail -n 60 "$3"
)

# build FOLDER CC [OPTION...]: configure and compile; a warning is an error.
build() (
    name=$1 folder=build-test/$1 compiler=$2 log=build-test/$1.log start=$(date +%s)
    shift 2
    [ -f "$folder/build.ninja" ] && set -- --reconfigure "$@"
    if CC=$compiler meson setup "$folder" -Dwerror=true -Dtests=enabled "$@" >"$log" 2>&1 &&
        meson compile -C "$folder" >>"$log" 2>&1; then
        report "build $name" "$start" "$log" 1 0 0
    else
        report "build $name" "$start" "$log" 0 1 0
    fi
)

# counts LOG: how many tests passed, failed and were skipped, as the summaries of `meson test` say.
counts() (
    awk '/^Ok:/ { ok += $2 } /^(Fail|Unexpected Pass|Timeout):/ { bad += $NF } /^Skipped:/ { no += $2 }
        END { print ok + 0, bad + 0, no + 0 }' "$1"
)

# skip NAME REASON: a stage that is left out, by its name.
skip() (
    report "$1: $2" "$(date +%s)" /dev/null 0 0 1
)

# stage NAME FOLDER [VARIABLE=VALUE...] meson test [ARGUMENT...]: run test programs of a build. Whatever Oclgrind
# reports counts as one failure more, even where the numbers came out right.
stage() (
    name=$1 folder=build-test/$2 base=$(echo "$1" | tr -cs '[:alnum:]\n' -) start=$(date +%s)
    log=$PWD/build-test/$base.log simulated=$PWD/$folder/meson-logs/$base-oclgrind.txt
    shift 2
    rm -f "$simulated"
    (cd "$folder" && env "$@" --no-rebuild --print-errorlogs --logbase "$base") >"$log" 2>&1
    status=$?
    # shellcheck disable=SC2046 # three numbers
    set -- $(counts "$log")
    # A run that ended before it could count, or found nothing to run.
    [ "$2" -gt 0 ] || { [ "$status" -eq 0 ] && [ $(($1 + $3)) -gt 0 ]; } || set -- "$1" 1 "$3"
    if [ -f "$simulated" ] && grep -EiB 1 -A 6 '^[[:space:]]+kernel: |^oclgrind( -|:| fatal)' "$simulated" >>"$log"; then
        set -- "$1" $(($2 + 1)) "$3"
    fi
    report "$name" "$start" "$log" "$@"
)

on_device='values gradients single domain guards interop threads recordings logarithm'
in_simulator='values gradients single domain interop logarithm'
pocl='OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd RATECL_TEST_DEVICE=opencl:Portable'
# Its translator of LLVM 15, in GlobalValue::eraseFromParent, reads memory that it has freed, which Meson would
# have overwritten.
rusticl='OCL_ICD_VENDORS=/etc/OpenCL/vendors/rusticl.icd RATECL_TEST_DEVICE=opencl:llvmpipe MALLOC_PERTURB_=0'
oclgrind='RATECL_TEST_DEVICE=opencl:Oclgrind RATECL_TEST_SIZE=small'
no_opencl=OCL_ICD_VENDORS=/nonexistent
# A plan that asks for too much memory is to be told so.
sanitised="ASAN_OPTIONS=allocator_may_return_null=1 LSAN_OPTIONS=suppressions=$PWD/tests/leaks.txt:print_suppressions=0"
# The kernels that GPUs get.
gpu_set=RATECL_TUNING=set=gpu

# Reads and writes outside of buffers, before their start too, end the program.
guarded="LD_PRELOAD=$PWD/build-test/default/tests/libguard_pages.so RATECL_TEST_SIZE=wide"

# Install Intel's OpenCL runtime for CPUs in build-test/intel, from PyPI; false where it cannot be had.
install_intel() (
    folder=$PWD/build-test/intel
    [ -f "$folder/lib/libintelocl.so" ] || {
        python3 -m venv "$folder-pip" && "$folder-pip/bin/pip" install --quiet --disable-pip-version-check --retries 1 \
            --no-deps --ignore-installed --prefix "$folder" intel-opencl-rt intel-cmplr-lib-rt tbb
    } >"$folder.log" 2>&1
    [ -f "$folder/lib/libintelocl.so" ] || exit 1
    rm -f "$folder"/lib/libOpenCL.so* # a loader of its own
    mkdir -p "$folder/vendors"
    echo "$folder/lib/libintelocl.so" >"$folder/vendors/intel.icd"
)
intel="OCL_ICD_VENDORS=$PWD/build-test/intel/vendors LD_LIBRARY_PATH=$PWD/build-test/intel/lib"
intel="$intel RATECL_TEST_DEVICE=opencl:Intel RATECL_TEST_SIZE=wide"

# Build and run fast programs in the other Debian release, where a root of it can be made.
other_release() (
    start=$(date +%s) log=build-test/other-release.log
    sh tests/other_release.sh build-test >"$log" 2>&1
    case $? in
    0) status=0 ;;
    77) skip 'the other Debian release' "$(tail -n 1 "$log")" && exit ;;
    *) status=1 ;;
    esac
    # shellcheck disable=SC2046 # three numbers
    set -- $(counts "$log")
    [ "$2" -gt 0 ] || set -- "$1" "$status" "$3"
    report 'the other Debian release' "$start" "$log" "$@"
)

# Install the Python package in build-test/python and run its tests, each file as a program. PyTorch, JAX, PyOpenCL and
# a simulator come from PyPI; the tests of what cannot be had are skipped.
python_stages() (
    folder=$PWD/build-test/python log=$PWD/build-test/python.log start=$(date +%s)
    pip="$folder/bin/pip --quiet --disable-pip-version-check --retries 1"
    if ! { python3 -m venv "$folder" && $pip install pytest numpy cffi; } >"$log" 2>&1; then
        skip 'Python' 'PyPI could not be reached'
        exit
    elif ! $pip install . >>"$log" 2>&1; then
        report 'Python, installing' "$start" "$log" 0 1 0
        exit
    fi
    for package in pyopencl nengo-ocl jax torch; do
        $pip install "$package" >>"$log" 2>&1 || echo "Python: $package could not be installed"
    done
    report 'Python, installing' "$start" "$log" 1 0 0
    for file in python/tests/test_*.py; do
        start=$(date +%s)
        # nengo brings a plug-in for an older pytest.
        OCL_ICD_VENDORS=/etc/OpenCL/vendors/pocl.icd PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 \
            "$folder/bin/python" -m pytest -q "$file" >"$log" 2>&1
        status=$?
        if [ "$status" -eq 5 ] || { [ "$status" -eq 0 ] && ! tail -n 1 "$log" | grep -q passed; }; then
            set -- 0 0 1 # all of it is skipped
        elif [ "$status" -eq 0 ]; then
            set -- 1 0 0
        else
            set -- 0 1 0
        fi
        report "Python, $(basename "$file" .py)" "$start" "$log" "$@"
    done
)

# Oclgrind 21.10 abandons a kernel that has LLVM's instruction `freeze` when it looks for uninitialised reads: hence
# nothing is optimised then. In a process's later plans it reports initialised memory: hence a process for each case
# of `single`.
# shellcheck disable=SC2086 # lists of words
oclgrind_stages() {
    stage 'Oclgrind' default $oclgrind meson test -t 8 --wrapper 'oclgrind --data-races --check-api' $in_simulator
    # The driver is to refuse damaged programs: no misuse that it should report.
    stage 'Oclgrind, programs on disk' default $oclgrind meson test -t 8 --wrapper oclgrind cache
    for case in 0 1 2 3 4 5 6 7 8 9 10 11; do
        stage "Oclgrind, uninitialised reads $case" default $oclgrind RATECL_TEST_CASE=$case meson test -t 8 \
            --wrapper 'oclgrind --uninitialized --build-options -cl-opt-disable' single
    done
}

# The software rasteriser and the simulator use one core and take longest; Intel's runtime and PoCL follow.
# shellcheck disable=SC2086 # lists of words
slow_stages() {
    stage 'rusticl on llvmpipe' default $rusticl RUSTICL_ENABLE=llvmpipe RATECL_TEST_SIZE=small \
        meson test -t 8 --wrapper "$PWD/tests/once_more.sh" $on_device sizes train
    stage 'rusticl, recordings' default $rusticl RUSTICL_ENABLE=llvmpipe \
        meson test -t 8 --wrapper "$PWD/tests/once_more.sh" recordings
    if command -v oclgrind >/dev/null; then
        oclgrind_stages
    else
        skip 'Oclgrind' 'no package of this Debian'
    fi
    for seed in 1 2; do
        drawn=$(python3 tests/random_tuning.py $seed)
        echo "parameters drawn with seed $seed: $drawn"
        stage "PoCL, parameters of seed $seed" default $pocl RATECL_TEST_SIZE=small RATECL_TUNING="$drawn" \
            meson test -t 4 single $([ $((seed % 2)) -eq 0 ] || echo values gradients)
    done
    for side in before after; do
        stage "PoCL, guarded pages $side buffers" default $pocl $guarded CK_RUN_CASE=wide_shapes GUARD_PAGES=$side \
            meson test -t 4 values gradients
    done

    if install_intel; then
        stage "Intel's CPU runtime" default $intel meson test -t 4 single selftest
        stage "Intel's CPU runtime, wide" default $intel CK_RUN_CASE=wide_shapes meson test -t 4 values gradients
        stage "Intel's CPU runtime, the GPUs' kernel set" default $intel CK_RUN_CASE=wide_shapes $gpu_set \
            meson test -t 4 values gradients
    else
        skip "Intel's CPU runtime" 'could not be installed'
    fi
}

# shellcheck disable=SC2086 # lists of words
fast_stages() {
    stage 'every device' default meson test -t 4 --no-suite faults # which the sanitised stage runs
    stage 'PoCL, groups of one work-item' default $pocl POCL_MAX_WORK_GROUP_SIZE=1 RATECL_TEST_SIZE=small \
        meson test -t 4 single guards interop logarithm
    stage "PoCL, the GPUs' kernel set, groups of 16" default $pocl POCL_MAX_WORK_GROUP_SIZE=16 RATECL_TEST_SIZE=small \
        $gpu_set meson test -t 4 single

    # PoCL takes seconds to compile each of these plans, hence the shapes that exceed a tile and a block alone.
    stage "PoCL, the GPUs' kernel set, wide" default $pocl RATECL_TEST_SIZE=wide CK_RUN_CASE=wide_shapes $gpu_set \
        meson test -t 4 values gradients
    stage "PoCL, the GPUs' kernel set" default $pocl RATECL_TEST_SIZE=small $gpu_set meson test -t 4 single interop sizes
}

# Downloads first, then builds of other kinds.
# shellcheck disable=SC2086 # lists of words
other_stages() {
    python_stages
    other_release

    build no-opencl gcc -Dopencl=disabled
    stage 'without OpenCL' no-opencl meson test -t 4

    build address gcc -Db_sanitize=address,undefined -Dbuildtype=debugoptimized
    stage 'sanitised, CPU path' address $no_opencl $sanitised CFLAGS=-fsanitize=address,undefined meson test -t 4
    stage 'sanitised, PoCL' address $pocl $sanitised RATECL_TEST_SIZE=small meson test -t 4 $on_device failures staged sizes \
        tuned_faults

    build thread gcc -Db_sanitize=thread -Dbuildtype=debugoptimized -Dopencl=disabled -Dopenmp=disabled
    stage 'data races, CPU path' thread meson test -t 4 threads

    if command -v clang >/dev/null; then
        build clang clang -Dopenmp=auto
    else
        skip 'build clang' 'no clang here'
    fi
    if [ -x build-test/clang/tests/fuzz/fuzz_terms ]; then
        stage 'fuzzing, a minute each' clang meson test --benchmark fuzz
    else
        skip 'fuzzing, a minute each' 'clang has no runtime here'
    fi
}

build default gcc
slow_stages &
other_stages &
fast_stages
wait

awk '{ passed += $1; failed += $2; skipped += $3 }
    END { printf "%d passed, %d failed", passed, failed
          if (skipped) printf ", %d skipped", skipped
          print ""
          exit (failed > 0) }' "$results"
