/* SPDX-License-Identifier: Apache-2.0 */
/* One read of the states for all sums of a plan but the Hebbian ones, by work-groups of ACROSS x DOWN work-items.
 *
 * A work-group takes a block of rows (numbered r = b T + t) and a tile of neurons. Each work-item has COLUMNS columns of
 * the tile and takes STEP consecutive rows at once; the work-items down take the next rows, round by round. What it
 * leaves is the same as in kernels/cpu/sweep.cl:
 *   per neuron  the block's shift, sum of S - shift, and standard deviation
 *   per row     the tile's Z = sum S and A = sum S log(S / 2^e) with the exponent e of the tile's states in this block,
 *               so that large and small states keep their digits; or, in the second pass for an eps > 0, the sum of
 *               p log(p + eps), and with GRADIENT that of p^2 / (p + eps) in the place of Z
 *   per lag     the sum of (S[b,t] - S[b,t+tau])^2 over the block and the tile
 * A work-item adds up at most STEP * 64 rows: plain sums of deviations are exact enough.
 *
 *   MOMENTS     1 where the sums per neuron are wanted
 *   ENTROPY     0, 1 (eps = 0; wants MOMENTS and SUMS) or 2 (the pass for an eps > 0, where Z is known)
 *   SUMS        1 where Z is wanted
 *   GRADIENT    1 where the gradient will be, too
 *   LAGS        number of lags */
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

#define ROW_SUMS (SUMS || ENTROPY)
/* Numbers are read with this excess. Bytes lie in mantissas of 2^23 + x, since differences from a shift need no other
 * form. */
#define EXCESS (ELEMENT == 3 && PRECISION == 32 && !ROW_SUMS ? (real)8388608 : (real)0)
/* How many sums of rows there are in a round, work-items that add up one of them, and from one row's in local memory to
 * the next, so that these read from different banks. */
#define ROUND_SUMS (2 * ROWS)
#define ADDERS (LANES / ROUND_SUMS > 1 ? LANES / ROUND_SUMS : 1)
#define LINE (ACROSS > 1 ? ACROSS + ADDERS : 1)

/* The middle one of a, b and c: a shift that is a sample, so that equal samples deviate by exactly 0, and that one
 * outlier does not spoil. */
INLINE real median(real a, real b, real c) { return fmax(fmin(a, b), fmin(fmax(a, b), c)); }

/* The sums of a work-item over its rows. */
typedef struct column_sums {
#if MOMENTS
    real shift[COLUMNS], total[COLUMNS], squares[COLUMNS];
#endif
#if MOMENTS && RETAKES
    INTEGER deviating[COLUMNS]; /* all deviations' bits: 0 where there is none */
#endif
#if LAGS
    real lag[LAGS];
#endif
    int exponent; /* of the logarithms: e, */
    real scale;   /* or 0 where samples are multiplied by 2^-e, for subnormal ones */
} column_sums;

#if MOMENTS
/* The sums of a few rows, before they join those of many. */
INLINE void add_moments(column_sums *sums, real s[STEP][COLUMNS], const int rows)
{
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) {
        real total = 0, squares = sums->squares[v];
#pragma unroll
        for (int k = 0; k < rows; ++k) {
            const real d = s[k][v] - sums->shift[v];
            total += d;
            squares = fma(d, d, squares);
#if RETAKES
            sums->deviating[v] |= PASTE(as_, INTEGER)(d);
#endif
        }
        sums->total[v] += total;
        sums->squares[v] = squares;
    }
}
#endif

#if ROW_SUMS
/* Z and A of a row's COLUMNS samples. z_inverse: 1 / (Z + eps), for ENTROPY 2. */
INLINE void add_row(const column_sums *sums, const real s[COLUMNS], real z_inverse, real eps, real *z, real *a)
{
    real row_z = 0, row_a = 0;
#if ENTROPY == 1
    real least = 0;
#endif
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) {
#if SUMS
        row_z += s[v];
#endif
#if ENTROPY == 1
        /* a subnormal one is of no account beside the others */
        row_a = fma(s[v], logarithm_one_of_normal(s[v] * sums->scale, sums->exponent), row_a);
        least = fmin(least, s[v]);
#elif ENTROPY == 2
        const real p = s[v] * z_inverse;
        row_a += s[v] < 0 ? (real)NAN : p * logarithm_one(p + eps, 0);
#if GRADIENT
        row_z += p * p / (p + eps);
#endif
#endif
    }
#if ENTROPY == 1
    row_a = least < 0 ? (real)NAN : row_a; /* a negative state makes the value NaN */
#endif
    *z = row_z;
    *a = row_a;
}

/* Add up what the work-items left of a round's rows in local memory, `staged`: (2, ROWS, LINE), and give the `rows` first
 * of them to row_sums: (2, R) from row `row` on. */
INLINE void give_rows(local real *staged, local real *parts, long row, int rows, long R, global real *row_sums)
{
    BARRIER();
#pragma unroll 1
    for (int base = 0; base < ROUND_SUMS; base += LANES / ADDERS) {
        const int which = base + LANE / ADDERS, part = LANE % ADDERS, r = which % ROWS;
        real total = 0;
#pragma unroll 8
        for (int x = part; x < ACROSS; x += ADDERS)
            total += staged[which * LINE + x];
        if (ADDERS > 1)
            parts[LANE] = total;
        else if (r < rows)
            row_sums[which / ROWS * R + row + r] = total;
    }
    BARRIER();
    if (ADDERS > 1) {
        const int r = LANE % ROWS;
        if (LANE < ROUND_SUMS && r < rows) {
            real total = 0;
#pragma unroll
            for (int part = 0; part < ADDERS; ++part)
                total += parts[LANE * ADDERS + part];
            row_sums[LANE / ROWS * R + row + r] = total;
        }
    }
}
#endif

#if LAGS
/* Add the squared differences of two rows. */
INLINE real add_lag(real sum_, const real s[COLUMNS], const real later[COLUMNS])
{
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) {
        const real d = later[v] - s[v];
        sum_ = fma(d, d, sum_);
    }
    return sum_;
}

/* The rows from time step t on, which lie at p, one after the other: few registers. */
INLINE real lag_of_rows(global const element *p, const place *at, row_index t, row_index T, row_index tau,
                        row_index distance, int rows)
{
    real squares = 0;
#pragma unroll 1
    for (int k = 0; k < rows; ++k, p += at->st) {
        real row[COLUMNS], later[COLUMNS];
        if ((t + k) % T >= T - tau)
            continue;
        load_row(row, p, at, EXCESS);
        load_row(later, p + distance * at->st, at, EXCESS);
        squares = add_lag(squares, row, later);
    }
    return squares;
}

/* The squared differences of STEP rows; the next row serves a lag of 1. */
INLINE real lag_of_step(real s[STEP][COLUMNS], const place *at, global const element *p, row_index t, row_index T,
                        row_index tau, row_index distance)
{
    if (tau != 1 || t + STEP >= T)
        return lag_of_rows(p, at, t, T, tau, distance, STEP);
    real next[COLUMNS], squares = 0;
    load_row(next, p + STEP * at->st, at, EXCESS);
#pragma unroll
    for (int k = 0; k + 1 < STEP; ++k)
        squares = add_lag(squares, s[k], s[k + 1]);
    return add_lag(squares, s[STEP - 1], next);
}
#endif

/* The exponent of the largest magnitude of the shifts; 0 where there is none. */
INLINE int typical_exponent(const real shift[COLUMNS], int x, int y, local real *scratch)
{
    real largest = 0;
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        largest = fmax(largest, fabs(shift[v]));
    if (y == 0)
        scratch[x] = largest;
    BARRIER();
    const int part = LANE % (ACROSS < 8 ? ACROSS : 8);
    for (int k = part; k < ACROSS; k += 8)
        largest = fmax(largest, scratch[k]);
    if (LANE < 8)
        scratch[ACROSS + LANE] = largest;
    BARRIER();
    for (int k = 0; k < (ACROSS < 8 ? ACROSS : 8); ++k)
        largest = fmax(largest, scratch[ACROSS + k]);
    BARRIER();
    return largest > 0 && isfinite(largest) ? max(min(ilogb(largest), 100), -100) : 0;
}

/* All rows of a launch have this in common. */
typedef struct launch {
    global const element *states; /* the first of the work-item's columns of row 0 */
    place at;
    long sb;
    row_index T;
    bool dense; /* batches follow one another as rows do */
    bool moments_alone;
    global const long *taus;
    global const real *row_z; /* from the block's first row on */
    real eps;
} launch;

/* Z and A of a row to where those of the work-group's rows are staged: (2, ROWS, LINE). */
#define LEAVE(k, z, a) \
    do { \
        staged[(k)*LINE] = z; \
        staged[(ROWS + (k)) * LINE] = a; \
    } while (0)

/* Take the `count` next rows, at most STEP, of which the first is at p and has the number `row` in its block. */
INLINE void take(column_sums *sums, local real *staged, const launch *of, global const element *p, position from, int row,
                 int count)
{
    real s[STEP][COLUMNS];
    if (count >= STEP && (of->dense || from.t + STEP <= of->T)) {
        load_rows(s, p, &of->at, from.t % STEP == 0, EXCESS);
#if MOMENTS
        add_moments(sums, s, STEP);
#endif
#if LAGS
        for (int l = 0; l < LAGS && !of->moments_alone; ++l)
            sums->lag[l] +=
                lag_of_step(s, &of->at, p, from.t, of->T, (row_index)of->taus[l], (row_index)of->taus[LAGS + l]);
#endif
#if ROW_SUMS
        if (of->moments_alone)
            return;
#pragma unroll
        for (int k = 0; k < STEP; ++k) {
            real z, a;
            add_row(sums, s[k], ENTROPY == 2 ? 1 / (of->row_z[row + k] + of->eps) : (real)0, of->eps, &z, &a);
            LEAVE(k, z, a);
        }
#endif
        return;
    }
    /* At the end of a block and from batch to batch. */
#pragma unroll 1
    for (int k = 0; k < min(count, STEP); ++k, advance(&from, 1, of->T)) {
        p = of->states + from.b * of->sb + from.t * of->at.st;
        load_row(s[0], p, &of->at, EXCESS);
#if MOMENTS
        add_moments(sums, s, 1);
#endif
#if LAGS
        for (int l = 0; l < LAGS && !of->moments_alone; ++l)
            sums->lag[l] +=
                lag_of_rows(p, &of->at, from.t, of->T, (row_index)of->taus[l], (row_index)of->taus[LAGS + l], 1);
#endif
#if ROW_SUMS
        real z, a;
        add_row(sums, s[0], ENTROPY == 2 ? 1 / (of->row_z[row + k] + of->eps) : (real)0, of->eps, &z, &a);
        LEAVE(k, z, a);
#endif
    }
}

#if MOMENTS
/* The sums of columns are staged as (2, COLUMNS, DOWN, ACROSS), total and squares. */
#define PLACE_OF(which, v, x, y) ((((which)*COLUMNS + (v)) * DOWN + (y)) * ACROSS + (x))
#define BRANCHES (DOWN < 16 ? DOWN : 16)

/* Stage the work-items' sums of one kind, and add up those that are 16 or more work-items apart. */
INLINE void stage_columns(const real of[COLUMNS], const int which, int x, int y, local real *scratch)
{
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        scratch[PLACE_OF(which, v, x, y)] = of[v];
}

INLINE void add_branches(const int first, const int end, int x, int y, local real *scratch)
{
    BARRIER();
#if DOWN > 16
#pragma unroll
    for (int v = first * COLUMNS; v < end * COLUMNS; ++v) {
        real total = scratch[PLACE_OF(0, v, x, y)];
        for (int other = y + 16; other < (y < 16 ? DOWN : 0); other += 16)
            total += scratch[PLACE_OF(0, v, x, other)];
        if (y < 16)
            scratch[PLACE_OF(0, v, x, y)] = total;
    }
    BARRIER();
#endif
}

/* The sum of column v, by the first of the work-items down. */
INLINE real column_total(const int which, const int v, int x, int y, local const real *scratch)
{
    real total = 0;
#pragma unroll 4
    for (int other = 0; other < (y == 0 ? BRANCHES : 0); ++other)
        total += scratch[PLACE_OF(which, v, x, other)];
    return total;
}

#if RETAKES
/* Sum the squares of the work-item's deviations in its columns again, times the columns' scales; a scale of 0 is that of
 * a column that is not taken again. */
INLINE void retake_squares(real squares[COLUMNS], const column_sums *sums, const real scale[COLUMNS], const launch *of,
                           long first_row, int rows, int y)
{
    bool any_ = false;
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) {
        squares[v] = 0;
        any_ = any_ || (scale[v] != 0 && sums->deviating[v] != 0);
    }
#pragma unroll 1
    for (int row = y * STEP; row < (any_ ? rows : 0); row += row % STEP == STEP - 1 ? ROWS - STEP + 1 : 1) {
        position at;
        real s[COLUMNS];
        find_row(&at, first_row + row, of->T);
        load_row(s, of->states + at.b * of->sb + at.t * of->at.st, &of->at, EXCESS);
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v) {
            const real d = (s[v] - sums->shift[v]) * scale[v];
            squares[v] = fma(d, d, squares[v]);
        }
    }
}
#endif

/* Add up the columns' sums of the work-items down, by a tree of two levels, and give them to the block's record. Columns
 * whose squares have left the range of a real are read again. */
INLINE void give_columns(const column_sums *sums, const launch *of, long first_row, int rows, global real *record,
                         long pitch, long tile, int x, int y, local real *scratch)
{
    real total[COLUMNS], squares[COLUMNS], scale[COLUMNS];
    stage_columns(sums->total, 0, x, y, scratch);
    stage_columns(sums->squares, 1, x, y, scratch);
    add_branches(0, 2, x, y, scratch);
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) {
        total[v] = column_total(0, v, x, y, scratch);
        squares[v] = column_total(1, v, x, y, scratch);
        scale[v] = 0;
    }
#if RETAKES
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        if (y == 0)
            scratch[PLACE_OF(0, v, x, 0)] = scale_one_of_squares(squares[v]);
    BARRIER();
    real again[COLUMNS];
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        scale[v] = scratch[PLACE_OF(0, v, x, 0)];
    retake_squares(again, sums, scale, of, first_row, rows, y);
    stage_columns(again, 1, x, y, scratch);
    add_branches(1, 2, x, y, scratch);
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        squares[v] = scale[v] == 0 ? squares[v] : column_total(1, v, x, y, scratch);
#endif
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v) {
        const long column = tile * TILE + COLUMN(x, v);
        const real factor = scale[v] == 0 ? (real)1 : scale[v], delta = total[v] / (real)rows * factor;
        const real spread = squares[v] / (real)rows - delta * delta;
        if (y == 0 && column < pitch) {
            record[column] = sums->shift[v] - EXCESS;
            record[pitch + column] = total[v];
            record[2 * pitch + column] = sqrt(spread < 0 ? (real)0 : spread) * scale_one_inverse(factor); /* keeps a NaN */
        }
    }
    BARRIER();
}
#endif

#define AT_LEAST(a, b) ((a) > (b) ? (a) : (b))
#define MOMENT_REALS (MOMENTS ? 2 * COLUMNS * LANES : 1)
#define ROW_REALS (ROW_SUMS ? ROUND_SUMS * LINE + LANES : 1)
#define SCRATCH_REALS AT_LEAST(AT_LEAST(MOMENT_REALS, ROW_REALS), AT_LEAST(2 * LANES, ACROSS + 8))

/* moments: (blocks, 3, pitch); row_sums: (tiles, 2, R); exponents: (blocks, tiles); lag_sums: (LAGS, blocks, tiles). R is
 * all rows of the array, of which this launch takes the blocks from first_block on. row_z: (R), for ENTROPY 2.
 * moments_alone: of an array of which no more is wanted, so that it needs no program of its own. taus: (3, LAGS), the
 * lags, and rows in memory from a row to the one tau steps later, and to the one tau steps earlier, which are tau and -tau
 * unless rows are left out. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) SUB_GROUP_SIZE void
sweep(global const element *restrict states, long offset, long sb, long st, long si, long T, long N, long R,
      long block_rows, long blocks, long first_block, long pitch, global const long *restrict taus,
      global const real *restrict row_z, real eps, global real *restrict moments, global real *restrict row_sums,
      global int *restrict exponents, global real *restrict lag_sums, int moments_alone)
{
    local real scratch[SCRATCH_REALS];
    const int x = LANE_X, y = LANE_Y;
    const uint group = (uint)get_group_id(0), tiles = (uint)((N + TILE - 1) / TILE); /* 64-bit divisions take long */
    const long tile = group % tiles, block = first_block + group / tiles, first_row = block * block_rows;
    const int rows = (int)min(block_rows, R - first_row);
    const launch of = { .states = states + offset + (tile * TILE + COLUMN(x, 0)) * si,
                        .at = { st, NEXT_COLUMN * si, columns_of(N - tile * TILE, x), st == 1 },
                        .sb = sb,
                        .T = (row_index)T,
                        .dense = sb == T * st,
                        .moments_alone = moments_alone != 0,
                        .taus = taus,
                        .row_z = row_z + first_row,
                        .eps = eps };
    position start;
    find_row(&start, first_row, of.T);

    column_sums sums;
    sums.exponent = 0;
    sums.scale = 1;
#if MOMENTS
    {
        /* The samples are of the first round, whose rows are read again at once. */
        const int first_rows = min(rows, ROWS);
        position middle = start, last = start;
        advance(&middle, first_rows / 2, of.T);
        advance(&last, first_rows - 1, of.T);
        real a[COLUMNS], b[COLUMNS], c[COLUMNS];
        load_row(a, of.states + start.b * sb + start.t * st, &of.at, EXCESS);
        load_row(b, of.states + middle.b * sb + middle.t * st, &of.at, EXCESS);
        load_row(c, of.states + last.b * sb + last.t * st, &of.at, EXCESS);
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v) {
            sums.shift[v] = median(a[v], b[v], c[v]);
            sums.total[v] = sums.squares[v] = 0;
#if RETAKES
            sums.deviating[v] = 0;
#endif
        }
    }
#endif
#if SUMS
    int exponent = 0;
#if ENTROPY
    exponent = typical_exponent(sums.shift, x, y, scratch);
    sums.exponent = exponent > -80 ? exponent : 0;
    sums.scale = exponent > -80 ? (real)1 : power_of_two(-exponent);
#endif
    if (LANE == 0 && !moments_alone)
        exponents[block * tiles + tile] = exponent;
#endif
#if LAGS
#pragma unroll
    for (int l = 0; l < LAGS; ++l)
        sums.lag[l] = 0;
#endif

    position from = start;
    advance(&from, y * STEP, of.T);
    global const element *p = of.states + from.b * sb + from.t * st;
    const long round_stride = ROWS * st;
    for (int round = 0; round < rows; round += ROWS) {
        const int row = round + y * STEP;
        if (row < rows)
            take(&sums, scratch + y * STEP * LINE + x, &of, p, from, row, rows - row);
        p += round_stride;
        from.t += ROWS;
        if (from.t >= of.T) {
            advance(&from, 0, of.T);
            p = of.states + from.b * sb + from.t * st;
        }
#if ROW_SUMS
        for (int once = moments_alone; once < 1; ++once) /* PoCL 3.1 wants no barrier under a condition */
            give_rows(scratch, scratch + ROUND_SUMS * LINE, first_row + round, rows - round, R, row_sums + tile * 2 * R);
#endif
    }
#if MOMENTS
    BARRIER();
    give_columns(&sums, &of, first_row, rows, moments + block * 3 * pitch, pitch, tile, x, y, scratch);
#endif
#if LAGS
    for (int l = 0; l < LAGS; ++l) {
        const sum all = group_sum((sum)(sums.lag[l], 0), scratch);
        if (LANE == 0 && !moments_alone)
            lag_sums[(l * blocks + block) * tiles + tile] = sum_value(all);
    }
#endif
}
