/* SPDX-License-Identifier: Apache-2.0 */
/* One write of the gradient for all terms, after at most one read of the array that it belongs to:
 *
 *   g = offset + slope ((S - mean) scale)                            per neuron, the scale with DIVERGENCE
 *     + sum over lags of factor ((S - S[t + tau]) + (S - S[t - tau]))
 *     + sum over eps of factor dH/dS                                 with what merge left of the row
 *     + (factor sign(E_b) + factor sign(E_bt)) product               hebbian: S (W + W^T)
 *
 * A group takes the block of rows and the tile of neurons that it took in the sweep. Compile-time parameters:
 *   READS       1 where S is read
 *   SLOPES      1 where that is for the slopes, too
 *   LAGS        number of lags
 *   ENTROPIES   number of eps; ZERO_FIRST 1 where the first of them is 0
 *   PRODUCT     1 for the Hebbian product with the signs of batches, 2 with those of rows, 3 with both; else 0
 *   STEP        rows a lane takes at once; VECTOR with ALONG or OUTPUT_ALONG
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

/* What all rows have in common. */
typedef struct whole {
    global const element *states;
    global const real *statistics, *lines, *factors, *epsilons, *product;
    global output *gradient;
    long st, si, output_st, output_si, N;
} whole;

/* Some rows of one batch that alike have rows tau steps later and earlier, or alike have none. */
typedef struct row_set {
    long begin, begin_output, row;
#if LAGS
    long later[LAGS], earlier[LAGS]; /* from a row to those, or to itself where there are none */
#endif
#if ENTROPIES
    real centre[ENTROPIES][STEP], slope[ENTROPIES][STEP], inverse[ENTROPIES][STEP];
#endif
#if PRODUCT
    real sign[STEP];
#endif
} row_set;

INLINE realv load_states(const whole *all, long index, long some, const bool tail)
{
    return tail ? load_some(all->states, index, all->si, some) : load(all->states, index, all->si);
}

/* Neighbours in memory: VECTOR neurons of a row, or with ALONG and several rows VECTOR steps of a neuron. */
INLINE realv load_line(const whole *all, long index, const int rows, long some, const bool tail)
{
#if ALONG
    if (rows > 1)
        return load_neighbours(all->states + index);
#endif
    return load_states(all, index, some, tail);
}

#if ENTROPIES
/* eps = 0: dH/dS = -(log p + H)/Z with p = S/Z; else (h - sum p h)/(Z + eps) with h = -log(p + eps) - p/(p + eps). */
INLINE realv entropy_part(const whole *all, const row_set *set, realv x, const int r, realv g)
{
    for (int e = 0; e < ENTROPIES; ++e) {
        const realv p = x * set->inverse[e][r];
        if (ZERO_FIRST && e == 0) {
            const realv h = -(logarithm(p, 0) + set->centre[e][r]);
            g = x == (realv)0 ? g : fma(h, (realv)set->slope[e][r], g);
        } else {
            const real eps = all->epsilons[e], log_eps = all->epsilons[ENTROPIES + e];
            const realv log_q = select(logarithm(p + eps, 0), (realv)log_eps, p == (realv)0);
            g -= (log_q + p / (p + eps) + set->centre[e][r]) * set->slope[e][r];
        }
    }
    return g;
}
#endif

/* The gradient of the rows in the VECTOR neurons from `column` on, of which `some` exist: fewer than VECTOR if
 * `tail`. The arguments `rows` and `tail` are constants wherever this is called. */
INLINE void give(const whole *all, const row_set *set, const int rows, const bool tail, long column, long some,
                 integerv *finite)
{
    const long N = all->N;
    const realv offset = load_reals(all->lines, column, some);
#if SLOPES
    const realv slope = load_reals(all->lines, N + column, some);
    const realv mean = load_reals(all->statistics, column, some);
    const realv mean_low = load_reals(all->statistics, N + column, some);
#endif
#if SLOPES && DIVERGENCE
    const realv scale = scale_of_slope(load_reals(all->statistics, 2 * N + column, some));
#endif
    const long index = set->begin + column * all->si;
    realv g[STEP];
#if READS && ALONG
    realv block[STEP];
    if (rows > 1)
        load_block(block, all->states + index, all->si);
#endif
#pragma unroll
    for (int r = 0; r < rows; ++r) {
        g[r] = offset;
#if READS && ALONG
        const realv x = rows > 1 ? block[r] : load_states(all, index, some, tail);
#elif READS
        if (rows > 1)
            AHEAD(all->states + index + (r + STEP) * all->st);
        const realv x = load_states(all, index + r * all->st, some, tail);
#endif
#if SLOPES && DIVERGENCE
        g[r] = fma(((x - mean) - mean_low) * scale, slope, g[r]);
#elif SLOPES
        g[r] = fma((x - mean) - mean_low, slope, g[r]);
#endif
#if ENTROPIES
        g[r] = entropy_part(all, set, x, r, g[r]);
#endif
#if PRODUCT
        g[r] = fma(load_reals(all->product, (set->row + r) * N + column, some), (realv)set->sign[r], g[r]);
#endif
    }
#if OUTPUT_ALONG
    if (rows > 1)
        transpose(g); /* and is from here on the gradient of neurons, step by step */
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        if (!set->later[l] && !set->earlier[l])
            continue;
        realv differences[STEP];
#pragma unroll
        for (int r = 0; r < rows; ++r) {
            const long at = index + r * (ALONG && rows > 1 ? all->si : all->st);
            const realv x = load_line(all, at, rows, some, tail);
            differences[r] = (x - load_line(all, at + set->later[l], rows, some, tail)) +
                             (x - load_line(all, at + set->earlier[l], rows, some, tail));
        }
#if ALONG != OUTPUT_ALONG
        if (rows > 1)
            transpose(differences);
#endif
#pragma unroll
        for (int r = 0; r < rows; ++r)
            g[r] = fma(differences[r], (realv)all->factors[l], g[r]);
    }
#endif
    /* After all loads: a processor may take a load for one of what was just stored a multiple of 4 KiB away. */
    const long to = set->begin_output + column * all->output_si;
#pragma unroll
    for (int r = 0; r < rows; ++r) {
        *finite &= are_finite(g[r]);
#if OUTPUT_ALONG
        if (rows > 1) {
            store_neighbours(all->gradient + to + r * all->output_si, g[r]);
            continue;
        }
#endif
        store(all->gradient, to + r * all->output_st, all->output_si, some, g[r]);
    }
}

/* Where what belongs to rows lies. row_factors: (ENTROPIES, 2, R); batch_energies: (B); row_energies: (R). */
typedef struct row_inputs {
    global const real *row_factors, *batch_energies, *row_energies;
    global const long *taus;
    long offset, sb, output_offset, output_sb, T, R;
} row_inputs;

/* The `rows` rows from `row` on. */
INLINE void find_set(row_set *set, const whole *all, const row_inputs *in, int rows, long row)
{
    const long T = in->T, R = in->R;
    set->row = row;
    set->begin = row_begin(row, T, in->offset, in->sb, all->st);
    set->begin_output = row_begin(row, T, in->output_offset, in->output_sb, all->output_st);
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        const long tau = in->taus[l], t = row % T;
        set->later[l] = t + tau < T ? in->taus[LAGS + l] * all->st : 0;
        set->earlier[l] = t >= tau ? in->taus[2 * LAGS + l] * all->st : 0;
    }
#endif
    for (int r = 0; r < rows; ++r) {
#if ENTROPIES
        for (int e = 0; e < ENTROPIES; ++e) {
            set->centre[e][r] = in->row_factors[2 * e * R + row + r];
            set->inverse[e][r] = in->row_factors[(2 * e + 1) * R + row + r];
            set->slope[e][r] = all->factors[LAGS + e] * set->inverse[e][r];
        }
#endif
#if PRODUCT
        set->sign[r] = 0;
#endif
#if PRODUCT & 1
        set->sign[r] += all->factors[LAGS + ENTROPIES] * sign(in->batch_energies[row / T]);
#endif
#if PRODUCT & 2
        set->sign[r] += all->factors[LAGS + ENTROPIES + 1] * sign(in->row_energies[row + r]);
#endif
    }
}

/* The rows, in all of the lane's neurons. */
INLINE void give_rows(const whole *all, const row_set *set, const int rows, long first_column, integerv *finite)
{
    for (int v = 0; v < VECTORS; ++v) {
        const long column = first_column + (v * LANES + LANE) * VECTOR;
        if (column + VECTOR > all->N)
            break;
        give(all, set, rows, false, column, VECTOR, finite);
    }
}

/* How many of the `most` rows from time step t on can be taken at once: STEP, or 1, and that where `together` does not
 * hold. */
INLINE int rows_alike(long t, long most, long T, global const long *taus, bool together)
{
    bool alike = together && most >= STEP && t + STEP <= T;
    for (int l = 0; l < LAGS; ++l)
        alike = alike && (t + STEP + taus[l] <= T || t + taus[l] >= T) && (t >= taus[l] || t + STEP <= taus[l]);
    return alike ? STEP : 1;
}

/* lines: (2, N), offset and slope; statistics: (3, N); epsilons: (2, ENTROPIES), eps and log eps; factors: (LAGS +
 * ENTROPIES + 2); product: (R, N); taus: (3, LAGS), as sweep.cl has them. The launch takes the blocks from first_block to
 * end_block. results[spoiled_place] becomes 1 where a number of the gradient is not finite. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
gradient(global const element *restrict states, long offset, long sb, long st, long si,
         global output *restrict gradients, long output_offset, long output_sb, long output_st, long output_si, long T,
         long N, long R, long block_rows, long first_block, long end_block, global const real *restrict statistics,
         global const real *restrict lines, global const real *restrict factors, global const long *restrict taus,
         global const real *restrict epsilons, global const real *restrict row_factors,
         global const real *restrict product, global const real *restrict batch_energies,
         global const real *restrict row_energies, global long *restrict results, long spoiled_place)
{
    const long tiles = (N + TILE - 1) / TILE;
    /* Backwards: what the sweep read last may still be in a cache. */
    const long block = end_block - 1 - get_group_id(0) / tiles, first_column = get_group_id(0) % tiles * TILE;
    const long first_row = block * block_rows, end = min(first_row + block_rows, R);
    const whole all = { states, statistics, lines, factors, epsilons, product, gradients, st, si, output_st, output_si,
                        N };
    const row_inputs in = { row_factors, batch_energies, row_energies, taus, offset, sb, output_offset, output_sb, T, R };
    const long tail_column = N - N % VECTOR;
    const bool tail = tail_column < N && tail_column >= first_column && tail_column < first_column + TILE &&
                      (tail_column - first_column) / VECTOR % LANES == LANE;
    const bool together = (!ALONG | (st == 1)) & (!OUTPUT_ALONG | (output_st == 1));
    row_set set;
    integerv finite = (integerv)-1;
    if (block < first_block)
        return;
    for (long row = first_row; row < end;) {
        const int count = rows_alike(row % T, end - row, T, taus, together);
        find_set(&set, &all, &in, count, row);
        if (count == STEP)
            give_rows(&all, &set, STEP, first_column, &finite);
        else
            give_rows(&all, &set, 1, first_column, &finite);
        for (int r = 0; tail && r < count; ++r) {
            find_set(&set, &all, &in, 1, row + r);
            give(&all, &set, 1, true, tail_column, N - tail_column, &finite);
        }
        row += count;
    }
    if (any(~finite))
        results[spoiled_place] = 1;
}
