/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include <string.h>

#include "support.h"

#define ONE(criterion) (1u << (criterion))
enum {
    RATES = ONE(RATECL_FIRING_RATE) | ONE(RATECL_FIRING_RATE_DIST),
    FIVE = RATES | ONE(RATECL_STATE_PREDICTION) | ONE(RATECL_ENTROPY) | ONE(RATECL_POPULATION_KL),
    HEBBIAN = ONE(RATECL_HEBBIAN),
    SIX = FIVE | HEBBIAN,
    TO_S = RATECL_OUTPUT_GRADIENT_STATES,
    TO_W = RATECL_OUTPUT_GRADIENT_WEIGHTS
};

/* clang-format off */
const line lines[] = {
    { "firing_rate",                              ONE(RATECL_FIRING_RATE),      0,           RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "firing_rate_dist",                         ONE(RATECL_FIRING_RATE_DIST), 0,           RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "state_prediction",                         ONE(RATECL_STATE_PREDICTION), 0,           RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "entropy",                                  ONE(RATECL_ENTROPY),          0,           RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "population_kl",                            ONE(RATECL_POPULATION_KL),    0,           RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "rates",                                    RATES,                        0,           RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "five",                                     FIVE,                         0,           RATECL_F32, BATCH_FIRST,  SWEEP,   0 },

    { "firing_rate + gradient",                   ONE(RATECL_FIRING_RATE),      TO_S,        RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "firing_rate_dist + gradient",              ONE(RATECL_FIRING_RATE_DIST), TO_S,        RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "state_prediction + gradient",              ONE(RATECL_STATE_PREDICTION), TO_S,        RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "entropy + gradient",                       ONE(RATECL_ENTROPY),          TO_S,        RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "population_kl + gradient",                 ONE(RATECL_POPULATION_KL),    TO_S,        RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "rates + gradient",                         RATES,                        TO_S,        RATECL_F32, BATCH_FIRST,  SWEEP,   0 },
    { "five + gradient",                          FIVE,                         TO_S,        RATECL_F32, BATCH_FIRST,  SWEEP,   0 },

    { "hebbian",                                  HEBBIAN,                      0,           RATECL_F32, BATCH_FIRST,  PRODUCT, 0 },
    { "hebbian + gradient to S",                  HEBBIAN,                      TO_S,        RATECL_F32, BATCH_FIRST,  PRODUCT, 0 },
    { "hebbian + gradient to W",                  HEBBIAN,                      TO_W,        RATECL_F32, BATCH_FIRST,  PRODUCT, 0 },
    { "hebbian + both gradients",                 HEBBIAN,                      TO_S | TO_W, RATECL_F32, BATCH_FIRST,  PRODUCT, 0 },
    { "hebbian, B = 32",                          HEBBIAN,                      0,           RATECL_F32, BATCH_FIRST,  PRODUCT_LARGE, 0 },
    { "hebbian + both gradients, B = 32",         HEBBIAN,                      TO_S | TO_W, RATECL_F32, BATCH_FIRST,  PRODUCT_LARGE, 0 },
    { "six",                                      SIX,                          0,           RATECL_F32, BATCH_FIRST,  PRODUCT, 0 },
    { "six + both gradients",                     SIX,                          TO_S | TO_W, RATECL_F32, BATCH_FIRST,  PRODUCT, 0 },

    { "rates f16",                                RATES,                        0,           RATECL_F16, BATCH_FIRST,  SWEEP,   0 },
    { "five f16",                                 FIVE,                         0,           RATECL_F16, BATCH_FIRST,  SWEEP,   0 },
    { "rates u8",                                 RATES,                        0,           RATECL_U8,  BATCH_FIRST,  SWEEP,   0 },
    { "five u8",                                  FIVE,                         0,           RATECL_U8,  BATCH_FIRST,  SWEEP,   0 },
    { "rates f16, same bytes",                    RATES,                        0,           RATECL_F16, BATCH_FIRST,  SAME_BYTES, 0 },
    { "five f16, same bytes",                     FIVE,                         0,           RATECL_F16, BATCH_FIRST,  SAME_BYTES, 0 },
    { "rates u8, same bytes",                     RATES,                        0,           RATECL_U8,  BATCH_FIRST,  SAME_BYTES, 0 },
    { "five u8, same bytes",                      FIVE,                         0,           RATECL_U8,  BATCH_FIRST,  SAME_BYTES, 0 },
    { "rates time-first",                         RATES,                        0,           RATECL_F32, TIME_FIRST,   SWEEP,   0 },
    { "five time-first",                          FIVE,                         0,           RATECL_F32, TIME_FIRST,   SWEEP,   0 },
    { "rates neuron-first",                       RATES,                        0,           RATECL_F32, NEURON_FIRST, SWEEP,   0 },
    { "five neuron-first",                        FIVE,                         0,           RATECL_F32, NEURON_FIRST, SWEEP,   0 },

    { "five, from host memory",                   FIVE,                         0,           RATECL_F32, BATCH_FIRST,  FROM_HOST, 0 },
    { "five + gradient, from and to host memory", FIVE,                         TO_S,        RATECL_F32, BATCH_FIRST,  FROM_HOST, 0 },

    { "tiny six",                                 SIX,                          0,           RATECL_F32, BATCH_FIRST,  TINY,    0 },
    { "tiny six + both gradients",                SIX,                          TO_S | TO_W, RATECL_F32, BATCH_FIRST,  TINY,    0 },

    { "five, N = 1",                              FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  1 },
    { "five, N = 8",                              FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  8 },
    { "five, N = 10",                             FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  10 },
    { "five, N = 32",                             FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  32 },
    { "five, N = 100",                            FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  100 },
    { "five, N = 128",                            FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  128 },
    { "five, N = 1000",                           FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  1000 },
    { "five, N = 10000",                          FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  10000 },
    { "five, N = 100000",                         FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  100000 },
    { "five, N = 1000000",                        FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_N,  1000000 },
    { "five, T = 2",                              FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_T,  2 },
    { "five, T = 10",                             FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_T,  10 },
    { "five, T = 100",                            FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_T,  100 },
    { "five, T = 1000",                           FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_T,  1000 },
    { "five, T = 10000",                          FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_T,  10000 },
    { "five, T = 100000",                         FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_T,  100000 },
    { "five, B = 1",                              FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_B,  1 },
    { "five, B = 10",                             FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_B,  10 },
    { "five, B = 100",                            FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_B,  100 },
    { "five, B = 1000",                           FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_B,  1000 },
    { "five, B = 10000",                          FIVE,                         0,           RATECL_F32, BATCH_FIRST,  OVER_B,  10000 },
    { "hebbian, N = 32",                          HEBBIAN,                      0,           RATECL_F32, BATCH_FIRST,  PRODUCT_OVER_N, 32 },
    { "hebbian, N = 100",                         HEBBIAN,                      0,           RATECL_F32, BATCH_FIRST,  PRODUCT_OVER_N, 100 },
    { "hebbian, N = 300",                         HEBBIAN,                      0,           RATECL_F32, BATCH_FIRST,  PRODUCT_OVER_N, 300 },
    { "hebbian, N = 1000",                        HEBBIAN,                      0,           RATECL_F32, BATCH_FIRST,  PRODUCT_OVER_N, 1000 },
    { "hebbian, N = 3000",                        HEBBIAN,                      0,           RATECL_F32, BATCH_FIRST,  PRODUCT_OVER_N, 3000 },
};
/* clang-format on */
const size_t line_count = sizeof lines / sizeof lines[0];

static bool has(const line *of, ratecl_criterion criterion)
{
    return of->criteria >> criterion & 1;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The shapes that grow along one axis have as many states as the sweeps' shape, but for a remainder. */
static void choose_shape(const line *of, const scale *sizes, int64_t shape[3])
{
    enum { STEPS = 1000, NEURONS = 32 };
    const int64_t states = sizes->sweep[0] * sizes->sweep[1] * sizes->sweep[2], n = of->size;
    const int64_t *given = of->shapes == PRODUCT         ? sizes->product
                           : of->shapes == PRODUCT_LARGE ? sizes->product_large
                           : of->shapes == TINY          ? sizes->tiny
                                                         : sizes->sweep;
    int64_t B = given[0], T = given[1], N = given[2];
    if (of->shapes == SAME_BYTES) {
        B *= (int64_t)(sizeof(float) / element_bytes(of->element));
    } else if (of->shapes == OVER_N) {
        N = n;
        T = least(STEPS, states / N);
        B = T ? states / (T * N) : 0;
    } else if (of->shapes == OVER_T) {
        T = n;
        N = NEURONS;
        B = states / (T * N);
    } else if (of->shapes == OVER_B) {
        B = n;
        T = STEPS / 10;
        N = states / (B * T);
    } else if (of->shapes == PRODUCT_OVER_N) {
        const int64_t states_of_product = sizes->product[0] * sizes->product[1] * sizes->product[2];
        N = n;
        T = most(1, states_of_product / (N * sizes->product[0]));
        B = sizes->product[0];
    }
    shape[0] = B;
    shape[1] = T;
    shape[2] = N;
}

bool new_problem(const line *of, const scale *sizes, problem *made)
{
    enum { ROWS_LEAST = 32 }; /* for variances that are worth the name */
    const bool kl = has(of, RATECL_POPULATION_KL), hebbian = has(of, RATECL_HEBBIAN);
    *made = (problem){ .of = of,
                       .used = { .states = states_of(of->element),
                                 .reference = kl ? reference_of(of->element) : NO_ARRAY,
                                 .weights = hebbian ? WEIGHTS : NO_ARRAY,
                                 .gradient_states = of->gradients & TO_S ? GRADIENT_STATES : NO_ARRAY,
                                 .gradient_weights = of->gradients & TO_W ? GRADIENT_WEIGHTS : NO_ARRAY } };
    choose_shape(of, sizes, made->shape);
    return made->shape[0] * made->shape[1] >= ROWS_LEAST && made->shape[2] > 0;
}

size_t problem_states(const problem *p)
{
    return (size_t)(p->shape[0] * p->shape[1] * p->shape[2]);
}

static size_t weight_count(const problem *p)
{
    return (size_t)(p->shape[2] * p->shape[2]);
}

size_t gradient_bytes(const problem *p, uint32_t gradient)
{
    if (!(p->of->gradients & gradient))
        return 0;
    return (gradient == TO_S ? problem_states(p) : weight_count(p)) * sizeof(float);
}

static size_t state_bytes(const problem *p)
{
    return problem_states(p) * element_bytes(p->of->element);
}

void reserve_arrays(arrays *host, const problem *p)
{
    reserve(host, p->used.states, state_bytes(p));
    reserve(host, p->used.reference, state_bytes(p));
    reserve(host, p->used.weights, weight_count(p) * sizeof(float));
    reserve(host, p->used.gradient_states, gradient_bytes(p, TO_S));
    reserve(host, p->used.gradient_weights, gradient_bytes(p, TO_W));
}

work work_of(const problem *p)
{
    const line *of = p->of;
    const bool hebbian = has(of, RATECL_HEBBIAN), to_states = of->gradients & TO_S,
               to_weights = of->gradients & TO_W;
    const bool again = to_states && (of->criteria & ~(unsigned)RATES);
    const double rows = (double)(p->shape[0] * p->shape[1]), N = (double)p->shape[2];
    const double half = rows * N * (N + 1), W = hebbian ? N * N * sizeof(float) : 0;
    const double inputs = (double)state_bytes(p) * (1 + has(of, RATECL_POPULATION_KL)) + W;
    const double outputs = (double)(gradient_bytes(p, TO_S) + gradient_bytes(p, TO_W));
    return (work){
        .read = inputs + (double)state_bytes(p) * again,
        .written = outputs,
        .operations = hebbian ? (to_states ? 2 * rows * N * N : half) + (to_weights ? half : 0) : 0,
        .launches = 2 + hebbian + to_states + to_weights,
        .sent = inputs,
        .received = outputs,
    };
}

work work_of_kernel(const problem *p, const char *name, unsigned given)
{
    const double rows = (double)(p->shape[0] * p->shape[1]), N = (double)p->shape[2];
    const bool to_states = p->of->gradients & TO_S, weights = strstr(name, "weights");
    const double states = given >> p->used.states & 1 ? (double)state_bytes(p) : 0;
    const double reference =
        p->used.reference != NO_ARRAY && given >> p->used.reference & 1 ? (double)state_bytes(p) : 0;
    if (strncmp(name, "sweep", strlen("sweep")) == 0)
        return (work){ .read = states + reference };
    if (strncmp(name, "gradient", strlen("gradient")) == 0 && !weights && given >> GRADIENT_STATES & 1)
        return (work){ .read = states, .written = (double)gradient_bytes(p, TO_S) };
    if (strncmp(name, "correlate", strlen("correlate")) == 0)
        return (work){ .operations = to_states && !weights ? 2 * rows * N * N : rows * N * (N + 1) };
    return (work){ .read = 0 };
}

static ratecl_layout layout_of(const problem *p)
{
    const int64_t B = p->shape[0], T = p->shape[1], N = p->shape[2];
    ratecl_layout layout = RATECL_LAYOUT_INIT(p->of->element, B, T, N);
    const int64_t strides[][3] = {
        [BATCH_FIRST] = { T * N, N, 1 }, [TIME_FIRST] = { N, B * N, 1 }, [NEURON_FIRST] = { T * N, 1, T }
    };
    for (int axis = 0; axis < 3; ++axis)
        layout.strides[axis] = strides[p->of->memory][axis];
    return layout;
}

ratecl_plan *new_plan(ratecl_context *context, const problem *p, ratecl_precision precision)
{
    const ratecl_layout states = layout_of(p);
    const ratecl_layout gradient = RATECL_LAYOUT_INIT(RATECL_F32, p->shape[0], p->shape[1], p->shape[2]);
    const ratecl_layout weights = RATECL_LAYOUT_INIT(RATECL_F32, 1, p->shape[2], p->shape[2]);
    ratecl_term terms[TERMS_MAX];
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    for (int criterion = RATECL_FIRING_RATE; criterion <= RATECL_POPULATION_KL; ++criterion)
        if (has(p->of, (ratecl_criterion)criterion))
            ratecl_term_init(&terms[options.term_count++], (ratecl_criterion)criterion);
    options.precision = precision;
    options.outputs |= p->of->gradients;
    options.states = &states;
    options.reference = p->used.reference == NO_ARRAY ? NULL : &states;
    options.weights = p->used.weights == NO_ARRAY ? NULL : &weights;
    options.terms = terms;
    options.gradient_states = p->of->gradients & TO_S ? &gradient : NULL;
    options.gradient_weights = p->of->gradients & TO_W ? &weights : NULL;
    ratecl_plan *plan = NULL;
    CHECK(ratecl_plan_create(context, &options, &plan));
    return plan;
}
