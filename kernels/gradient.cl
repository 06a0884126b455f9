/* SPDX-License-Identifier: Apache-2.0 */
/* One write of the gradient for all terms, after at most one read of the array that it belongs to:
 *
 *   g = offset + slope (S - mean)                                    per neuron
 *     + sum over lags of factor ((S - S[t + tau]) + (S - S[t - tau]))
 *     + sum over eps of factor dH/dS                                 with what merge_entropy left of the row
 *     + (factor sign(E_b) + factor sign(E_bt)) product               hebbian: S (W + W^T)
 *
 * A group takes the block of rows and the tile of neurons that it took in the sweep. Compile-time parameters:
 *   READS       1 where S is read
 *   SLOPES      1 where that is for the slopes, too
 *   LAGS        number of lags
 *   ENTROPIES   number of eps; ZERO_FIRST 1 where the first of them is 0
 *   PRODUCT     1 for the Hebbian product with the signs of batches, 2 with those of rows, 3 with both; else 0
 *   STEP        rows a lane takes at once
 *   VECTORS     vectors of neurons a lane takes */
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
#ifndef STEP
#define STEP 8
#endif
#ifndef VECTORS
#define VECTORS 1
#endif

#define TILE (LANES * VECTORS * VECTOR)

/* What the rows of a step have in common: memory indices, time steps, and numbers per row. */
typedef struct row_data {
    long begin[STEP], time[STEP], begin_output[STEP];
#if ENTROPIES
    real centre[ENTROPIES][STEP], inverse[ENTROPIES][STEP];
#endif
#if PRODUCT
    real sign[STEP];
#endif
} row_data;

/* What all rows have in common. */
typedef struct whole {
    global const element *states;
    global const real *statistics, *lines, *factors, *epsilons, *product;
    global const long *taus;
    global output *gradient;
    long st, si, output_si, T, N;
    int exponent;
} whole;

INLINE realv load_states(const whole *all, long index, long some, const bool tail)
{
    return tail ? load_some(all->states, index, all->si, some) : load(all->states, index, all->si);
}

#if LAGS
/* The differences from the states tau steps later and earlier, where these exist. */
INLINE realv lag_part(const whole *all, realv x, long index, long time, long some, const bool tail)
{
    realv g = (realv)0;
    for (int l = 0; l < LAGS; ++l) {
        const long tau = all->taus[l];
        realv differences = (realv)0;
        if (time + tau < all->T)
            differences += x - load_states(all, index + tau * all->st, some, tail);
        if (time >= tau)
            differences += x - load_states(all, index - tau * all->st, some, tail);
        g = fma(differences, (realv)all->factors[l], g);
    }
    return g;
}
#endif

#if ENTROPIES
/* eps = 0: dH/dS = (A/Z - log S)/Z; else (h - sum p h)/(Z + eps) with h = -log(p + eps) - p/(p + eps). */
INLINE realv entropy_part(const whole *all, realv x, const row_data *rows, const int r)
{
    realv g = (realv)0;
    for (int e = 0; e < ENTROPIES; ++e) {
        const real inverse = rows->inverse[e][r], factor = all->factors[LAGS + e] * inverse;
        if (ZERO_FIRST && e == 0) {
            const realv h = rows->centre[e][r] - logarithm(x, all->exponent);
            g += select(h * factor, (realv)0, x == (realv)0);
        } else {
            const real eps = all->epsilons[e];
            const realv p = x * inverse;
            g -= (logarithm(p + eps, 0) + p / (p + eps) + rows->centre[e][r]) * factor;
        }
    }
    return g;
}
#endif

/* The gradient of `count` rows in the VECTOR neurons from `column` on, of which `some` exist: fewer than VECTOR
 * if `tail`. The arguments `count` and `tail` are constants wherever this is called. */
INLINE void give(const whole *all, const row_data *rows, const int count, const bool tail, long row, long column,
                 long some)
{
    const long N = all->N;
    const realv offset = load_reals(all->lines, column, some);
#if SLOPES
    const realv slope = load_reals(all->lines, N + column, some);
    const realv mean = load_reals(all->statistics, column, some);
    const realv mean_low = load_reals(all->statistics, N + column, some);
#endif
    for (int r = 0; r < count; ++r) {
        realv g = offset;
#if READS
        const long index = rows->begin[r] + column * all->si;
        const realv x = load_states(all, index, some, tail);
#endif
#if SLOPES
        g = fma((x - mean) - mean_low, slope, g);
#endif
#if LAGS
        g += lag_part(all, x, index, rows->time[r], some, tail);
#endif
#if ENTROPIES
        g += entropy_part(all, x, rows, r);
#endif
#if PRODUCT
        g = fma(load_reals(all->product, (row + r) * N + column, some), (realv)rows->sign[r], g);
#endif
        store(all->gradient, rows->begin_output[r] + column * all->output_si, all->output_si, some, g);
    }
}

/* row_factors: (ENTROPIES, 2, R); sums from batches on: (B), each batch's energy; row_energies: (R). */
typedef struct row_inputs {
    global const real *row_factors, *sums, *row_energies;
    long batches, offset, sb, output_offset, output_sb, output_st, R;
} row_inputs;

/* The `count` rows from `row` on, in all of the lane's neurons. */
INLINE void give_rows(const whole *all, const row_inputs *in, const int count, long row, long first_column)
{
    row_data rows;
    find_rows(rows.begin, rows.time, count, row, all->T, in->offset, in->sb, all->st);
    find_rows(rows.begin_output, rows.time, count, row, all->T, in->output_offset, in->output_sb, in->output_st);
    for (int r = 0; r < count; ++r) {
#if ENTROPIES
        for (int e = 0; e < ENTROPIES; ++e) {
            rows.centre[e][r] = in->row_factors[2 * e * in->R + row + r];
            rows.inverse[e][r] = in->row_factors[(2 * e + 1) * in->R + row + r];
        }
#endif
#if PRODUCT
        rows.sign[r] = 0;
#endif
#if PRODUCT & 1
        rows.sign[r] += all->factors[LAGS + ENTROPIES] * sign(in->sums[in->batches + (row + r) / all->T]);
#endif
#if PRODUCT & 2
        rows.sign[r] += all->factors[LAGS + ENTROPIES + 1] * sign(in->row_energies[row + r]);
#endif
    }
    for (int v = 0; v < VECTORS; ++v) {
        const long column = first_column + (v * LANES + get_local_id(0)) * VECTOR;
        if (column + VECTOR <= all->N)
            give(all, &rows, count, false, row, column, VECTOR);
        else if (column < all->N)
            give(all, &rows, count, true, row, column, all->N - column);
    }
}

/* lines: (2, N), offset and slope; statistics: (3, N); factors: (LAGS + ENTROPIES + 2); exponents: (blocks);
 * product: (R, N). */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
gradient(global const element *restrict states, long offset, long sb, long st, long si,
         global output *restrict gradients, long output_offset, long output_sb, long output_st, long output_si, long T,
         long N, long R, long block_rows, long first_block, global const real *restrict statistics,
         global const real *restrict lines, global const real *restrict factors, global const long *restrict taus,
         global const real *restrict epsilons, global const real *restrict row_factors,
         global const int *restrict exponents, global const real *restrict product, long batches,
         global const real *restrict sums, global const real *restrict row_energies)
{
    const long tiles = (N + TILE - 1) / TILE;
    const long block = first_block + get_group_id(0) / tiles, first_column = get_group_id(0) % tiles * TILE;
    const long first_row = block * block_rows, end = min(first_row + block_rows, R);
    const whole all = { states, statistics, lines, factors, epsilons, product, taus, gradients, st, si, output_si, T, N,
                        ENTROPIES && ZERO_FIRST ? exponents[block] : 0 };
    const row_inputs in = { row_factors, sums, row_energies, batches, offset, sb, output_offset, output_sb, output_st,
                            R };
    long row = first_row;
    for (; row + STEP <= end; row += STEP)
        give_rows(&all, &in, STEP, row, first_column);
#if STEP > 1
    for (; row < end; ++row)
        give_rows(&all, &in, 1, row, first_column);
#endif
}
