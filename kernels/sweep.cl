/* SPDX-License-Identifier: Apache-2.0 */
/* One read of the states for all sums of a plan but the Hebbian ones.
 *
 * A group takes a block of rows (numbered r = b T + t) and a tile of neurons, and gives
 *   per neuron  the block's shift, sum of S - shift, and sum of squared deviations from the mean
 *   per row     the tile's Z = sum S and A = sum S log(S / 2^e) with the exponent e of the tile's states in this
 *               block, so that large and small states keep their digits; or, in the second pass for an eps > 0,
 *               the sum of p log(p + eps), and with GRADIENT that of p^2 / (p + eps) in the place of Z
 *   per lag     the sum of (S[b,t] - S[b,t+tau])^2 over the block and the tile
 * which the merge kernels add up in a fixed order.
 *
 *   MOMENTS     1 where the sums per neuron are wanted
 *   ENTROPY     0, 1 (eps = 0; wants MOMENTS and SUMS) or 2 (the pass for an eps > 0, where Z is known)
 *   SUMS        1 where Z is wanted
 *   GRADIENT    1 where the gradient will be, too
 *   LAGS        number of lags
 *   STEP        rows a lane takes at once
 *   VECTORS     vectors of neurons a lane takes */
#ifndef MOMENTS
#define MOMENTS 1
#endif
#ifndef SUMS
#define SUMS 1
#endif
#ifndef ENTROPY
#define ENTROPY 1
#endif
#ifndef GRADIENT
#define GRADIENT 0
#endif
#ifndef LAGS
#define LAGS 1
#endif
#ifndef STEP
#define STEP 8
#endif
#ifndef VECTORS
#define VECTORS 1
#endif

#define TILE (LANES * VECTORS * VECTOR)
#define ROWS_WANTED (SUMS || ENTROPY)

/* The middle one of a, b and c: a shift that is a sample, so that equal samples deviate by exactly 0,
 * and that one outlier does not spoil. */
INLINE realv median(realv a, realv b, realv c) { return fmax(fmin(a, b), fmin(fmax(a, b), c)); }

typedef struct lane_sums {
#if MOMENTS
    realv shift[VECTORS], total[VECTORS], total_lost[VECTORS], squares[VECTORS], squares_lost[VECTORS];
#endif
#if LAGS
    realv lag[LAGS], lag_lost[LAGS];
    long tau[LAGS];
#endif
    int exponent;
} lane_sums;

/* The `rows` rows that begin at `begin`, in the VECTOR neurons from `column` on, of which `some` exist: fewer
 * than VECTOR if `tail`. The arguments `rows` and `tail` are constants wherever this is called. */
INLINE void take(lane_sums *sums, realv *z, realv *a, realv *least, const int v, const int rows, const bool tail,
                 global const element *states, const long *begin, const long *time, long column, long some,
                 long si, long st, long T, const real *z_inverse, real eps)
{
    realv x[STEP];
    for (int r = 0; r < rows; ++r) {
        const long index = begin[r] + column * si;
        x[r] = tail ? load_some(states, index, si, some) : load(states, index, si);
    }
#if MOMENTS
    realv total = (realv)0, squares = (realv)0;
    for (int r = 0; r < rows; ++r) {
        const realv d = x[r] - sums->shift[v];
        total += d;
        squares = fma(d, d, squares);
    }
    vector_add(&sums->total[v], &sums->total_lost[v], total);
    vector_add(&sums->squares[v], &sums->squares_lost[v], squares);
#endif
#if SUMS
    for (int r = 0; r < rows; ++r)
        z[r] += x[r];
#endif
#if ENTROPY == 1
    for (int r = 0; r < rows; ++r)
        a[r] = fma(x[r], logarithm(x[r], sums->exponent), a[r]);
    for (int r = 0; r < rows; ++r)
        *least = select(*least, x[r], x[r] < *least);
#elif ENTROPY == 2
    for (int r = 0; r < rows; ++r) {
        const realv p = x[r] * z_inverse[r];
        a[r] += select(p * logarithm(p + eps, 0), (realv)NAN, x[r] < (realv)0);
#if GRADIENT
        z[r] += p * p / (p + eps);
#endif
    }
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        realv squared = (realv)0;
        for (int r = 0; r < rows; ++r)
            if (time[r] + sums->tau[l] < T) {
                const long index = begin[r] + sums->tau[l] * st + column * si;
                const realv d = x[r] - (tail ? load_some(states, index, si, some) : load(states, index, si));
                squared = fma(d, d, squared);
            }
        vector_add(&sums->lag[l], &sums->lag_lost[l], squared);
    }
#endif
}

/* The `rows` rows from `row` on, in all of the lane's neurons. */
INLINE void take_rows(lane_sums *sums, const int rows, global const element *states, long row, long first_column,
                      long offset, long sb, long st, long si, long T, long N,
                      global const real *row_z, real eps, local real *scratch, global real *row_sums, long R)
{
    const int lane = get_local_id(0);
    long begin[STEP], time[STEP];
    real z_inverse[STEP];
    realv z[STEP], a[STEP], least = (realv)0;
    find_rows(begin, time, rows, row, T, offset, sb, st);
    for (int r = 0; r < rows; ++r) {
        z[r] = a[r] = (realv)0;
#if ENTROPY == 2
        z_inverse[r] = 1 / (row_z[row + r] + eps);
#endif
    }
    for (int v = 0; v < VECTORS; ++v) {
        const long column = first_column + (v * LANES + lane) * VECTOR;
        if (column + VECTOR <= N)
            take(sums, z, a, &least, v, rows, false, states, begin, time, column, VECTOR, si, st, T, z_inverse, eps);
        else if (column < N)
            take(sums, z, a, &least, v, rows, true, states, begin, time, column, N - column, si, st, T, z_inverse,
                 eps);
    }
#if ENTROPY == 1
    /* A negative state makes the value NaN, through whichever row. */
    if (any(least < (realv)0))
        a[0] = (realv)NAN;
#endif
#if ROWS_WANTED
    for (int r = 0; r < rows; ++r) {
        scratch[r * (LANES + 1) + lane] = components_sum(z[r]);
        scratch[(STEP + r) * (LANES + 1) + lane] = components_sum(a[r]);
    }
    BARRIER();
    for (int k = lane; k < 2 * rows; k += LANES) {
        const int r = k % rows, which = k / rows;
        local const real *line = scratch + (which * STEP + r) * (LANES + 1);
        real total = line[0];
        for (int other = 1; other < LANES; ++other)
            total += line[other];
        row_sums[which * R + row + r] = total;
    }
    BARRIER();
#endif
}

/* The exponent of the mean magnitude of the shifts; 0 where there is none. */
INLINE int typical_exponent(const realv *shift, local real *scratch)
{
    sum magnitudes = (sum)(0);
    for (int v = 0; v < VECTORS; ++v)
        magnitudes = sum_add(magnitudes, components_sum(fabs(shift[v]) / (real)TILE));
    const real mean = sum_value(group_sum(magnitudes, scratch));
    return mean > 0 && isfinite(mean) ? ilogb(mean) : 0;
}

/* moments: (blocks, 3, N); row_sums: (tiles, 2, R); exponents: (blocks, tiles); lag_sums: (LAGS, blocks, tiles).
 * R is all rows of the array, of which this launch takes the blocks from first_block on. row_z: (R), for
 * ENTROPY 2. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
sweep(global const element *restrict states, long offset, long sb, long st, long si, long T, long N, long R,
      long block_rows, long blocks, long first_block, global const long *restrict taus,
      global const real *restrict row_z, real eps, global real *restrict moments, global real *restrict row_sums,
      global int *restrict exponents, global real *restrict lag_sums)
{
    local real scratch[ROWS_WANTED ? 2 * STEP * (LANES + 1) : 2 * LANES];
    const int lane = get_local_id(0);
    const long tiles = (N + TILE - 1) / TILE;
    const long block = first_block + get_group_id(0) / tiles, tile = get_group_id(0) % tiles;
    const long first_row = block * block_rows, rows = min(block_rows, R - first_row);
    const long first_column = tile * TILE;
    global real *tile_rows = row_sums + tile * 2 * R;

    lane_sums sums;
    sums.exponent = 0;
#if MOMENTS
    const long begin_0 = row_begin(first_row, T, offset, sb, st);
    const long begin_1 = row_begin(first_row + rows / 2, T, offset, sb, st);
    const long begin_2 = row_begin(first_row + rows - 1, T, offset, sb, st);
    for (int v = 0; v < VECTORS; ++v) {
        const long column = first_column + (v * LANES + lane) * VECTOR, some = N - column;
        sums.shift[v] = median(load_some(states, begin_0 + column * si, si, some),
                               load_some(states, begin_1 + column * si, si, some),
                               load_some(states, begin_2 + column * si, si, some));
        sums.total[v] = sums.total_lost[v] = sums.squares[v] = sums.squares_lost[v] = (realv)0;
    }
#endif
#if SUMS
#if ENTROPY
    sums.exponent = typical_exponent(sums.shift, scratch);
#endif
    if (lane == 0)
        exponents[block * tiles + tile] = sums.exponent;
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        sums.lag[l] = sums.lag_lost[l] = (realv)0;
        sums.tau[l] = taus[l];
    }
#endif

    long row = first_row;
    for (; row + STEP <= first_row + rows; row += STEP)
        take_rows(&sums, STEP, states, row, first_column, offset, sb, st, si, T, N, row_z, eps, scratch,
                  tile_rows, R);
#if STEP > 1
    for (; row < first_row + rows; ++row)
        take_rows(&sums, 1, states, row, first_column, offset, sb, st, si, T, N, row_z, eps, scratch,
                  tile_rows, R);
#endif

#if MOMENTS
    for (int v = 0; v < VECTORS; ++v) {
        const long column = first_column + (v * LANES + lane) * VECTOR;
        const realv total = sums.total[v] - sums.total_lost[v], delta = total / (real)rows;
        const realv spread = sums.squares[v] - sums.squares_lost[v] - (real)rows * delta * delta;
        const long at = block * 3 * N + column, some = N - column;
        if (some <= 0)
            continue;
        store_reals(moments, at, some, sums.shift[v]);
        store_reals(moments, at + N, some, total);
        store_reals(moments, at + 2 * N, some, select(spread, (realv)0, spread < (realv)0)); /* keeps a NaN */
    }
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        const sum mine = (sum)(components_sum(sums.lag[l]), -components_sum(sums.lag_lost[l]));
        const sum all = group_sum(mine, scratch);
        if (lane == 0)
            lag_sums[(l * blocks + block) * tiles + tile] = sum_value(all);
    }
#endif
}
