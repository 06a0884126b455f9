/* SPDX-License-Identifier: Apache-2.0 */
/* What the pieces of the OpenMP path share. The work of an evaluation is cut into tasks by the shapes
 * alone; each task writes its own partial sums, and merge.c combines them in a fixed order. So the result
 * does not depend on the number of threads. */
#ifndef RATECL_SRC_CPU_CPU_H
#define RATECL_SRC_CPU_CPU_H

#include "../plan.h"

enum {
    RC_BLOCK_ROWS = 256,   /* rows whose moments are taken about one shift */
    RC_TILE_COLUMNS = 512, /* columns whose accumulators stay in the first-level cache */
    RC_STEP_ROWS = 128     /* rows that meet a panel of the weights while it is in cache */
};

/* sweep: one read of an input. A task is a band of rows x a group of columns. */
typedef struct rc_cpu_sweep {
    const rc_view *view;
    const void *memory;
    bool moments;
    bool entropy; /* with eps = 0 */
    size_t lag_count;
    const int64_t *lags;
    int64_t bands;
    int64_t band_rows; /* a multiple of RC_BLOCK_ROWS */
    int64_t groups;
    int64_t group_columns; /* a multiple of RC_TILE_COLUMNS where groups > 1 */
    double *mean;          /* (bands, N) */
    double *deviations;    /* (bands, N): sum of squared deviations from the band's mean */
    double *row_sums;      /* (groups, R, 2): Z, sum S log S; only where groups > 1 */
    double *entropy_sums;  /* (bands) */
    double *lag_sums;      /* (bands, groups, lag_count) */
} rc_cpu_sweep;

/* entropy with eps > 0: p = S / (Z + eps) needs Z first, hence a read of its own. A task is a band of rows.
 */
typedef struct rc_cpu_entropy {
    const rc_view *view;
    const void *memory;
    size_t count;
    const double *epsilons; /* (count), all > 0 */
    int64_t bands;
    int64_t band_rows;
    double *sums; /* (bands, count) */
} rc_cpu_entropy;

/* correlation: sum_ij W_ij S_i S_j over i <= j, with the folded weights
 *     U_ij = W_ij + W_ji for i < j,  W_ii for i = j,  0 for i > j.
 * U lies in panels of `panel` columns; panel p holds the rows i < (p + 1) panel, as (i, panel). */
typedef struct rc_cpu_correlation {
    const rc_view *states;
    const rc_view *weights;
    const void *states_memory;
    const void *weights_memory;
    int64_t panel;
    int64_t panels;
    void *folded;        /* real (panel^2 panels (panels + 1) / 2) */
    int64_t leading;     /* reals from one row of a task's copy of the states to the next */
    int64_t batch_steps; /* time steps in a task */
    int64_t batch_run;   /* batches in a task: > 1 only where chunks = parts = 1 */
    int64_t batch_runs;
    int64_t batch_chunks; /* of time, in a batch */
    int64_t batch_parts;  /* of the panels */
    double *batch_sums;   /* (batch_runs, batch_chunks, batch_parts) */
    int64_t step_rows;    /* rows in a task */
    int64_t step_tasks;
    double *step_sums; /* (step_tasks) */
} rc_cpu_correlation;

typedef void (*rc_cpu_task)(const void *work, int64_t task, void *scratch);

/* The hot passes, compiled for one instruction set and one type of real. */
typedef struct rc_cpu_passes {
    int64_t real_bytes;
    int64_t panel;        /* of the folded weights; a multiple of the microkernel's rows */
    size_t sweep_scratch; /* bytes for each thread */
    rc_cpu_task sweep;    /* of an rc_cpu_sweep */
    rc_cpu_task entropy;  /* of an rc_cpu_entropy */
    rc_cpu_task fold;     /* of an rc_cpu_correlation: one panel */
    rc_cpu_task batch;
    rc_cpu_task step;
} rc_cpu_passes;

/* One instruction set. */
typedef struct rc_cpu_isa {
    const char *name;
    int (*supported)(void);
    const rc_cpu_passes *passes[2]; /* by ratecl_precision */
} rc_cpu_isa;

/* The best of those that were compiled in and that this machine has. */
const rc_cpu_isa *rc_cpu_isa_choose(void);

/* ---- merge.c ---- */

/* Merge the moments of `n` rows (mean_n, deviations_n) into those of `m` rows before them (Chan et al.). */
static inline void rc_merge_moments(double *mean_m, double *deviations_m, double m, double mean_n,
                                    double deviations_n, double n)
{
    const double delta = mean_n - *mean_m;
    *mean_m += delta * (n / (m + n));
    *deviations_m += deviations_n + delta * delta * (m * n / (m + n));
}

/* Sum of H = log Z - A / Z over `rows` rows of N columns, whose Z and A = sum S log S lie in `groups`
 * partial sums (groups, stride, 2). */
double rc_merge_row_entropy(const double *row_sums, int64_t groups, int64_t stride, int64_t rows, int64_t N);

/* Task: the columns of one tile, all bands into the first, whose deviations become variances. */
void rc_merge_bands(const void *sweep, int64_t tile, void *scratch);
/* Task: the entropy of one band where its rows were swept in several groups. */
void rc_merge_band_rows(const void *sweep, int64_t band, void *scratch);

/* ---- finish.c ---- */

typedef struct rc_cpu_sums {
    const double *mean[2];     /* of RC_STATES and RC_REFERENCE, (N) */
    const double *variance[2]; /* 1 / R */
    const double *lags;        /* (lag_count) */
    const double *entropies;   /* (entropy_count): sum of H over rows */
    double hebbian[2];         /* by ratecl_over: sum of |sum_ij W_ij S_i S_j|, over time within a batch */
} rc_cpu_sums;

void rc_cpu_finish(const rc_spec *spec, const rc_cpu_sums *sums, double *values, int64_t *skipped);

#endif
