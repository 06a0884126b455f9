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
 *   STEP        rows a lane takes at once; VECTOR with ALONG
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
#endif
    realv least;
    int exponent;
} lane_sums;

/* Some rows of one batch, `st` apart, that alike have a row tau steps later or alike have none. */
typedef struct row_set {
    global const element *first;
    long st, si;
#if LAGS
    long lag[LAGS]; /* from a row to that one; 0: there is none */
#endif
    real z_inverse[STEP], eps;
} row_set;

INLINE realv load_states(global const element *p, long si, long some, const bool tail)
{
    return tail ? load_some(p, 0, si, some) : load(p, 0, si);
}

/* The rows, in the VECTOR neurons from `column` on, of which `some` exist: fewer than VECTOR if `tail`. The arguments
 * `rows` and `tail` are constants wherever this is called: all that belongs to one row stays in registers. */
INLINE void take(lane_sums *sums, realv *z, realv *a, const int v, const int rows, const bool tail,
                 const row_set *set, long column, long some)
{
    global const element *first = set->first + column * set->si;
    const long st = set->st, si = set->si;
#if MOMENTS
    const realv shift = sums->shift[v];
    realv total = (realv)0, squares = (realv)0;
#endif
#if ALONG
    realv block[STEP];
    if (rows > 1)
        load_block(block, first, si);
#endif
#pragma unroll
    for (int r = 0; r < rows; ++r) {
#if ALONG
        const realv x = rows > 1 ? block[r] : load_states(first, si, some, tail);
#else
        if (rows > 1)
            AHEAD(first + (r + STEP) * st);
        const realv x = load_states(first + r * st, si, some, tail);
#endif
#if MOMENTS
        const realv d = x - shift;
        total += d;
        squares = fma(d, d, squares);
#endif
#if SUMS
        z[r] += x;
#endif
#if ENTROPY == 1
        a[r] = fma(x, rows == 1 ? logarithm(x, sums->exponent) : logarithm_of_normal(x, sums->exponent), a[r]);
        sums->least = x < sums->least ? x : sums->least;
#elif ENTROPY == 2
        const realv p = x * set->z_inverse[r];
        a[r] += select(p * logarithm(p + set->eps, 0), (realv)NAN, x < (realv)0);
#if GRADIENT
        z[r] += p * p / (p + set->eps);
#endif
#endif
    }
#if MOMENTS
    vector_add(&sums->total[v], &sums->total_lost[v], total);
    vector_add(&sums->squares[v], &sums->squares_lost[v], squares);
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        if (set->lag[l] == 0)
            continue;
        global const element *later = first + set->lag[l];
        realv squared = (realv)0;
#pragma unroll
        for (int r = 0; r < rows; ++r) {
#if ALONG
            /* Whichever way they are taken: here the steps of a neuron. */
            const realv d = rows > 1 ? load_neighbours(first + r * si) - load_neighbours(later + r * si)
                                     : load_states(first, si, some, tail) - load_states(later, si, some, tail);
#else
            const realv d = load_states(first + r * st, si, some, tail) - load_states(later + r * st, si, some, tail);
#endif
            squared = fma(d, d, squared);
        }
        vector_add(&sums->lag[l], &sums->lag_lost[l], squared);
    }
#endif
}

/* Leave a lane's part of the sums over row r of the step in local memory, or add it to what is there. A negative
 * state makes the value NaN, through whichever row. */
INLINE void leave(local real *scratch, int r, realv z, realv a, realv least, bool more)
{
    local real *at = scratch + r * (LANES + 1) + get_local_id(0), *at_a = at + STEP * (LANES + 1);
    *at = (more ? *at : 0) + components_sum(z);
    *at_a = (more ? *at_a : 0) + (any(least < (realv)0) ? (real)NAN : components_sum(a));
}

/* The rows, in all vectors of neurons of the lane that are whole. */
INLINE void take_whole(lane_sums *sums, const int rows, const row_set *set, long column, int whole,
                       local real *scratch)
{
    realv z[STEP], a[STEP];
#pragma unroll
    for (int r = 0; r < rows; ++r)
        z[r] = a[r] = (realv)0;
    for (int v = 0; v < whole; ++v)
        take(sums, z, a, v, rows, false, set, column + v * (LANES * VECTOR), VECTOR);
#if ROWS_WANTED
#pragma unroll
    for (int r = 0; r < rows; ++r)
        leave(scratch, r, z[r], a[r], sums->least, false);
#endif
}

/* The rows, in the lane's last vector of neurons, of which only `some` exist. */
INLINE void take_tail(lane_sums *sums, int rows, const row_set *set, long column, int v, long some,
                      local real *scratch)
{
    row_set one = *set;
    for (int r = 0; r < rows; ++r) {
        realv z = (realv)0, a = (realv)0;
#if ENTROPY == 2
        one.z_inverse[0] = set->z_inverse[r];
#endif
        take(sums, &z, &a, v, 1, true, &one, column, some);
        one.first += set->st;
#if ROWS_WANTED
        leave(scratch, r, z, a, sums->least, true);
#endif
    }
}

/* The group's sums over the step's rows. */
INLINE void give_rows(local const real *scratch, int rows, long row, global real *row_sums, long R)
{
    BARRIER();
    for (int k = get_local_id(0); k < 2 * rows; k += LANES) {
        const int r = k % rows, which = k / rows;
        local const real *line = scratch + (which * STEP + r) * (LANES + 1);
        real total = line[0];
        for (int other = 1; other < LANES; ++other)
            total += line[other];
        row_sums[which * R + row + r] = total;
    }
    BARRIER();
}

/* How many of the `most` rows from time step t on can be taken at once: STEP, or 1, and that where `together` does not
 * hold. */
INLINE int rows_alike(long t, long most, long T, global const long *taus, bool together)
{
    bool alike = together && most >= STEP && t + STEP <= T;
    for (int l = 0; l < LAGS; ++l)
        alike = alike && (t + STEP + taus[l] <= T || t + taus[l] >= T);
    return alike ? STEP : 1;
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
    sums.least = (realv)0;
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
    }
#endif

    const long column = first_column + lane * VECTOR;
    const int whole = (int)max(min((N - column + (LANES - 1) * VECTOR) / (LANES * VECTOR), (long)VECTORS), 0L);
    const long tail_column = column + whole * (LANES * VECTOR);
    const bool tail = whole < VECTORS && tail_column < N;
    /* Not where subnormal numbers are more than rounding. */
    const bool together = (sums.exponent > -80) & (!ALONG | (st == 1));
    for (long row = first_row; row < first_row + rows;) {
        const long t = row % T;
        const int count = rows_alike(t, first_row + rows - row, T, taus, together);
        row_set set = { .first = states + row_begin(row, T, offset, sb, st), .st = st, .si = si, .eps = eps };
#if LAGS
        for (int l = 0; l < LAGS; ++l)
            set.lag[l] = t + taus[l] < T ? taus[l] * st : 0;
#endif
#if ENTROPY == 2
        for (int r = 0; r < count; ++r)
            set.z_inverse[r] = 1 / (row_z[row + r] + eps);
#endif
        if (count == STEP)
            take_whole(&sums, STEP, &set, column, whole, scratch);
        else
            take_whole(&sums, 1, &set, column, whole, scratch);
        if (tail)
            take_tail(&sums, count, &set, tail_column, whole, N - tail_column, scratch);
#if ROWS_WANTED
        give_rows(scratch, count, row, tile_rows, R);
#endif
        row += count;
    }
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
