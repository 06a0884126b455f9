/* SPDX-License-Identifier: Apache-2.0 */
/* One write of the gradient for all terms, after at most one read of the array that it belongs to:
 *
 *   g = offset + slope ((S - mean) scale)                            per neuron, the scale with DIVERGENCE
 *     + sum over lags of factor ((S - S[t + tau]) + (S - S[t - tau]))
 *     + sum over eps of factor dH/dS                                 with what merge left of the row
 *     + (factor sign(E_b) + factor sign(E_bt)) product               hebbian: S (W + W^T)
 *
 * A work-group takes a block of rows and a tile of neurons as in sweep.cl. Compile-time parameters:
 *   READS       1 where S is read
 *   SLOPES      1 where that is for the slopes, too
 *   LAGS        number of lags
 *   ENTROPIES   number of eps; ZERO_FIRST 1 where the first of them is 0
 *   PRODUCT     1 for the Hebbian product with the signs of batches, 2 with those of rows, 3 with both; else 0
 *   ALIGNED     1 where that holds for both arrays, which then have the same order */
#ifndef READS
#define READS 1
#endif
#ifndef SLOPES
#define SLOPES 1
#endif
#ifndef LAGS
#define LAGS 1
#endif
#ifndef ENTROPIES
#define ENTROPIES 1
#endif
#ifndef ZERO_FIRST
#define ZERO_FIRST 1
#endif
#ifndef PRODUCT
#define PRODUCT 0
#endif

/* All rows have this in common; `in` is the array that is read and `out` the one that is written. */
typedef struct whole {
    place in, out;
    long N, R, column; /* of the first of the work-item's columns */
    row_index T;
    real offset[COLUMNS];
#if SLOPES
    real slope[COLUMNS], mean[COLUMNS];
#if DIVERGENCE
    real scale[COLUMNS];
#endif
#endif
    global const real *factors, *epsilons, *row_factors, *product, *batch_energies, *row_energies;
    global const long *taus;
} whole;

/* Write `count` neighbours from p on, which is a multiple of so many elements; 1, 2 or 4, a constant. */
INLINE void store_vector(global output *p, const real *from, const int count)
{
    if (count == 1) {
        *p = (output)from[0];
    } else if (count == 2) {
        *(global PASTE(OUTPUT_TYPE, 2) *)p = (PASTE(OUTPUT_TYPE, 2))((output)from[0], (output)from[1]);
    } else {
        *(global PASTE(OUTPUT_TYPE, 4) *)p =
            (PASTE(OUTPUT_TYPE, 4))((output)from[0], (output)from[1], (output)from[2], (output)from[3]);
    }
}

/* Write the work-item's columns of one row. */
INLINE void store_row(global output *p, const real g[COLUMNS], const place *out)
{
#if ALIGNED && !ALONG && !ACCUMULATE && COLUMNS <= 4
    if (out->columns > 0)
        store_vector(p, g, COLUMNS);
#else
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        if (v < out->columns)
#if ACCUMULATE
            p[v * out->next] += (output)g[v];
#else
            p[v * out->next] = (output)g[v];
#endif
#endif
}

/* Write STEP rows; `aligned` as in load_rows(). */
INLINE void store_rows(global output *p, real g[STEP][COLUMNS], const place *out, bool aligned)
{
#if ALIGNED && ALONG && !ACCUMULATE && STEP <= 4
    if (aligned && out->vectors_along) {
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v) {
            real x[STEP];
#pragma unroll
            for (int k = 0; k < STEP; ++k)
                x[k] = g[k][v];
            if (v < out->columns)
                store_vector(p + v * out->next, x, STEP);
        }
        return;
    }
#endif
#pragma unroll
    for (int k = 0; k < STEP; ++k)
        store_row(p + k * out->st, g[k], out);
}

#if ENTROPIES
/* eps = 0: dH/dS = -(log p + H)/Z with p = S/Z; else (h - sum p h)/(Z + eps) with h = -log(p + eps) - p/(p + eps). */
INLINE void add_entropies(real g[COLUMNS], const real s[COLUMNS], const whole *all, long row)
{
#pragma unroll
    for (int e = 0; e < ENTROPIES; ++e) {
        const real centre = all->row_factors[2 * e * all->R + row], inverse = all->row_factors[(2 * e + 1) * all->R + row];
        const real slope = all->factors[LAGS + e] * inverse;
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v) {
            const real p = s[v] * inverse;
            if (ZERO_FIRST && e == 0) {
                g[v] = s[v] == 0 ? g[v] : fma(-(logarithm_one(p, 0) + centre), slope, g[v]);
            } else {
                const real eps = all->epsilons[e], log_eps = all->epsilons[ENTROPIES + e];
                g[v] -= ((p == 0 ? log_eps : logarithm_one(p + eps, 0)) + p / (p + eps) + centre) * slope;
            }
        }
    }
}
#endif

#if PRODUCT
INLINE void add_product(real g[COLUMNS], const whole *all, long b, long row)
{
    real sign_ = 0;
#if PRODUCT & 1
    sign_ += all->factors[LAGS + ENTROPIES] * sign(all->batch_energies[b]);
#endif
#if PRODUCT & 2
    sign_ += all->factors[LAGS + ENTROPIES + 1] * sign(all->row_energies[row]);
#endif
    global const real *from = all->product + row * all->N + all->column;
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        if (v < all->out.columns)
            g[v] = fma(from[v * NEXT_COLUMN], sign_, g[v]);
}
#endif

#if LAGS
/* Add the differences of a row from those tau time steps later and earlier, where there are such. */
INLINE void add_differences(real g[COLUMNS], const real s[COLUMNS], const whole *all, global const element *p, row_index t,
                            int l)
{
    const row_index tau = (row_index)all->taus[l];
    const real factor = all->factors[l];
    real other[COLUMNS];
    if (t < all->T - tau) {
        load_row(other, p + (row_index)all->taus[LAGS + l] * all->in.st, &all->in, 0);
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v)
            g[v] = fma(s[v] - other[v], factor, g[v]);
    }
    if (t >= tau) {
        load_row(other, p + (row_index)all->taus[2 * LAGS + l] * all->in.st, &all->in, 0);
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v)
            g[v] = fma(s[v] - other[v], factor, g[v]);
    }
}

/* The same of STEP rows that all have both, for a lag of 1. */
INLINE void add_next_differences(real g[STEP][COLUMNS], real s[STEP][COLUMNS], const whole *all, global const element *p,
                                 real factor)
{
    real before[COLUMNS], after[COLUMNS];
    load_row(before, p - all->in.st, &all->in, 0);
    load_row(after, p + STEP * all->in.st, &all->in, 0);
#pragma unroll
    for (int k = 0; k < STEP; ++k)
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v) {
            const real later = k + 1 < STEP ? s[k + 1 < STEP ? k + 1 : k][v] : after[v];
            const real earlier = k > 0 ? s[k > 0 ? k - 1 : k][v] : before[v];
            g[k][v] = fma((s[k][v] - later) + (s[k][v] - earlier), factor, g[k][v]);
        }
}
#endif

/* True if all lags are 1. */
INLINE bool has_short_lags(global const long *taus)
{
    bool short_ = true;
    for (int l = 0; l < LAGS; ++l)
        short_ = short_ && taus[l] == 1;
    return short_;
}

/* The gradient of `rows` rows, a constant: STEP, or 1; the first is row `row`, or time step t of batch b, at p and q. */
INLINE void give(const whole *all, global const element *p, global output *q, row_index b, row_index t, long row,
                 const int rows, bool *finite)
{
    real g[STEP][COLUMNS];
#if READS
    real s[STEP][COLUMNS];
    if (rows > 1)
        load_rows(s, p, &all->in, t % STEP == 0, 0);
    else
        load_row(s[0], p, &all->in, 0);
#endif
#pragma unroll
    for (int k = 0; k < rows; ++k) {
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v)
            g[k][v] = all->offset[v];
#if SLOPES
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v)
#if DIVERGENCE
            g[k][v] = fma((s[k][v] - all->mean[v]) * all->scale[v], all->slope[v], g[k][v]);
#else
            g[k][v] = fma(s[k][v] - all->mean[v], all->slope[v], g[k][v]);
#endif
#endif
    }
#if LAGS
    for (int l = 0; l < LAGS; ++l)
        if (rows > 1)
            add_next_differences(g, s, all, p, all->factors[l]);
        else
            add_differences(g[0], s[0], all, p, t, l);
#endif
#pragma unroll
    for (int k = 0; k < rows; ++k) {
#if ENTROPIES
        add_entropies(g[k], s[k], all, row + k);
#endif
#if PRODUCT
        add_product(g[k], all, b, row + k);
#endif
    }
#pragma unroll
    for (int k = 0; k < rows; ++k)
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v)
            *finite &= (v >= all->out.columns) | is_finite(g[k][v]); /* what lies past neuron N is not written */
    if (rows > 1)
        store_rows(q, g, &all->out, t % STEP == 0);
    else
        store_row(q, g[0], &all->out);
}

/* lines: (2, N), offset and slope; statistics: (3, N); epsilons: (2, ENTROPIES), eps and log eps; factors: (LAGS +
 * ENTROPIES + 2); row_factors: (ENTROPIES, 2, R); product: (R, N); batch_energies: (B); row_energies: (R); taus: (3, LAGS),
 * as sweep.cl has them. The launch takes the blocks from first_block to end_block. results[spoiled_place] becomes 1 where
 * a number of the gradient is not finite. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) SUB_GROUP_SIZE void
gradient(global const element *restrict states, long offset, long sb, long st, long si,
         global output *restrict gradients, long output_offset, long output_sb, long output_st, long output_si, long T,
         long N, long R, long block_rows, long first_block, long end_block, global const real *restrict statistics,
         global const real *restrict lines, global const real *restrict factors, global const long *restrict taus,
         global const real *restrict epsilons, global const real *restrict row_factors,
         global const real *restrict product, global const real *restrict batch_energies,
         global const real *restrict row_energies, global long *restrict results, long spoiled_place)
{
    const int x = LANE_X, y = LANE_Y;
    const uint group = (uint)get_group_id(0), tiles = (uint)((N + TILE - 1) / TILE); /* 64-bit divisions take long */
    /* Backwards: what the sweep read last may still be in a cache. */
    const long tile = group % tiles, block = end_block - 1 - group / tiles, first_row = block * block_rows;
    const long column = tile * TILE + COLUMN(x, 0);
    const int rows = (int)min(block_rows, R - first_row), columns = columns_of(N - tile * TILE, x);
    if (block < first_block || columns == 0)
        return;
    whole all = { .in = { st, NEXT_COLUMN * si, columns, st == 1 },
                  .out = { output_st, NEXT_COLUMN * output_si, columns, output_st == 1 },
                  .N = N, .T = (row_index)T, .R = R, .column = column, .factors = factors, .epsilons = epsilons,
                  .row_factors = row_factors, .product = product, .batch_energies = batch_energies,
                  .row_energies = row_energies, .taus = taus };
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) {
        const long i = min(column + v * NEXT_COLUMN, N - 1);
        all.offset[v] = lines[i];
#if SLOPES
        all.mean[v] = statistics[i];
        all.slope[v] = lines[N + i];
#if DIVERGENCE
        all.scale[v] = scale_one_of_slope(statistics[2 * N + i]);
        all.offset[v] = fma(-statistics[N + i] * all.scale[v], all.slope[v], all.offset[v]);
#else
        all.offset[v] = fma(-statistics[N + i], all.slope[v], all.offset[v]);
#endif
#endif
    }
    states += offset + column * si;
    gradients += output_offset + column * output_si;
    position at;
    find_row(&at, first_row, all.T);
    advance(&at, y * STEP, all.T);
    global const element *p = states + at.b * sb + at.t * st;
    global output *q = gradients + at.b * output_sb + at.t * output_st;
    const long in_stride = ROWS * st, out_stride = ROWS * output_st;
    bool finite = true;
    /* Rows are taken together where all have both neighbours. */
    const row_index inner = LAGS > 0, last_inner = has_short_lags(taus) ? all.T - STEP - inner : -1;
    for (int row = y * STEP; row < rows; row += ROWS) {
        if (row + STEP <= rows && at.t >= inner && at.t <= last_inner) {
            give(&all, p, q, at.b, at.t, first_row + row, STEP, &finite);
        } else {
            position one = at;
#pragma unroll 1
            for (int k = 0; k < min(STEP, rows - row); ++k, advance(&one, 1, all.T))
                give(&all, states + one.b * sb + one.t * st, gradients + one.b * output_sb + one.t * output_st, one.b,
                     one.t, first_row + row + k, 1, &finite);
        }
        p += in_stride;
        q += out_stride;
        at.t += ROWS;
        if (at.t >= all.T) {
            advance(&at, 0, all.T);
            p = states + at.b * sb + at.t * st;
            q = gradients + at.b * output_sb + at.t * output_st;
        }
    }
    if (!finite)
        results[spoiled_place] = 1;
}
