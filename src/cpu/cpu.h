/* SPDX-License-Identifier: Apache-2.0 */
/* What the pieces of the OpenMP path share. The work of an evaluation is cut into tasks by the shapes
 * alone; each task writes its own partial sums, and merge.c combines them in a fixed order. So the result
 * does not depend on the number of threads. */
#ifndef RATECL_SRC_CPU_CPU_H
#define RATECL_SRC_CPU_CPU_H

#include "../plan.h"

enum {
    RC_CACHE_LINE = 64,
    RC_BLOCK_ROWS = 256,    /* rows whose moments are taken about one shift */
    RC_TILE_COLUMNS = 1024, /* columns whose accumulators stay in the first-level cache */
    RC_STEP_ROWS = 128      /* rows that meet a panel of the weights while it is in cache */
};

static inline int64_t rc_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t rc_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t rc_divide_up(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* The tasks of a pass over the rows of an input: bands of rows x groups of columns. */
typedef struct rc_cpu_grid {
    int64_t bands;
    int64_t band_rows; /* a multiple of RC_BLOCK_ROWS */
    int64_t groups;
    int64_t group_columns; /* a multiple of RC_TILE_COLUMNS where groups > 1 */
} rc_cpu_grid;

/* sweep: one read of an input. */
typedef struct rc_cpu_sweep {
    const rc_view *view;
    const void *memory;
    bool moments;
    bool quotients; /* of the variances are taken: they are right at any scale of the states */
    bool entropy;   /* with eps = 0 */
    size_t lag_count;
    const int64_t *lags;
    rc_cpu_grid grid;
    double *mean;         /* (bands, N) */
    double *deviations;   /* (bands, N): sum of squared deviations from the band's mean */
    double *row_sums;     /* (groups, R, 2): Z, A = sum S log S; only where groups > 1 */
    double *entropy_rows; /* (R, 2): A / Z, 1 / Z, or 0 where Z = 0; NULL but for the gradient */
    double *entropy_sums; /* (bands) */
    double *lag_sums;     /* (bands, groups, lag_count) */
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
    double *entropy_rows; /* (count, R, 2): G = sum p h, 1 / (Z + eps) or 0 where Z = 0; NULL but for the
                             gradient (h_i - G) / (Z + eps), where h = -log(p + eps) - p / (p + eps) */
    double *sums;         /* (bands, count) */
} rc_cpu_entropy;

/* correlation: sum_ij W_ij S_i S_j, from weights that are folded in panels of `panel` columns.
 * For the values alone these are
 *     U_ij = W_ij + W_ji for i < j,  W_ii for i = j,  0 for i > j;
 * panel p holds the rows i < (p + 1) panel, as (i, panel). For the gradient to the states, whose product
 * S (W + W^T) gives the values too, they are W + W^T as a whole, and so is every panel. */
typedef struct rc_cpu_correlation {
    const rc_view *states;
    const rc_view *weights;
    const void *states_memory;
    const void *weights_memory;
    int64_t panel;
    int64_t panels;
    bool whole;
    void *folded;        /* real (panel^2 panels (panels + 1) / 2), or (panel^2 panels^2) of a whole */
    int64_t leading;     /* reals from one row of a task's copy of the states to the next */
    int64_t batch_steps; /* time steps in a task */
    int64_t batch_run;   /* batches in a task: > 1 only where chunks = parts = 1 */
    int64_t batch_runs;
    int64_t batch_chunks; /* of time, in a batch */
    int64_t batch_parts;  /* of the panels */
    double *batch_sums;   /* (batch_runs, batch_chunks, batch_parts) */
    int64_t step_rows;    /* rows in a task, of the product too */
    int64_t step_tasks;
    double *step_sums; /* (step_tasks) */
    void *product;     /* real (R, N): S (W + W^T), of a whole */
    double *forms;     /* (R): sum_ij W_ij S_i S_j of each row; NULL where no gradient needs it */
} rc_cpu_correlation;

/* weights: the gradient to W, scale / R sum_r rho_r S_ri S_rj. The triangle i <= j of the sums lies in panels
 * like those of U. A task is a part of the triangle, `side` panels square, x a chunk of the rows. */
typedef struct rc_cpu_weights {
    const rc_view *states;
    const void *states_memory;
    const double *row_factors; /* (R): rho */
    const rc_gradient *to;
    void *gradient;
    double factor; /* scale / R */
    int64_t panel;
    int64_t panels;
    int64_t side;
    int64_t leading; /* of a copy of a part's columns */
    int64_t parts;   /* of the triangle */
    int64_t chunks;  /* of the rows: each has sums of its own */
    int64_t chunk_rows;
    int64_t chunk_sums; /* panel^2 panels (panels + 1) / 2 */
    double *sums;       /* (chunks, chunk_sums) */
    bool *spoiled;      /* (panels), as of rc_cpu_gradient */
} rc_cpu_weights;

/* gradient: one write of the gradient to the states or to the reference, which in row r and column i is
 *     alpha_i + beta_i (S_i - centre_i)
 *     + each lag's factor times (S - S_later) + (S - S_earlier), where there are such rows,
 *     + each eps's factor times dH/dS_i
 *     + product_factor row_factors_r (S (W + W^T))_i. */
typedef struct rc_cpu_gradient {
    const rc_view *view;
    const void *memory;
    bool reads;   /* the input */
    bool by_pair; /* and that for lags alone: rows without later and earlier ones are not read */
    const rc_gradient *to;
    void *gradient;
    rc_cpu_grid grid;
    const double *alpha, *beta, *centre; /* (N) */
    size_t lag_count;
    const int64_t *lags;
    const double *lag_factors; /* (lag_count) */
    size_t entropy_count;
    const double *epsilons;        /* (entropy_count) */
    const double *entropy_rows;    /* (entropy_count, R, 2): of rc_cpu_sweep, rc_cpu_entropy */
    const double *entropy_factors; /* (entropy_count) */
    const void *product;           /* real (R, N), or NULL */
    const double *row_factors;     /* (R): of the product */
    double product_factor;
    bool *spoiled; /* (tasks): whether a number that the task wrote is not finite */
} rc_cpu_gradient;

typedef void (*rc_cpu_task)(const void *work, int64_t task, void *scratch);

/* The hot passes, compiled for one instruction set and one type of real. */
typedef struct rc_cpu_passes {
    int64_t real_bytes;
    int64_t panel;                 /* of the folded weights; a multiple of the microkernel's rows */
    size_t (*sweep_scratch)(void); /* bytes for each thread */
    size_t (*gradient_scratch)(size_t lag_count);
    rc_cpu_task sweep;   /* of an rc_cpu_sweep */
    rc_cpu_task entropy; /* of an rc_cpu_entropy */
    rc_cpu_task fold;    /* of an rc_cpu_correlation: one panel */
    rc_cpu_task batch;
    rc_cpu_task step;
    rc_cpu_task product;
    rc_cpu_task weights;          /* of an rc_cpu_weights */
    rc_cpu_task weights_gradient; /* one panel, all chunks: written, to both triangles */
    rc_cpu_task gradient;         /* of an rc_cpu_gradient */
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
 * partial sums (groups, stride, 2). Where entropy_rows, (rows, 2), is not NULL, it receives A / Z and 1 / Z.
 */
double rc_merge_row_entropy(const double *row_sums, int64_t groups, int64_t stride, int64_t rows, int64_t N,
                            double *entropy_rows);

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

/* ---- coefficients.c ---- */

/* What the terms' derivatives have in common for all rows. */
typedef struct rc_cpu_coefficients {
    double *alpha[2], *beta[2], *centre[2]; /* (N): of RC_STATES and RC_REFERENCE; see rc_cpu_gradient */
    double *lags;                           /* (lag_count): of (S - S_later) + (S - S_earlier) */
    double *entropies;                      /* (entropy_count): of dH/dS */
    double hebbian[2];                      /* by ratecl_over: of sign(sum_ij W_ij S_i S_j) */
} rc_cpu_coefficients;

/* `skipped` is what finish gave. The gradients' scale is in all of them but the Hebbian ones. */
void rc_cpu_coefficients_find(const rc_spec *spec, const rc_cpu_sums *sums, const rc_evaluation *evaluation,
                              rc_cpu_coefficients *coefficients);

/* rho_r: the signs of the row's batch and of the row, each times its coefficient. `forms`, (R), holds the
 * rows' sums and receives rho; batch_forms is (B). */
void rc_cpu_row_factors(const rc_spec *spec, const double hebbian[2], const double *batch_forms,
                        double *forms);

#endif
