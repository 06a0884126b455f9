/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include <math.h>

#include "support.h"

static void sum_up(const float *x, size_t count, double *norm, double *sum)
{
    double squares = 0, signed_sum = 0;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) reduction(+ : squares, signed_sum)
#endif
    for (size_t k = 0; k < count; ++k) {
        const double here = (double)x[k];
        squares += here * here;
        signed_sum += hash((uint32_t)k, 6) >> 31 ? here : -here;
    }
    *norm = sqrt(squares);
    *sum = signed_sum;
}

static const uint32_t gradients[2] = { RATECL_OUTPUT_GRADIENT_STATES, RATECL_OUTPUT_GRADIENT_WEIGHTS };

static outcome evaluate_once(const target *where, ratecl_plan *plan, const problem *p, arrays *host)
{
    const array places[2] = { p->used.gradient_states, p->used.gradient_weights };
    outcome found = { .values = { 0 } };
    evaluate(where, plan, host, &p->used, found.values, TERMS_MAX);
    for (int k = 0; k < 2; ++k) {
        const size_t bytes = gradient_bytes(p, gradients[k]);
        if (!bytes)
            continue;
        read_back(where, host, places[k], bytes);
        sum_up(memory_for(host, places[k]), bytes / sizeof(float), &found.norms[k], &found.sums[k]);
    }
    return found;
}

outcome expected_outcome(const target *cpu, const problem *p, arrays *host)
{
    ratecl_plan *plan = new_plan(cpu->context, p, RATECL_PRECISION_F64);
    const outcome found = evaluate_once(cpu, plan, p, host);
    ratecl_plan_release(plan);
    return found;
}

/* The bounds are those of f32 arithmetic, with some room; a wrong result is far outside them. */
static bool same(const outcome *found, const outcome *expected)
{
    bool right = true;
    for (int k = 0; k < TERMS_MAX; ++k)
        right &= fabs(found->values[k] - expected->values[k]) <= 1e-5 * fmax(1, fabs(expected->values[k]));
    for (int k = 0; k < 2; ++k) {
        const double error = 1e-4 * expected->norms[k];
        right &= fabs(found->norms[k] - expected->norms[k]) <= error;
        right &= fabs(found->sums[k] - expected->sums[k]) <= error;
    }
    return right;
}

timing measure(target *where, const problem *p, arrays *host, int runs, const outcome *expected,
               outcome *found, profile *kernels)
{
    enum { DROPPED_RUNS = 2 };
    static const double budget = 1;
    begin_profile(where);
    ratecl_plan *plan = new_plan(where->context, p, RATECL_PRECISION_F32);
    load(where, host, &p->used);
    for (int run = 0; run < DROPPED_RUNS; ++run) {
        *found = evaluate_once(where, plan, p, host);
        if (!same(found, expected))
            fail(where->device.id, p->of->name);
    }
    stopwatch watch = new_stopwatch(runs, budget);
    while (wants_more(&watch)) {
        double values[TERMS_MAX];
        begin_profiled_run();
        start_run(&watch);
        evaluate(where, plan, host, &p->used, values, TERMS_MAX);
        end_run(&watch);
    }
    *kernels = end_profile();
    ratecl_plan_release(plan);
    return summary(&watch);
}

bound bound_of(work done, const ceilings *of)
{
    const bound bounds[] = {
        { done.read / of->read + done.written / of->write, done.written > 0 ? "read + write" : "read" },
        { done.operations / of->multiply_add, "multiply-add" },
        { done.launches * of->launch, "launch" },
        { of->to_device > 0 ? done.sent / of->to_device + done.received / of->from_device : 0, "transfer" },
    };
    bound binding = bounds[0];
    for (size_t k = 1; k < sizeof bounds / sizeof *bounds; ++k)
        if (bounds[k].seconds > binding.seconds)
            binding = bounds[k];
    return binding;
}
