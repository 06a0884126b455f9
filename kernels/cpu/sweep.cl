/* SPDX-License-Identifier: Apache-2.0 */
/* One read of the states for all sums of a plan but the Hebbian ones.
 *
 * A group takes a block of rows (numbered r = b T + t) and a tile of neurons, and gives
 *   per neuron  the block's shift, sum of S - shift, and standard deviation
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
#if MOMENTS && RETAKES
    integerv deviating[VECTORS]; /* all deviations' bits: 0 where there is none */
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
    bool moments_alone;
} row_set;

/* The rows, in the VECTOR neurons from `column` on, of which the first `skip` belong to another vector. `rows` is a
 * constant wherever this is called: all that belongs to one row stays in registers. */
INLINE void take(lane_sums *sums, realv *z, realv *a, const int v, const int rows, const row_set *set, long column,
                 int skip)
{
    global const element *first = set->first + column * set->si;
    const long st = set->st, si = set->si;
    const integerv own = COMPONENT_NUMBERS >= skip;
#if MOMENTS
    const realv shift = sums->shift[v];
    realv total = (realv)0, squares = (realv)0;
#endif
#if MOMENTS && RETAKES
    integerv deviating = (integerv)0;
#endif
#if ALONG
    realv block[STEP];
    if (rows > 1)
        load_block(block, first, si);
#endif
#pragma unroll
    for (int r = 0; r < rows; ++r) {
#if ALONG
        const realv x = rows > 1 ? block[r] : load(first, 0, si);
#else
        if (rows > 1)
            AHEAD(first + (r + STEP) * st);
        const realv x = load(first, r * st, si);
#endif
#if MOMENTS
        const realv d = x - shift;
        total += d;
        squares = fma(d, d, squares);
#if RETAKES
        deviating |= AS_INTEGER(d);
#endif
#endif
#if ROWS_WANTED
        if (set->moments_alone)
            continue;
        const realv mine = AS_REAL(AS_INTEGER(x) & own);
#endif
#if SUMS
        z[r] += mine;
#endif
#if ENTROPY == 1
        const realv log_x = rows == 1 ? logarithm(mine, sums->exponent) : logarithm_of_normal(mine, sums->exponent);
        a[r] = fma(mine, log_x, a[r]);
        sums->least = mine < sums->least ? mine : sums->least;
#elif ENTROPY == 2
        const realv p = mine * set->z_inverse[r];
        a[r] += select(p * logarithm(p + set->eps, 0), (realv)NAN, mine < (realv)0);
#if GRADIENT
        z[r] += p * p / (p + set->eps);
#endif
#endif
    }
#if MOMENTS
    vector_add(&sums->total[v], &sums->total_lost[v], total);
    vector_add(&sums->squares[v], &sums->squares_lost[v], squares);
#if RETAKES
    sums->deviating[v] |= deviating;
#endif
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
            if (rows > 1) {
                const long lag = r < skip ? 0 : set->lag[l]; /* of no difference where another vector counts it */
                const realv d = load_neighbours(first + r * si) - load_neighbours(first + r * si + lag);
                squared = fma(d, d, squared);
                continue;
            }
#endif
            const realv d = load(first, r * st, si) - load(later, r * st, si);
            squared = fma(d, d, squared);
        }
        if (!ALONG || rows == 1)
            squared = AS_REAL(AS_INTEGER(squared) & own);
        vector_add(&sums->lag[l], &sums->lag_lost[l], squared);
    }
#endif
}

/* What a lane leaves of a step in local memory: each row's Z, then each row's A. */
#define LEFT ((2 * STEP + VECTOR - 1) / VECTOR * VECTOR)

/* Where vector v of a lane that has one for the neurons from `column` on lies: it ends where the neurons do. */
INLINE long vector_column(long column, long N) { return min(column, N - VECTOR); }

/* The rows, in the lane's vectors of neurons. */
INLINE void take_all(lane_sums *sums, const int rows, const row_set *set, long column, int vectors, long N,
                     local real *scratch)
{
    realv z[LEFT], *a = z + rows;
#pragma unroll
    for (int k = 0; k < LEFT; ++k)
        z[k] = (realv)0;
    for (int v = 0; v < vectors; ++v, column += LANES * VECTOR) {
        const long first = vector_column(column, N);
        take(sums, z, a, v, rows, set, first, (int)(column - first));
    }
#if ROWS_WANTED
    /* A negative state makes the value NaN, through whichever row. */
#pragma unroll
    for (int r = 0; r < rows; ++r)
        a[r] = select(a[r], (realv)NAN, sums->least < (realv)0);
#pragma unroll
    for (int k = 0; k < LEFT; k += VECTOR)
        VSTORE(local, REAL, SUMS_OF(z + k), scratch + LANE * LEFT + k);
#endif
}

/* The group's sums over the step's rows. */
INLINE void give_rows(local const real *scratch, int rows, long row, global real *row_sums, long R)
{
    BARRIER();
    for (int k = LANE; k < 2 * rows; k += LANES) {
        real total = scratch[k];
        for (int other = 1; other < LANES; ++other)
            total += scratch[other * LEFT + k];
        row_sums[k < rows ? row + k : R + row + (k - rows)] = total;
    }
    BARRIER();
}

/* How many of the `most` rows from time step t on can be taken at once: STEP, or 1, and that where `together` does not
 * hold. */
INLINE int rows_alike(long t, long most, long T, global const long *taus, bool together, bool moments_alone)
{
    bool alike = together && most >= STEP && t + STEP <= T;
    for (int l = 0; l < LAGS && !moments_alone; ++l)
        alike = alike && (t + STEP + taus[l] <= T || t + taus[l] >= T);
    return alike ? STEP : 1;
}

/* The exponent of the mean magnitude of the shifts; 0 where there is none. */
INLINE int typical_exponent(const realv *shift, int vectors, local real *scratch)
{
    sum magnitudes = (sum)(0);
    for (int v = 0; v < vectors; ++v)
        magnitudes = sum_add(magnitudes, components_sum(fabs(shift[v]) / (real)TILE));
    const real mean = sum_value(group_sum(magnitudes, scratch));
    return mean > 0 && isfinite(mean) ? ilogb(mean) : 0;
}

#if MOMENTS && RETAKES
/* Sum the squares of the deviations of VECTOR neurons from their shift, times `scale`. The first one's column begins at
 * memory index `column`. */
INLINE realv scaled_squares(global const element *states, long column, long sb, long st, long si, long T, long first_row,
                            long rows, realv shift, realv scale)
{
    realv squares = (realv)0, lost = (realv)0;
#pragma unroll 1
    for (long row = first_row; row < first_row + rows; ++row) {
        const realv d = (load(states, row_begin(row, T, column, sb, st), si) - shift) * scale;
        vector_add(&squares, &lost, d * d);
    }
    return squares - lost;
}
#endif

/* moments: (blocks, 3, pitch); row_sums: (tiles, 2, R); exponents: (blocks, tiles); lag_sums: (LAGS, blocks, tiles). R is
 * all rows of the array, of which this launch takes the blocks from first_block on. row_z: (R), for ENTROPY 2. VECTOR
 * is at most N, or 2. moments_alone: of an array of which no more is wanted, so that it needs no program of its own.
 * taus: (3, LAGS), the lags, and rows in memory from a row to the one tau steps later, and to the one tau steps earlier,
 * which are tau and -tau unless rows are left out. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
sweep(global const element *restrict states, long offset, long sb, long st, long neuron_stride, long T, long N, long R,
      long block_rows, long blocks, long first_block, long pitch, global const long *restrict taus,
      global const real *restrict row_z, real eps, global real *restrict moments, global real *restrict row_sums,
      global int *restrict exponents, global real *restrict lag_sums, int moments_alone)
{
    local real scratch[LANES * LEFT];
    const int lane = LANE;
    const long tiles = (N + TILE - 1) / TILE;
    const long block = first_block + get_group_id(0) / tiles, tile = get_group_id(0) % tiles;
    const long first_row = block * block_rows, rows = min(block_rows, R - first_row);
    const long first_column = tile * TILE + lane * VECTOR;
    const long si = N == 1 ? 0 : neuron_stride; /* a lone neuron stands for its neighbour, too */
    const int vectors =
        (int)max(min((N - first_column + (LANES * VECTOR - 1)) / (LANES * VECTOR), (long)VECTORS), 0L);
    global real *tile_rows = row_sums + tile * 2 * R;

    lane_sums sums;
    sums.least = (realv)0;
    sums.exponent = 0;
#if MOMENTS
    const long begin_0 = row_begin(first_row, T, offset, sb, st);
    const long begin_1 = row_begin(first_row + rows / 2, T, offset, sb, st);
    const long begin_2 = row_begin(first_row + rows - 1, T, offset, sb, st);
    for (int v = 0; v < vectors; ++v) {
        const long at = vector_column(first_column + v * (LANES * VECTOR), N) * si;
        sums.shift[v] = median(load(states, begin_0 + at, si), load(states, begin_1 + at, si),
                               load(states, begin_2 + at, si));
        sums.total[v] = sums.total_lost[v] = sums.squares[v] = sums.squares_lost[v] = (realv)0;
#if RETAKES
        sums.deviating[v] = (integerv)0;
#endif
    }
#endif
#if SUMS
#if ENTROPY
    sums.exponent = typical_exponent(sums.shift, vectors, scratch);
#endif
    if (lane == 0 && !moments_alone)
        exponents[block * tiles + tile] = sums.exponent;
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        sums.lag[l] = sums.lag_lost[l] = (realv)0;
    }
#endif

    /* Not where subnormal numbers are more than rounding. */
    const bool together = (sums.exponent > -80) & (!ALONG | (st == 1));
    for (long row = first_row; row < first_row + rows;) {
        const long t = row % T;
        const int count = rows_alike(t, first_row + rows - row, T, taus, together, moments_alone);
        row_set set = { .first = states + row_begin(row, T, offset, sb, st), .st = st, .si = si, .eps = eps,
                        .moments_alone = moments_alone };
#if LAGS
        for (int l = 0; l < LAGS; ++l)
            set.lag[l] = !moments_alone && t + taus[l] < T ? taus[LAGS + l] * st : 0;
#endif
#if ENTROPY == 2
        for (int r = 0; r < count; ++r)
            set.z_inverse[r] = 1 / (row_z[row + r] + eps);
#endif
        if (count == STEP)
            take_all(&sums, STEP, &set, first_column, vectors, N, scratch);
        else
            take_all(&sums, 1, &set, first_column, vectors, N, scratch);
#if ROWS_WANTED
        give_rows(scratch, moments_alone ? 0 : count, row, tile_rows, R);
#endif
        row += count;
    }
#if MOMENTS
    for (int v = 0; v < vectors; ++v) {
        const long column = max(vector_column(first_column + v * (LANES * VECTOR), N), 0L);
        const realv total = sums.total[v] - sums.total_lost[v];
        realv squares = sums.squares[v] - sums.squares_lost[v], scale = (realv)1;
#if RETAKES
        const realv wanted = scale_of_squares(squares);
        if (any((wanted != (realv)0) & (sums.deviating[v] != (integerv)0))) {
            scale = wanted == (realv)0 ? (realv)1 : wanted;
            squares = scaled_squares(states, offset + column * si, sb, st, si, T, first_row, rows, sums.shift[v], scale);
        }
#endif
        const realv delta = total / (real)rows * scale, spread = squares / (real)rows - delta * delta;
        global real *at = moments + block * 3 * pitch + column;
        VSTORE(global, REAL, sums.shift[v], at);
        VSTORE(global, REAL, total, at + pitch);
        /* keeps a NaN */
        VSTORE(global, REAL, sqrt(select(spread, (realv)0, spread < (realv)0)) * scale_inverse(scale), at + 2 * pitch);
    }
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        const sum mine = (sum)(components_sum(sums.lag[l]), -components_sum(sums.lag_lost[l]));
        const sum all = group_sum(mine, scratch);
        if (lane == 0 && !moments_alone)
            lag_sums[(l * blocks + block) * tiles + tile] = sum_value(all);
    }
#endif
}
