/* SPDX-License-Identifier: Apache-2.0 */
/* The instruction sets for which the hot passes were compiled, best first. */
#include "cpu.h"

extern const rc_cpu_passes rc_cpu_passes_baseline_f32, rc_cpu_passes_baseline_f64;

static int always(void)
{
    return 1;
}

#ifdef RC_WITH_AVX2
extern const rc_cpu_passes rc_cpu_passes_avx2_f32, rc_cpu_passes_avx2_f64;

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

#ifdef RC_WITH_AVX512
extern const rc_cpu_passes rc_cpu_passes_avx512_f32, rc_cpu_passes_avx512_f64;

static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
}
#endif

static const rc_cpu_isa isas[] = {
#ifdef RC_WITH_AVX512
    { "AVX-512", has_avx512, { &rc_cpu_passes_avx512_f32, &rc_cpu_passes_avx512_f64 } },
#endif
#ifdef RC_WITH_AVX2
    { "AVX2", has_avx2, { &rc_cpu_passes_avx2_f32, &rc_cpu_passes_avx2_f64 } },
#endif
    { "baseline", always, { &rc_cpu_passes_baseline_f32, &rc_cpu_passes_baseline_f64 } }
};

const rc_cpu_isa *rc_cpu_isa_choose(void)
{
    const rc_cpu_isa *isa = isas;
    while (!isa->supported())
        isa++;
    return isa;
}
