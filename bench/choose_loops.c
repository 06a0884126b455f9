/* SPDX-License-Identifier: Apache-2.0 */
#include "loops.h"

extern const loops loops_baseline;
#ifdef WITH_AVX2
extern const loops loops_avx2;
#endif
#ifdef WITH_AVX512
extern const loops loops_avx512;
#endif

const loops *choose_loops(void)
{
    static const loops *const all[] = {
#ifdef WITH_AVX512
        &loops_avx512,
#endif
#ifdef WITH_AVX2
        &loops_avx2,
#endif
        &loops_baseline,
    };
    enum { LAST = sizeof all / sizeof *all - 1 };
    for (int k = 0; k < LAST; ++k)
        if (all[k]->supported())
            return all[k];
    return all[LAST];
}
