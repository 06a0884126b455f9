/* SPDX-License-Identifier: Apache-2.0 */
/* sweep: one read of the states for moments, row sums and lagged differences. Sums of at most eight reals are
 * taken in real, everything longer in double. */
#include <math.h>
#include <stdlib.h>

#include "logarithm.h"
#include "tile.h"

/* GROUP_ROWS meet in the first-level cache. */
enum { TILE = RC_TILE_COLUMNS, GROUP_ROWS = 8, STREAM_AHEAD = 2 };

typedef struct thread_scratch {
    real now[RC_PIECE_ROWS * RC_PIECE_LEADING];
    real later[RC_PIECE_ROWS * RC_PIECE_LEADING];
} thread_scratch;

/* Moments of a tile's columns about a shift: of d = S - shift the sums of d and d^2; of whole numbers, which
 * need none, the exact sums of S and S^2. */
typedef struct columns {
    real shift[TILE];
    double sum[TILE];
    double squares[TILE];
    rc_bits deviating[TILE]; /* all bits of d where they are wanted: 0 where every d is */
    uint32_t whole_sum[TILE];
    uint32_t whole_squares[TILE];
} columns;
_Static_assert(RC_BLOCK_ROWS *UINT64_C(255) * 255 <= UINT32_MAX,
               "a block's squares of u8 are summed in 32 bits");

/* ---- Rows ---- */

/* Up to GROUP_ROWS rows, in the n columns of a tile. */
typedef struct row_group {
    const real *const *x;
    const real *const *later; /* what lies a lag after them; NULL where nothing does */
    int64_t count, n, ahead;  /* what lies `ahead` bytes after x is wanted soon */
} row_group;

/* Of each row: sum x, and sum x (log x - e log 2). */
typedef struct taken {
    double z[GROUP_ROWS], a[GROUP_ROWS];
    bool negative; /* whether an x may be */
} taken;

/* What is added up of rows, as constants wherever this is used. */
typedef struct row_wants {
    bool entropy, any, lag; /* any: x may be so small that a subnormal number counts */
} row_wants;

/* What a run of a row adds up to. */
typedef struct run_sums {
    rc_vector z, a, squares;
} run_sums;

/* The columns [begin, end) of a row. */
RC_INLINE run_sums take_run(const real *x, const real *later, int64_t ahead, int64_t begin, int64_t end,
                            real e, const row_wants wants, rc_bit_vector *signs)
{
    run_sums run = { { 0 }, { 0 }, { 0 } };
    for (int64_t j = begin; j < end; j += RC_LANES) {
        const rc_vector v = rc_load_up_to(x + j, end - j);
        rc_fetch(x + j, ahead);
        if (wants.entropy) {
            run.z += v;
            run.a += v * (wants.any ? rc_log_scaled(v, e) : rc_log_scaled_normal(v, e));
            *signs |= (rc_bit_vector)v;
        }
        if (wants.lag) {
            const rc_vector d = v - rc_load_up_to(later + j, end - j);
            run.squares += d * d;
        }
    }
    return run;
}

/* Add sum (x - later)^2 to `squares`. */
RC_INLINE void take_rows(const row_group *rows, real e, const row_wants wants, taken *to,
                         double squares[RC_LANES])
{
    const int64_t n = rows->n;
    rc_bit_vector signs = { 0 };
    for (int64_t k = 0; k < rows->count; k++) {
        const real *const x = rows->x[k], *const later = wants.lag ? rows->later[k] : NULL;
        double z[RC_LANES] = { 0 }, a[RC_LANES] = { 0 };
        for (int64_t begin = 0; begin < n; begin += RC_RUN) {
            const int64_t end = rc_least(n, begin + RC_RUN);
            const run_sums run = take_run(x, later, rows->ahead, begin, end, e, wants, &signs);
            if (wants.entropy) {
                rc_add_lanes(z, run.z);
                rc_add_lanes(a, run.a);
            }
            if (wants.lag)
                rc_add_lanes(squares, run.squares);
        }
        if (wants.entropy) {
            to->z[k] = rc_sum_lanes(z);
            to->a[k] = rc_sum_lanes(a);
        }
    }
    to->negative = wants.entropy && rc_any_sign(signs);
}

/* The same of rows that are one run. */
RC_INLINE void take_short_rows(const row_group *rows, real e, const row_wants wants, taken *to,
                               double squares[RC_LANES])
{
    rc_bit_vector signs = { 0 };
    for (int64_t k = 0; k < rows->count; k++) {
        const run_sums run = take_run(rows->x[k], wants.lag ? rows->later[k] : NULL, rows->ahead, 0, rows->n,
                                      e, wants, &signs);
        if (wants.entropy) {
            to->z[k] = rc_sum(run.z);
            to->a[k] = rc_sum(run.a);
        }
        if (wants.lag)
            rc_add_lanes(squares, run.squares);
    }
    to->negative = wants.entropy && rc_any_sign(signs);
}

typedef void take_function(const row_group *rows, real e, taken *to, double squares[RC_LANES]);

#define DEFINE_TAKE(name, ...)                                                            \
    RC_LOOP void name(const row_group *rows, real e, taken *to, double squares[RC_LANES]) \
    {                                                                                     \
        if (rows->n <= RC_RUN)                                                            \
            take_short_rows(rows, e, (row_wants){ __VA_ARGS__ }, to, squares);            \
        else                                                                              \
            take_rows(rows, e, (row_wants){ __VA_ARGS__ }, to, squares);                  \
    }
DEFINE_TAKE(take_lag, .lag = true)
DEFINE_TAKE(take_entropy, .entropy = true)
DEFINE_TAKE(take_entropy_and_lag, .entropy = true, .lag = true)
DEFINE_TAKE(take_small_entropy, .entropy = true, .any = true)

/* The row's a is NaN where an x is negative. */
static void take(take_function *function, const row_group *rows, int e, taken *to, double squares[RC_LANES])
{
    function(rows, (real)e, to, squares);
    for (int64_t k = 0; to->negative && k < rows->count; k++)
        if (rc_any_negative(rows->x[k], rows->n))
            to->a[k] = (double)NAN;
}

/* Add each row to its Z and A = sum x log x, and its squares to the lag's. The terms of A are formed as
 * x log(x / 2^e) with 2^e about the mean, which keeps the error small at every scale of x: *e is what the
 * rows before had, and a row is taken again where its own is another. */
static void add_entropies(const row_group *rows, int *e, double *za, double squares[RC_LANES])
{
    const double ln2 = 0.69314718055994530942;
    taken sums;
    take(rows->later != NULL ? take_entropy_and_lag : take_entropy, rows, *e, &sums, squares);
    const int common = *e;
    for (int64_t k = 0; k < rows->count; k++) {
        const double z = sums.z[k];
        double a = sums.a[k];
        int exponent = common;
        /* Beside a sum that large, a subnormal number's logarithm may be wrong by the 16 that it then is. */
        const bool large = z > (double)RC_LOG_NORMAL * 0x1p62;
        const int own = rc_exponent_of(z / (double)rows->n);
        if (z != 0 && (!large || abs(own - common) > 3)) {
            const row_group one = { .x = rows->x + k, .count = 1, .n = rows->n };
            taken again;
            *e = exponent = own;
            take(large ? take_entropy : take_small_entropy, &one, own, &again, squares);
            a = again.a[0];
        }
        za[2 * k] += z;
        za[2 * k + 1] += a + exponent * ln2 * z;
    }
}

/* ---- Columns ---- */

static inline real median(real a, real b, real c)
{
    const real low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* The shift is a sample, so that a constant neuron's variance is exactly 0, and the median of three, so that
 * one outlier does not spoil it. */
RC_LOOP void begin_columns(columns *c, const real *const row[3], int64_t n)
{
    const real *const first = row[0], *const middle = row[1], *const last = row[2];
#pragma omp simd
    for (int64_t j = 0; j < n; j++)
        c->shift[j] = median(first[j], middle[j], last[j]);
    for (int64_t j = n; j % RC_LANES != 0; j++)
        c->shift[j] = 0;
#pragma omp simd
    for (int64_t j = 0; j < rc_divide_up(n, RC_LANES) * RC_LANES; j++)
        c->sum[j] = c->squares[j] = 0;
    memset(c->deviating, 0, sizeof *c->deviating * (size_t)(rc_divide_up(n, RC_LANES) * RC_LANES));
}

RC_LOOP void add_one_row(columns *c, const real *row, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const real d = row[j] - c->shift[j];
        c->sum[j] += (double)d;
        c->squares[j] += (double)(d * d);
        c->deviating[j] |= d != 0;
    }
}

/* Eight rows; those that lie `ahead` bytes after them are fetched, unless that is 0. With `bits` they leave
 * those of their deviations. */
RC_INLINE void take_eight_rows(columns *c, const real *const row[GROUP_ROWS], int64_t n, int64_t ahead,
                               const bool fetch, const bool bits)
{
    for (int64_t j = 0; j < n; j += RC_LANES) {
        const rc_vector shift = rc_load(c->shift + j);
        rc_vector d[GROUP_ROWS];
#pragma GCC unroll 8
        for (int k = 0; k < GROUP_ROWS; k++) {
            d[k] = rc_load_up_to(row[k] + j, n - j) - shift;
            if (fetch)
                rc_fetch(row[k] + j, ahead);
        }
        if (bits) {
            rc_bit_vector all;
            memcpy(&all, c->deviating + j, sizeof all);
            for (int k = 0; k < GROUP_ROWS; k++)
                all |= (rc_bit_vector)d[k];
            memcpy(c->deviating + j, &all, sizeof all);
        }
        rc_add_lanes(c->sum + j, ((d[0] + d[1]) + (d[2] + d[3])) + ((d[4] + d[5]) + (d[6] + d[7])));
        rc_add_lanes(c->squares + j, ((d[0] * d[0] + d[1] * d[1]) + (d[2] * d[2] + d[3] * d[3])) +
                                         ((d[4] * d[4] + d[5] * d[5]) + (d[6] * d[6] + d[7] * d[7])));
    }
}

RC_LOOP void add_eight_rows(columns *c, const real *const row[GROUP_ROWS], int64_t n, int64_t ahead)
{
    if (ahead != 0)
        take_eight_rows(c, row, n, ahead, true, false);
    else
        take_eight_rows(c, row, n, 0, false, false);
}

RC_LOOP void add_eight_rows_with_bits(columns *c, const real *const row[GROUP_ROWS], int64_t n, int64_t ahead)
{
    if (ahead != 0)
        take_eight_rows(c, row, n, ahead, true, true);
    else
        take_eight_rows(c, row, n, 0, false, true);
}

typedef void add_function(columns *c, const real *const row[GROUP_ROWS], int64_t n, int64_t ahead);

/* The function for eight rows: the bits are for columns that may be taken again. */
static add_function *adding(const rc_cpu_sweep *sweep)
{
    return RC_REAL_BITS == 32 && sweep->quotients ? add_eight_rows_with_bits : add_eight_rows;
}

/* The same of whole numbers: sums of eight are exact in reals. */
RC_LOOP void add_eight_rows_of_counts(columns *c, const uint8_t *const row[GROUP_ROWS], int64_t n,
                                      int64_t ahead)
{
    int64_t j = 0;
    for (; j + RC_LANES <= n; j += RC_LANES) {
        for (int k = 0; j % RC_CACHE_LINE == 0 && k < GROUP_ROWS; k++)
            rc_fetch(row[k] + j, ahead);
        rc_vector sum = { 0 }, squares = { 0 };
#pragma GCC unroll 8
        for (int k = 0; k < GROUP_ROWS; k++) {
            const rc_vector x = rc_load_u8(row[k] + j);
            sum += x;
            squares += x * x;
        }
        rc_add_whole_lanes(c->whole_sum + j, sum);
        rc_add_whole_lanes(c->whole_squares + j, squares);
    }
    for (; j < n; j++)
        for (int k = 0; k < GROUP_ROWS; k++) {
            c->whole_sum[j] += row[k][j];
            c->whole_squares[j] += (uint32_t)row[k][j] * row[k][j];
        }
}

RC_LOOP void add_one_row_of_counts(columns *c, const uint8_t *row, int64_t n)
{
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        c->whole_sum[j] += row[j];
        c->whole_squares[j] += (uint32_t)row[j] * row[j];
    }
}

RC_LOOP void begin_counts(columns *c, int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        c->whole_sum[j] = c->whole_squares[j] = 0;
}

/* As deviations from a whole number next below the mean: all of them whole, and exact. */
RC_LOOP void end_counts(columns *c, int64_t n, int64_t rows)
{
    for (int64_t j = 0; j < n; j++) {
        const int64_t sum = c->whole_sum[j], squares = c->whole_squares[j], shift = sum / rows;
        c->shift[j] = (real)shift;
        c->sum[j] = (double)(sum - rows * shift);
        c->squares[j] = (double)(squares - 2 * shift * sum + rows * shift * shift);
    }
}

static void add_moments(const rc_cpu_sweep *sweep, columns *c, const real *const *row, int64_t rows,
                        int64_t n)
{
    if (rows == GROUP_ROWS)
        adding(sweep)(c, row, n, 0);
    for (int64_t k = 0; rows < GROUP_ROWS && k < rows; k++)
        add_one_row(c, row[k], n);
}

/* Merge the moments of a block of `rows` rows into those of the `before` rows above it in the band. */
RC_LOOP void merge_columns(const columns *c, int64_t n, int64_t rows, int64_t before, double *mean,
                           double *deviations)
{
    const double count = (double)rows;
#pragma omp simd
    for (int64_t j = 0; j < n; j++) {
        const double delta = c->sum[j] / count;
        const double rest = c->squares[j] - c->sum[j] * delta;
        const double block_mean = (double)c->shift[j] + delta, block_deviations = rest < 0 ? 0 : rest;
        if (before == 0) {
            mean[j] = block_mean;
            deviations[j] = block_deviations;
        } else {
            rc_merge_moments(&mean[j], &deviations[j], (double)before, block_mean, block_deviations, count);
        }
    }
}

/* True if the squares of a column have left the range of reals: their sum is below that of a few that have
 * all their digits, or not finite, and not because there is no deviation. */
static inline bool is_out_of_range(const columns *c, int64_t j)
{
    return !(c->squares[j] > 0x1p-110 && c->squares[j] < 0x1p120) && c->deviating[j] != 0;
}

/* ---- A part of a task ---- */

/* The rows [first, first + rows) of one block, the columns [column, column + n) of a tile. */
typedef struct region {
    int64_t first, rows, column, n;
} region;

/* Some rows of a region. */
typedef struct piece {
    rc_rows rows;
    const real *row[RC_PIECE_ROWS];
} piece;

static void find_shift(const rc_cpu_sweep *sweep, region at, real *copy, columns *c)
{
    const int64_t sample[3] = { at.first, at.first + at.rows / 2, at.first + at.rows - 1 };
    rc_rows rows = { .count = 3 };
    for (int k = 0; k < 3; k++)
        rows.offset[k] = rc_rows_find(sweep->view, sample[k], 1).offset[0];
    const real *row[RC_PIECE_ROWS] = { NULL };
    rc_tile_rows(sweep->view, sweep->memory, &rows, at.column, at.n, copy, row);
    begin_columns(c, row, at.n);
}

/* The moments of u8 that lie side by side need no reals. */
static bool counts(const rc_cpu_sweep *sweep)
{
    const rc_view *const view = sweep->view;
    return sweep->moments && view->element == RATECL_U8 && (view->strides[2] == 1 || view->shape[2] == 1);
}

static void add_counts(const rc_cpu_sweep *sweep, region at, columns *c)
{
    /* As many bytes as of reals. */
    const int64_t ahead = (int64_t)sizeof(float) * GROUP_ROWS * sweep->view->strides[1];
    const uint8_t *row[GROUP_ROWS];
    begin_counts(c, at.n);
    for (int64_t done = 0; done < at.rows; done += GROUP_ROWS) {
        const int64_t left = rc_least(GROUP_ROWS, at.rows - done);
        const rc_rows rows = rc_rows_find(sweep->view, at.first + done, left);
        for (int64_t k = 0; k < left; k++)
            row[k] = (const uint8_t *)sweep->memory + rows.offset[k] + at.column;
        if (left == GROUP_ROWS)
            add_eight_rows_of_counts(c, row, at.n, ahead);
        for (int64_t k = 0; left < GROUP_ROWS && k < left; k++)
            add_one_row_of_counts(c, row[k], at.n);
    }
    end_counts(c, at.n, at.rows);
}

static const real *row_at(const rc_cpu_sweep *sweep, region at, int64_t r)
{
    return (const real *)sweep->memory + rc_rows_find(sweep->view, r, 1).offset[0] + at.column;
}

/* Whether nothing is wanted but moments. */
static bool moments_alone(const rc_cpu_sweep *sweep)
{
    return sweep->moments && !sweep->entropy && sweep->lag_count == 0;
}

/* Of moments alone, in place, the order of the rows is free: memory answers fastest to several streams that
 * are far apart. */
static void add_streams(const rc_cpu_sweep *sweep, region at, columns *c)
{
    const int64_t length = at.rows / GROUP_ROWS, ahead = rc_tile_ahead(sweep->view, STREAM_AHEAD);
    const real *row[GROUP_ROWS];
    for (int64_t k = 0; k < length; k++) {
        for (int64_t s = 0; s < GROUP_ROWS; s++)
            row[s] = row_at(sweep, at, at.first + s * length + k);
        adding(sweep)(c, row, at.n, ahead);
    }
    for (int64_t r = at.first + GROUP_ROWS * length; r < at.first + at.rows; r++)
        add_one_row(c, row_at(sweep, at, r), at.n);
}

/* What the pieces of a region add to. */
typedef struct region_sums {
    double *rows; /* (rows, 2) */
    double *lags; /* (lag_count) */
    int exponent; /* of add_entropies() */
} region_sums;

/* How many rows from `begin` on have a later one like it, or like it none. */
static int64_t alike(const real *const *later, int64_t begin, int64_t end)
{
    int64_t k = begin + 1;
    while (k < end && (later[k] == NULL) == (later[begin] == NULL))
        k++;
    return k - begin;
}

/* Add the rows [begin, end) of a piece, with one lag or none. */
static void add_rows(const rc_cpu_sweep *sweep, const piece *p, int64_t begin, int64_t end, region at,
                     bool entropy, const real *const *later, region_sums *sums, double squares[RC_LANES])
{
    row_group rows = { .n = at.n, .ahead = rc_tile_ahead(sweep->view, GROUP_ROWS) };
    for (int64_t k = begin; k < end; k += rows.count) {
        taken unused;
        rows.x = p->row + k;
        rows.later = later[k] != NULL ? later + k : NULL;
        rows.count = alike(later, k, end);
        if (entropy)
            add_entropies(&rows, &sums->exponent, sums->rows + 2 * k, squares);
        else if (rows.later != NULL)
            take_lag(&rows, 0, &unused, squares);
    }
}

/* Groups of rows meet all that is wanted of them in the first-level cache. */
static void add_piece(const rc_cpu_sweep *sweep, const piece *p, region at, columns *c, real *copy,
                      region_sums *sums)
{
    const real *later[RC_PIECE_ROWS] = { NULL };
    for (size_t l = 0; l < sweep->lag_count || l == 0; l++) {
        double squares[RC_LANES] = { 0 };
        if (l < sweep->lag_count)
            rc_tile_later(sweep->view, sweep->memory, &p->rows, p->row, sweep->lags[l], at.column, at.n, copy,
                          later);
        for (int64_t k = 0; k < p->rows.count; k += GROUP_ROWS) {
            const int64_t end = rc_least(p->rows.count, k + GROUP_ROWS);
            if (l == 0 && sweep->moments && !counts(sweep))
                add_moments(sweep, c, p->row + k, end - k, at.n);
            add_rows(sweep, p, k, end, at, l == 0 && sweep->entropy, later, sums, squares);
        }
        if (l < sweep->lag_count)
            sums->lags[l] += rc_sum_lanes(squares);
    }
}

/* Take the columns [begin, begin + n) again in double, n <= RC_LANES, of which `again` tells those that are
 * to be. */
static void retake_vector(const rc_cpu_sweep *sweep, region at, int64_t begin, int64_t n,
                          const bool again[RC_LANES], real *copy, columns *c)
{
    double sum[RC_LANES] = { 0 }, squares[RC_LANES] = { 0 };
    for (int64_t r = at.first; r < at.first + at.rows; r += RC_PIECE_ROWS) {
        const real *row[RC_PIECE_ROWS];
        const rc_rows rows = rc_rows_find(sweep->view, r, rc_least(RC_PIECE_ROWS, at.first + at.rows - r));
        rc_tile_rows(sweep->view, sweep->memory, &rows, at.column + begin, n, copy, row);
        for (int64_t k = 0; k < rows.count; k++)
            for (int64_t j = 0; j < n; j++) {
                const double d = (double)row[k][j] - (double)c->shift[begin + j];
                sum[j] += d;
                squares[j] += d * d;
            }
    }
    for (int64_t j = 0; j < n; j++)
        if (again[j]) {
            c->sum[begin + j] = sum[j];
            c->squares[begin + j] = squares[j];
        }
}

/* Take the columns again whose squares have left the range of reals. */
static void retake_columns(const rc_cpu_sweep *sweep, region at, real *copy, columns *c)
{
    for (int64_t begin = 0; begin < at.n; begin += RC_LANES) {
        const int64_t n = rc_least(RC_LANES, at.n - begin);
        bool again[RC_LANES] = { false }, any = false;
        for (int64_t j = 0; j < n; j++)
            any |= again[j] = is_out_of_range(c, begin + j);
        if (any)
            retake_vector(sweep, at, begin, n, again, copy, c);
    }
}

static void sweep_tile(const rc_cpu_sweep *sweep, region at, thread_scratch *scratch, columns *c,
                       double *row_sums, double *lag_sums)
{
    const int64_t most = rc_tile_piece_rows(sweep->view);
    if (counts(sweep))
        add_counts(sweep, at, c);
    else if (sweep->moments)
        find_shift(sweep, at, scratch->now, c);
    if (moments_alone(sweep) && counts(sweep))
        return;
    if (moments_alone(sweep) && rc_tile_in_place(sweep->view)) {
        add_streams(sweep, at, c);
        return;
    }
    region_sums sums = { .lags = lag_sums };
    for (int64_t done = 0; done < at.rows; done += most) {
        piece p;
        p.rows = rc_rows_find(sweep->view, at.first + done, rc_least(most, at.rows - done));
        rc_tile_rows(sweep->view, sweep->memory, &p.rows, at.column, at.n, scratch->now, p.row);
        sums.rows = row_sums + 2 * done;
        add_piece(sweep, &p, at, c, scratch->later, &sums);
    }
}

void rc_sweep_task(const void *work, int64_t task, void *scratch)
{
    const rc_cpu_sweep *const sweep = work;
    const rc_cpu_grid *const grid = &sweep->grid;
    const int64_t N = sweep->view->shape[2], R = rc_view_rows(sweep->view);
    const int64_t band = task / grid->groups, group = task % grid->groups;
    const int64_t first = band * grid->band_rows, end = rc_least(R, first + grid->band_rows);
    const int64_t left = group * grid->group_columns, right = rc_least(N, left + grid->group_columns);
    double *const lag_sums = sweep->lag_sums + task * (int64_t)sweep->lag_count;
    const bool whole_rows = grid->groups == 1;
    const int64_t tile = rc_tile_columns(sweep->view);
    double block_sums[2 * RC_BLOCK_ROWS] = { 0 }; /* (rows, 2) */
    columns c;

    for (size_t l = 0; l < sweep->lag_count; l++)
        lag_sums[l] = 0;
    if (sweep->entropy && whole_rows)
        sweep->entropy_sums[band] = 0;
    for (int64_t r = first; r < end; r += RC_BLOCK_ROWS) {
        const int64_t rows = rc_least(RC_BLOCK_ROWS, end - r);
        double *row_sums = block_sums;
        if (sweep->entropy && !whole_rows)
            row_sums = sweep->row_sums + 2 * (group * R + r);
        for (int64_t k = 0; sweep->entropy && k < 2 * rows; k++)
            row_sums[k] = 0;
        for (int64_t i = left; i < right; i += tile) {
            const region at = { r, rows, i, rc_least(tile, right - i) };
            sweep_tile(sweep, at, scratch, &c, row_sums, lag_sums);
            if (RC_REAL_BITS == 32 && sweep->quotients && !counts(sweep))
                retake_columns(sweep, at, ((thread_scratch *)scratch)->now, &c);
            if (sweep->moments)
                merge_columns(&c, at.n, rows, r - first, sweep->mean + band * N + i,
                              sweep->deviations + band * N + i);
        }
        if (sweep->entropy && whole_rows)
            sweep->entropy_sums[band] += rc_merge_row_entropy(
                row_sums, 1, rows, rows, N, sweep->entropy_rows ? sweep->entropy_rows + 2 * r : NULL);
    }
}

size_t rc_sweep_scratch(void)
{
    return sizeof(thread_scratch);
}
