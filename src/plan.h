/* SPDX-License-Identifier: Apache-2.0 */
/* What the public functions hand down to a path: checked arrays, terms, and the sums they need. */
#ifndef RATECL_SRC_PLAN_H
#define RATECL_SRC_PLAN_H

#include <stdbool.h>

#include "status.h"

/* A layout that has been checked: no element lies before the memory's start, no product overflows. */
typedef struct rc_view {
    ratecl_element element;
    int64_t shape[3];   /* B, T, N */
    int64_t strides[3]; /* elements */
    int64_t offset;     /* elements */
    int64_t extent;     /* elements from the memory's start to the end of the last one */
} rc_view;

static inline int64_t rc_view_rows(const rc_view *view)
{
    return view->shape[0] * view->shape[1];
}

/* The inputs of an evaluation, in the order of rc_spec.inputs. */
enum { RC_STATES, RC_REFERENCE, RC_WEIGHTS, RC_INPUT_COUNT };
extern const char *const rc_input_names[RC_INPUT_COUNT];

typedef struct rc_term {
    ratecl_term options; /* complete: every field set, metric never RATECL_METRIC_DEFAULT */
    size_t value;        /* index of its first value */
    size_t lag;          /* state_prediction: index in rc_spec.lags */
    size_t entropy;      /* entropy: index in rc_spec.epsilons */
    size_t cotangent;    /* reduction none: index of its row of cotangents */
} rc_term;

/* The gradient with respect to one input. */
typedef struct rc_gradient {
    bool wanted, accumulate;
    rc_view view; /* the input's shape; RATECL_F32 or RATECL_F64 */
} rc_gradient;

/* The description of a plan: the union of the sums its terms need. Sums that several terms share are
 * taken once. */
typedef struct rc_spec {
    ratecl_precision precision;
    bool uses[RC_INPUT_COUNT];
    rc_view inputs[RC_INPUT_COUNT]; /* (B,T,N), (B1,T1,N), (1,N,N) */

    size_t term_count;
    rc_term *terms;
    size_t value_count;

    bool moments;     /* per neuron of the states: mean and sum of squared deviations; population_kl
                         wants the same of the reference (uses[RC_REFERENCE]) */
    size_t lag_count; /* distinct tau */
    int64_t *lags;
    size_t entropy_count; /* distinct eps; an eps of 0 comes first, since the sweep itself serves it */
    double *epsilons;
    bool hebbian_batch; /* per batch: sum_ij W_ij C_ij */
    bool hebbian_step;  /* per row: sum_ij W_ij S_i S_j */

    rc_gradient gradients[RC_INPUT_COUNT];
    bool gradient_reads;    /* the gradient to the states depends on them element by element */
    size_t cotangent_count; /* terms with reduction none */
} rc_spec;

/* Whether a term has N values, which take no part in the total. */
static inline bool rc_is_vector(const rc_term *term)
{
    return term->options.criterion == RATECL_POPULATION_KL &&
           term->options.reduction == RATECL_REDUCTION_NONE;
}

static inline size_t rc_values_of(const rc_spec *spec, const rc_term *term)
{
    return rc_is_vector(term) ? (size_t)spec->inputs[RC_STATES].shape[2] : 1;
}

static inline bool rc_sweep_has_entropy(const rc_spec *spec)
{
    return spec->entropy_count > 0 && spec->epsilons[0] == 0;
}

static inline bool rc_wants_gradients(const rc_spec *spec)
{
    return spec->gradients[RC_STATES].wanted || spec->gradients[RC_REFERENCE].wanted ||
           spec->gradients[RC_WEIGHTS].wanted;
}

static inline int64_t rc_longest_lag(const rc_spec *spec)
{
    int64_t longest = 0;
    for (size_t k = 0; k < spec->lag_count; ++k)
        longest = spec->lags[k] > longest ? spec->lags[k] : longest;
    return longest;
}

/* What an evaluation on host memory reads and writes, all of it checked. */
typedef struct rc_evaluation {
    const void *inputs[RC_INPUT_COUNT]; /* NULL unless spec->uses[k] */
    double scale;                       /* of the gradients */
    const double *cotangents;           /* (cotangent_count, N), or NULL: zeros */
    double *values;                     /* (value_count); may come out non-finite: that is no error here */
    int64_t *skipped;                   /* (term_count), and behind them 1 where a gradient is not finite */
    void *gradients[RC_INPUT_COUNT];    /* NULL unless spec->gradients[k].wanted */
} rc_evaluation;

/* What can be tuned: choices of single parameters, as text, that are tried one after the other, and the
 * passes that they are for, a bit for each RATECL_TUNE_. */
typedef struct rc_tuning_group {
    uint32_t passes; /* 0 ends a list */
    const char *choices[8];
} rc_tuning_group;

/* The passes that go together. */
enum {
    RC_TUNE_SWEEPS = 1 << RATECL_TUNE_SWEEP | 1 << RATECL_TUNE_GRADIENT,
    RC_TUNE_CORRELATIONS = 1 << RATECL_TUNE_CORRELATION | 1 << RATECL_TUNE_CORRELATION_GRADIENT
};

typedef struct rc_tuner {
    const rc_tuning_group *(*groups)(const void *context_state);
    /* Give the context's next plans what the device has by default, with `text` on it, and write all of that
     * as text. Errors: ARGUMENT. */
    ratecl_status (*set)(void *context_state, ratecl_precision precision, const char *text, char *all,
                         size_t all_bytes);
    /* Evaluate some times on memory of the device's own; the shortest time, and the results of the last time.
     */
    ratecl_status (*time)(void *plan_state, const struct rc_evaluation *evaluation, double *seconds);
    /* Keep parameters for the device's later contexts; where. NULL: only see whether that can be. */
    ratecl_status (*keep)(void *context_state, ratecl_precision precision, const char *all, char *file,
                          size_t file_bytes);
} rc_tuner;

/* A path evaluates specs: one const table for each of OpenMP and OpenCL. The states of contexts and
 * plans are the path's own. */
typedef struct rc_path {
    void (*context_release)(void *context_state);
    void (*device_info)(const void *context_state, ratecl_device_info *info);
    bool (*has_fp64)(const void *context_state);
    ratecl_status (*plan_create)(void *context_state, const rc_spec *spec, void **plan_state);
    void (*plan_release)(void *plan_state);
    ratecl_status (*evaluate)(void *plan_state, const rc_evaluation *evaluation);
    /* Give the means and standard deviations that the last evaluation found in the states or the reference,
     * of `count` neurons from `first` on. Only where the spec has moments. */
    ratecl_status (*read_moments)(void *plan_state, int input, int64_t first, int64_t count, double *mean,
                                  double *deviation);
    const rc_tuner *tuner; /* NULL: there is nothing to tune */
} rc_path;

extern const rc_path rc_cpu_path;
ratecl_status rc_cpu_context_create(int32_t threads, void **context_state);

struct ratecl_context;
struct ratecl_plan {
    struct ratecl_context *context; /* retained */
    void *state;                    /* the path's */
    rc_spec spec;
    double *values;   /* spec.value_count */
    int64_t *skipped; /* spec.term_count + 1, as in rc_evaluation */
};

/* True if the last evaluation left nothing of term k to compare. */
static inline bool rc_skips_all(const ratecl_plan *plan, size_t k)
{
    return plan->spec.terms[k].options.criterion == RATECL_POPULATION_KL &&
           plan->skipped[k] == plan->spec.inputs[RC_STATES].shape[2];
}

/* True if an element of a gradient of the last evaluation is not finite. */
static inline bool rc_is_gradient_spoiled(const ratecl_plan *plan)
{
    return plan->skipped[plan->spec.term_count] != 0;
}

/* ---- Checks, shared by the public functions ---- */

ratecl_status rc_view_check(const ratecl_layout *layout, const char *name, rc_view *view);
/* Check that a view can be written: floating-point elements, no two in the same place. */
ratecl_status rc_view_check_output(const rc_view *view, const char *name);
ratecl_status rc_outputs_check(const ratecl_plan *plan, const ratecl_outputs *given, ratecl_outputs *outputs);
/* Copy plan->values and ->skipped out, and form the total; whether all of it is finite. */
bool rc_outputs_write(const ratecl_plan *plan, const ratecl_outputs *outputs);

/* ---- Elements ---- */

size_t rc_element_bytes(ratecl_element element);
/* The value of one element as a double. */
double rc_element_read(ratecl_element element, const void *memory, int64_t index);

/* ---- Diagnosis of a result that is not finite ---- */

/* Find out why plan->values or a gradient are not finite, from the inputs in host memory, and set the
 * message. `gradients` are in host memory, too, or NULL. Returns RATECL_ERROR_DOMAIN. */
ratecl_status rc_diagnose(const ratecl_plan *plan, const void *const inputs[RC_INPUT_COUNT],
                          void *const *gradients /* (RC_INPUT_COUNT) */);

#endif
