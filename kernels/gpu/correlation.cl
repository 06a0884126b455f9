/* SPDX-License-Identifier: Apache-2.0 */
/* The Hebbian sums in the shape of GPUs: a work-group computes a tile of a product, each work-item a micro-kernel of
 * MR x NR sums in its registers.
 *
 * W is folded first into U, padded with zeros to whole tiles: U = W + W^T where the product is wanted (PASS 2), and
 * otherwise U[i,j] = W[i,j] + W[j,i] above the diagonal, W[i,i] on it and 0 below it in the diagonal's tiles, so that only
 * the tiles i <= j of a product are computed.
 *   fold               U from W
 *   correlate          sum_ij U[i,j] sum_t S[t,i] S[t,j] over a chunk of one batch's steps
 *   correlate_step     sum_j S[r,j] sum_i U[i,j] S[r,i] for each row r, and with PASS 2 the inner sums, the product S U
 *   correlate_weights  sum_r sign_r S[r,i] S[r,j] for the tiles i <= j: the gradient to W, which gradient_weights gives
 *
 * Both operands of a product are staged in local memory, DEPTH steps of the inner sum at once and step by step, in two
 * buffers: the next stage is loaded into registers before the multiplications of this one, and stored after them. Rows and
 * columns of the micro-kernel come in groups of 4 that lie side by side in local memory.
 *
 *   PASS        0: fold, correlate; 1: fold, correlate_step; 2: fold, correlate_step with the product;
 *               3: correlate_weights, gradient_weights
 *   ALIGNED     1 where N, the strides and the offset are multiples of 4 elements and neurons are neighbours, so that 4
 *               of them are one load; VECTOR is 4
 *   TILE        rows and columns of a tile, a power of two
 *   MR, NR      4 or 8; LANES is TILE / MR * TILE / NR
 *   SQUARE_LANES  work-items of fold and gradient_weights
 *   DEPTH       KC: at least 4 * LANES / TILE and at most TILE
 *   RUN         steps of the inner sum that are added up before they join a second set of sums: a run of n equal numbers
 *               costs up to n/3 units in the last place. 0: there is no second set
 *   UNROLL      steps of the inner sum between two branches: many let a compiler load far ahead, which takes registers
 *   CARRY       1 where the runs are so many that their sums need compensation
 *   UNIT_ROWS   the most rows that a work-group of correlate_weights adds up, a multiple of DEPTH
 *   SIGNS       as PRODUCT in gradient.cl
 *   SUB_GROUP   work-items of a sub-group, where a device of Intel should not choose */
#ifndef PASS
#define PASS 0
#endif
#ifndef ALIGNED
#define ALIGNED 0
#endif
#ifndef TILE
#define TILE 64
#endif
#ifndef MR
#define MR 8
#endif
#ifndef NR
#define NR 8
#endif
#ifndef SQUARE_LANES
#define SQUARE_LANES LANES
#endif
#ifndef DEPTH
#define DEPTH 16
#endif
#ifndef RUN
#define RUN (PASS == 3 ? 0 : 32)
#endif
#ifndef UNROLL
#define UNROLL (RUN ? 4 : 1)
#endif
#ifndef UNIT_ROWS
#define UNIT_ROWS 512
#endif
#ifndef CARRY
#define CARRY 0
#endif
#ifndef SIGNS
#define SIGNS 1
#endif

#define ACROSS (TILE / NR) /* work-items side by side */
/* Rows of a tile from one group of 4 of a work-item to the next, and columns. */
#define ROW_STEP (TILE / (MR / 4))
#define COLUMN_STEP (TILE / (NR / 4))
#define ROW(m) ((m) / 4 * ROW_STEP + LANE / ACROSS * 4 + (m) % 4)
#define COLUMN(n) ((n) * COLUMN_STEP + LANE % ACROSS * 4)

#if defined(SUB_GROUP) && defined(cl_intel_required_subgroup_size)
#define PRODUCT_KERNEL \
    kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) __attribute__((intel_reqd_sub_group_size(SUB_GROUP))) void
#else
#define PRODUCT_KERNEL kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
#endif
#define SQUARE_KERNEL kernel __attribute__((reqd_work_group_size(SQUARE_LANES, 1, 1))) void

#define QUAD(space, p) (*(space realv *)(p))

/* ---- Squares of W and of its gradient ---- */

/* Side of the squares that fold and gradient_weights turn about the diagonal. */
#define SIDE (TILE < 32 ? TILE : 32)

/* Find square or tile (i, j), i <= j, of number `pair` in the upper triangle of count x count, row by row. */
INLINE void find_pair(int pair, int count, int *i, int *j)
{
    *i = 0;
    for (int row = count; pair >= row; --row) {
        pair -= row;
        ++*i;
    }
    *j = *i + pair;
}

#if PASS < 3
/* U from W (1, N, N) of any layout: a work-group gives the square (i, j), i <= j, and its mirror image. Below the
 * diagonal's tile of half of W nothing is read, and nothing written here. */
SQUARE_KERNEL fold(global const element *restrict weights, long offset, long sb, long si, long sj, long N, long padded,
            global real *restrict U)
{
    local real upper[SIDE * (SIDE + 1)], lower[SIDE * (SIDE + 1)];
    const int lane = (int)get_local_id(0);
    int i, j;
    find_pair((int)get_group_id(0), (int)(padded / SIDE), &i, &j);
    /* U does not change with W turned about its diagonal: neighbours are read by neighbours. */
    const long down = si == 1 ? sj : si, right = si == 1 ? si : sj;
    for (int e = lane; e < SIDE * SIDE; e += SQUARE_LANES) {
        const int y = e / SIDE, x = e % SIDE;
        const long row = i * SIDE + y, column = j * SIDE + x, mirror_row = j * SIDE + y, mirror_column = i * SIDE + x;
        upper[y * (SIDE + 1) + x] =
            row < N && column < N ? LOAD_ONE(weights + offset + row * down + column * right) : (real)0;
        lower[y * (SIDE + 1) + x] = mirror_row < N && mirror_column < N
                                        ? LOAD_ONE(weights + offset + mirror_row * down + mirror_column * right)
                                        : (real)0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int e = lane; e < SIDE * SIDE; e += SQUARE_LANES) {
        const int y = e / SIDE, x = e % SIDE;
        const long row = i * SIDE + y, column = j * SIDE + x, mirror_row = j * SIDE + y, mirror_column = i * SIDE + x;
        const real above = upper[y * (SIDE + 1) + x] + lower[x * (SIDE + 1) + y];
        const real below = upper[x * (SIDE + 1) + y] + lower[y * (SIDE + 1) + x];
#if PASS == 2
        U[row * padded + column] = above;
        if (i != j)
            U[mirror_row * padded + mirror_column] = below;
#else
        const real half_of_both = row == column ? upper[y * (SIDE + 1) + x] : (real)0;
        U[row * padded + column] = row < column ? above : half_of_both;
        if (i != j && i * SIDE / TILE == j * SIDE / TILE)
            U[mirror_row * padded + mirror_column] = 0;
#endif
    }
}
#endif

/* ---- Staging ---- */

/* A work-item's share of a staged operand: 4 neighbours at once where they are one load. They become reals only when they are
 * stored, since whatever uses a load waits for it. */
#if ALIGNED
#define WIDTH 4
typedef realv staged_part;
#if ELEMENT == 1
typedef struct part {
    double2 low, high;
} part;
INLINE part load_part(global const element *p)
{
    return (part){ *(global const double2 *)p, *(global const double2 *)(p + 2) };
}
INLINE realv part_reals(part x) { return CONVERT((double4)(x.low, x.high)); }
#elif ELEMENT == 2
typedef uint2 part;
#define HALF_OF(k) (real)vload_half(k, (const half *)&x)
INLINE part load_part(global const element *p) { return *(global const uint2 *)p; }
INLINE realv part_reals(part x) { return EACH(HALF_OF); }
#else
typedef PASTE(ELEMENT_TYPE, 4) part;
INLINE part load_part(global const element *p) { return *(global const part *)p; }
INLINE realv part_reals(part x) { return CONVERT(x); }
#endif
#else
#define WIDTH 1
typedef real staged_part;
#if ELEMENT == 2
typedef ushort part;
INLINE part load_part(global const element *p) { return *(global const ushort *)p; }
INLINE real part_reals(part x) { return vload_half(0, (const half *)&x); }
#else
typedef element part;
INLINE part load_part(global const element *p) { return *p; }
INLINE real part_reals(part x) { return (real)x; }
#endif
#endif
#define SHARE (DEPTH * TILE / (LANES * WIDTH))

/* Step k of the inner sum and row or column c of the tile of a work-item's part number l. Work-items that are neighbours
 * take neighbours in memory: steps with `deep`, else columns. */
INLINE int part_k(int l, int deep)
{
    const int e = LANE + l * LANES;
    return deep ? e % (DEPTH / WIDTH) * WIDTH : e / (TILE / WIDTH);
}
INLINE int part_c(int l, int deep)
{
    const int e = LANE + l * LANES;
    return deep ? e / (DEPTH / WIDTH) : e % (TILE / WIDTH) * WIDTH;
}

/* Reals from one staged step to the next: padded where work-items store steps side by side, so that these lie in
 * different banks. */
#define LINE(deep) (TILE + ((deep) ? 4 : 0))

/* Store part number l of a work-item's share. */
INLINE void put_part(local real *staged, int l, staged_part x, int deep)
{
    local real *to = staged + part_k(l, deep) * LINE(deep) + part_c(l, deep);
#if ALIGNED
    if (deep) {
        to[0] = x.s0;
        to[LINE(deep)] = x.s1;
        to[2 * LINE(deep)] = x.s2;
        to[3 * LINE(deep)] = x.s3;
    } else {
        QUAD(local, to) = x;
    }
#else
    *to = x;
#endif
}

INLINE void put(local real *staged, const part x[SHARE], int deep)
{
#pragma unroll
    for (int l = 0; l < SHARE; ++l)
        put_part(staged, l, part_reals(x[l]), deep);
}

/* ---- The micro-kernel ---- */

typedef struct sums {
    realv at[MR][NR / 4];
} sums;

INLINE void clear(sums *s)
{
#pragma unroll
    for (int m = 0; m < MR; ++m)
#pragma unroll
        for (int n = 0; n < NR / 4; ++n)
            s->at[m][n] = (realv)0;
}

#define MULTIPLY_ROW(m, name) \
    _Pragma("unroll") for (int n = 0; n < NR / 4; ++n) \
        s->at[q * 4 + m][n] = fma((realv)a.s##name, b[n], s->at[q * 4 + m][n]);

/* Add a stage: s[m, n] += sum_k left[k, ROW(m)] right[k, COLUMN(n)], with so many reals from one k to the next. */
INLINE void multiply(sums *s, local const real *left, int left_line, local const real *right, int right_line)
{
    left += ROW(0);
    right += COLUMN(0);
#pragma unroll UNROLL
    for (int k = 0; k < DEPTH; ++k) {
        realv b[NR / 4];
#pragma unroll
        for (int n = 0; n < NR / 4; ++n)
            b[n] = QUAD(local const, right + k * right_line + n * COLUMN_STEP);
#pragma unroll
        for (int q = 0; q < MR / 4; ++q) {
            const realv a = QUAD(local const, left + k * left_line + q * ROW_STEP);
            COMPONENTS(MULTIPLY_ROW)
        }
    }
}

/* Move a run's sums to the totals. With CARRY what rounding loses stays in the sums, so that the totals' error does not grow
 * with the number of runs. */
INLINE void join(sums *totals, sums *s)
{
#pragma unroll
    for (int m = 0; m < MR; ++m)
#pragma unroll
        for (int n = 0; n < NR / 4; ++n) {
            const realv total = totals->at[m][n] + s->at[m][n];
#if CARRY
            s->at[m][n] -= total - totals->at[m][n];
#else
            s->at[m][n] = (realv)0;
#endif
            totals->at[m][n] = total;
        }
}

/* True if the stage from step k on, of which there are `end`, ends a run. */
#if RUN
#define ENDS_RUN(k, end) ((k) % RUN >= RUN - DEPTH || (k) + DEPTH >= (end))
#define RESULT totals
#else
#define ENDS_RUN(k, end) false
#define RESULT s
#endif

#if PASS == 0
/* Load columns of the steps from `begin` on, of which there are `some`; after these it is the last one again. Past neuron N it
 * is the last ones again, which meet zeros of U. */
INLINE void load_steps(part x[SHARE], global const element *states, long begin, long st, long si, int some, int column,
                       int N)
{
#pragma unroll
    for (int l = 0; l < SHARE; ++l) {
        const int k = min(part_k(l, ALONG), some - 1), c = min(column + part_c(l, ALONG), N - WIDTH);
        x[l] = load_part(states + begin + k * st + c * (ALIGNED ? 1 : si));
    }
}

/* Store the steps, of which there are `some`, and zeros after these. */
INLINE void put_steps(local real *staged, const part x[SHARE], int some)
{
#pragma unroll
    for (int l = 0; l < SHARE; ++l)
        put_part(staged, l, part_k(l, ALONG) < some ? part_reals(x[l]) : (staged_part)0, ALONG);
}

/* parts: (units, pairs), a unit being chunk_steps steps of a batch, of which there are `chunks`. */
PRODUCT_KERNEL correlate(global const element *restrict states, long offset, long sb, long st, long si, long T, long N,
                         long chunk_steps, long chunks, long first_unit, long padded, global const real *restrict U,
                         global real *restrict parts)
{
    local real staged[4 * DEPTH * LINE(ALONG)] ALIGNED_LOCAL; /* two buffers of two operands */
    const int buffer_size = DEPTH * LINE(ALONG);
    local real *const left = staged, *const right = left + 2 * buffer_size;
    const int tiles = (int)(padded / TILE), pairs = tiles * (tiles + 1) / 2, count = (int)N;
    const int group = (int)get_group_id(0);
    const long unit = first_unit + group / pairs, t0 = unit % chunks * chunk_steps;
    const int steps = (int)min(chunk_steps, T - t0);
    long begin = offset + unit / chunks * sb + t0 * st;
    int i, j;
    find_pair(group % pairs, tiles, &i, &j);
    /* On the diagonal both operands are the same. */
    local const real *const first = i == j ? right : left;

    sums s, totals;
    clear(&s);
    clear(&totals);
    part x[SHARE], y[SHARE];
    if (i != j)
        load_steps(x, states, begin, st, si, steps, i * TILE, count);
    load_steps(y, states, begin, st, si, steps, j * TILE, count);
    if (i != j)
        put_steps(left, x, steps);
    put_steps(right, y, steps);
    BARRIER();
    int buffer = 0;
    for (int k = 0; k < steps; k += DEPTH) {
        const bool more = k + DEPTH < steps;
        begin += DEPTH * st;
        if (more) {
            if (i != j)
                load_steps(x, states, begin, st, si, steps - k - DEPTH, i * TILE, count);
            load_steps(y, states, begin, st, si, steps - k - DEPTH, j * TILE, count);
        }
        multiply(&s, first + buffer, LINE(ALONG), right + buffer, LINE(ALONG));
        if (ENDS_RUN(k, steps))
            join(&totals, &s);
        buffer = buffer_size - buffer;
        if (more) {
            if (i != j)
                put_steps(left + buffer, x, steps - k - DEPTH);
            put_steps(right + buffer, y, steps - k - DEPTH);
        }
        BARRIER();
    }

    realv met = (realv)0;
#pragma unroll
    for (int m = 0; m < MR; ++m)
#pragma unroll
        for (int n = 0; n < NR / 4; ++n)
            met = fma(RESULT.at[m][n], QUAD(global const, U + (i * TILE + ROW(m)) * padded + j * TILE + COLUMN(n)), met);
    const sum all = group_sum((sum)(components_sum(met), 0), left);
    if (LANE == 0)
        parts[first_unit * pairs + group] = sum_value(all);
}
#endif

#if PASS == 1 || PASS == 2
/* Load neurons from number `first` to `end` of the tile's rows, of which `begin` says where they begin. Past the end it is
 * the last ones again, which meet zeros of U. */
INLINE void load_rows(part x[SHARE], global const element *states, local const long *begin, long si, int first, int end)
{
#pragma unroll
    for (int l = 0; l < SHARE; ++l) {
        const int k = min(first + part_k(l, !ALONG), end - WIDTH);
        x[l] = load_part(states + begin[part_c(l, !ALONG)] + k * (ALIGNED ? 1 : si));
    }
}

#define WEIGHTS_SHARE (DEPTH * TILE / (4 * LANES))
INLINE void load_weights(realv y[WEIGHTS_SHARE], global const real *U, long padded)
{
#pragma unroll
    for (int l = 0; l < WEIGHTS_SHARE; ++l) {
        const int e = LANE + l * LANES;
        y[l] = QUAD(global const, U + e / (TILE / 4) * padded + e % (TILE / 4) * 4);
    }
}
INLINE void put_weights(local real *staged, const realv y[WEIGHTS_SHARE])
{
#pragma unroll
    for (int l = 0; l < WEIGHTS_SHARE; ++l)
        QUAD(local, staged + (LANE + l * LANES) * 4) = y[l];
}

/* 4 neurons of the row that begins there, zeros beyond neuron N. */
#define NEURON(k) (column + (k) < N ? (real)LOAD_ONE(states + row + (column + (k)) * si) : (real)0)
INLINE realv load_neurons(global const element *states, long row, long si, int column, int N)
{
#if ALIGNED
    return column < N ? part_reals(load_part(states + row + column)) : (realv)0;
#else
    return EACH(NEURON);
#endif
}

/* Store the first `count` components at p, one after the other: Mesa 22.3 takes a vector to be aligned. */
#define STORE_NEURON(k, name) \
    if (k < count) \
        p[k] = x.s##name;
INLINE void store_neurons(global real *p, int count, realv x) { COMPONENTS(STORE_NEURON) }

/* step_sums: (tiles, R), a unit being a tile of rows; product: (R, N). */
PRODUCT_KERNEL correlate_step(global const element *restrict states, long offset, long sb, long st, long si, long T,
                              long N, long R, long first_unit, long padded, global const real *restrict U,
                              global real *restrict step_sums, global real *restrict product)
{
    local real staged[2 * DEPTH * (LINE(!ALONG) + TILE)] ALIGNED_LOCAL; /* two buffers of rows, then two of U */
    local long begin[TILE];
    const int rows_size = DEPTH * LINE(!ALONG);
    local real *const left = staged, *const right = left + 2 * rows_size;
    const int tiles = (int)(padded / TILE), group = (int)get_group_id(0), j = group % tiles, count = (int)N;
    const long first_row = (first_unit + group / tiles) * TILE;
    const int end = PASS == 2 ? count : min((j + 1) * TILE, count);

    for (int c = LANE; c < TILE; c += LANES)
        begin[c] = row_begin(min(first_row + c, R - 1), T, offset, sb, st);
    BARRIER();

    sums s, totals;
    clear(&s);
    clear(&totals);
    part x[SHARE];
    realv y[WEIGHTS_SHARE];
    U += j * TILE;
    load_rows(x, states, begin, si, 0, end);
    load_weights(y, U, padded);
    put(left, x, !ALONG);
    put_weights(right, y);
    BARRIER();
    int buffer = 0;
    for (int k = 0; k < end; k += DEPTH) {
        const bool more = k + DEPTH < end;
        U += DEPTH * padded;
        if (more) {
            load_rows(x, states, begin, si, k + DEPTH, end);
            load_weights(y, U, padded);
        }
        multiply(&s, left + buffer * rows_size, LINE(!ALONG), right + buffer * (DEPTH * TILE), TILE);
        if (ENDS_RUN(k, end))
            join(&totals, &s);
        buffer = 1 - buffer;
        if (more) {
            put(left + buffer * rows_size, x, !ALONG);
            put_weights(right + buffer * (DEPTH * TILE), y);
        }
        BARRIER();
    }

#pragma unroll
    for (int m = 0; m < MR; ++m) {
        const long row = begin[ROW(m)];
        realv weighted = (realv)0;
        if (first_row + ROW(m) < R)
#pragma unroll
            for (int n = 0; n < NR / 4; ++n) {
                const int column = j * TILE + COLUMN(n);
                weighted = fma(RESULT.at[m][n], load_neurons(states, row, si, column, count), weighted);
#if PASS == 2
                const long place = (first_row + ROW(m)) * N + column;
                if (ALIGNED && column < count)
                    QUAD(global, product + place) = RESULT.at[m][n];
                else if (!ALIGNED)
                    store_neurons(product + place, count - column, RESULT.at[m][n]);
#endif
            }
        left[ROW(m) * ACROSS + LANE % ACROSS] = components_sum(weighted);
    }
    BARRIER();
    for (int c = LANE; c < TILE && first_row + c < R; c += LANES) {
        real row = 0;
        for (int k = 0; k < ACROSS; ++k)
            row += left[c * ACROSS + (k + c) % ACROSS];
        step_sums[j * R + first_row + c] = PASS == 2 ? (real)0.5f * row : row; /* U is twice W there */
    }
}
#endif

#if PASS == 3
/* Load columns of the rows of a stage, of which `begin` says where they begin; past neuron N the last ones again. */
INLINE void load_columns(part x[SHARE], global const element *states, local const long *begin, long si, int column, int N)
{
#pragma unroll
    for (int l = 0; l < SHARE; ++l) {
        const int c = min(column + part_c(l, ALONG), N - WIDTH);
        x[l] = load_part(states + begin[part_k(l, ALONG)] + c * (ALIGNED ? 1 : si));
    }
}

/* Store the rows of a stage, each times its factor. */
INLINE void put_signed(local real *staged, const part x[SHARE], local const real *factor)
{
#pragma unroll
    for (int l = 0; l < SHARE; ++l)
        put_part(staged, l, part_reals(x[l]) * factor[part_k(l, ALONG)], ALONG);
}

/* triangles: (slots, pairs, slot_reals). A unit is unit_rows rows, up to UNIT_ROWS; each slot adds up the units whose number
 * leaves that rest, of which a launch holds one at most. slot_reals is TILE^2, or twice that where a slot has several units:
 * the second half is what the first is too large by. */
PRODUCT_KERNEL correlate_weights(global const element *restrict states, long offset, long sb, long st, long si, long T,
                                 long N, long R, long unit_rows, long slots, long first_unit, long first_factor,
                                 global const real *restrict factors, global const real *restrict batch_energies,
                                 global const real *restrict row_energies, global real *restrict triangles,
                                 long slot_reals)
{
    local real staged[4 * DEPTH * LINE(ALONG)] ALIGNED_LOCAL;
    local long begin[UNIT_ROWS];
    local real factor[UNIT_ROWS];
    const int buffer_size = DEPTH * LINE(ALONG);
    local real *const left = staged, *const right = left + 2 * buffer_size;
    const int tiles = (int)((N + TILE - 1) / TILE), pairs = tiles * (tiles + 1) / 2, count = (int)N;
    const int group = (int)get_group_id(0), pair = group % pairs, unit = (int)first_unit + group / pairs;
    const long first_row = unit * unit_rows;
    const int rows = (int)min(unit_rows, R - first_row);
    int i, j;
    find_pair(pair, tiles, &i, &j);

    /* All of the unit's rows, and the last one again to whole stages, where its factor is 0. */
    for (int k = LANE; k < (rows + DEPTH - 1) / DEPTH * DEPTH; k += LANES) {
        const long r = first_row + min(k, rows - 1), b = R <= INT_MAX ? (int)r / (int)T : r / T;
        real f = 0;
#if SIGNS & 1
        f += factors[first_factor] * sign(batch_energies[b]);
#endif
#if SIGNS & 2
        f += factors[first_factor + 1] * sign(row_energies[r]);
#endif
        begin[k] = offset + b * sb + (r - b * T) * st;
        factor[k] = k < rows ? f : (real)0;
    }
    BARRIER();

    sums s;
    clear(&s);
    part x[SHARE], y[SHARE];
    load_columns(x, states, begin, si, i * TILE, count);
    load_columns(y, states, begin, si, j * TILE, count);
    put_signed(left, x, factor);
    put(right, y, ALONG);
    BARRIER();
    int buffer = 0;
    for (int k = 0; k < rows; k += DEPTH) {
        const bool more = k + DEPTH < rows;
        if (more) {
            load_columns(x, states, begin + k + DEPTH, si, i * TILE, count);
            load_columns(y, states, begin + k + DEPTH, si, j * TILE, count);
        }
        multiply(&s, left + buffer, LINE(ALONG), right + buffer, LINE(ALONG));
        buffer = buffer_size - buffer;
        if (more) {
            put_signed(left + buffer, x, factor + k + DEPTH);
            put(right + buffer, y, ALONG);
        }
        BARRIER();
    }

    global real *tile = triangles + ((long)(unit % (int)slots) * pairs + pair) * slot_reals;
#pragma unroll
    for (int m = 0; m < MR; ++m)
#pragma unroll
        for (int n = 0; n < NR / 4; ++n) {
            global real *at = tile + ROW(m) * TILE + COLUMN(n);
            realv total = s.at[m][n], lost = (realv)0;
            if (unit >= slots) {
                total = QUAD(global, at);
                lost = QUAD(global, at + TILE * TILE);
                vector_add(&total, &lost, s.at[m][n]);
            }
            QUAD(global, at) = total;
            if (slot_reals > TILE * TILE)
                QUAD(global, at + TILE * TILE) = lost;
        }
}

#if ACCUMULATE
#define PUT(row, column, x) gradients[offset + (row)*down + (column)*right] += (output)(x)
#else
#define PUT(row, column, x) gradients[offset + (row)*down + (column)*right] = (output)(x)
#endif
/* The gradient to W (1, N, N): a work-group adds up the slots of the square (i, j), i <= j, and gives it and its mirror
 * image. results[spoiled_place] becomes 1 where a number of it is not finite. */
SQUARE_KERNEL gradient_weights(global output *restrict gradients, long offset, long sb, long si, long sj, long N, long slots,
                        global const real *restrict triangles, long slot_reals, global long *restrict results,
                        long spoiled_place)
{
    bool finite = true;
    local real square[SIDE * (SIDE + 1)];
    const int tiles = (int)((N + TILE - 1) / TILE);
    const long pairs = (long)tiles * (tiles + 1) / 2;
    const int lane = (int)get_local_id(0);
    int i, j;
    find_pair((int)get_group_id(0), (int)((N + SIDE - 1) / SIDE), &i, &j);
    const long ti = i * SIDE / TILE, tj = j * SIDE / TILE, pair = ti * tiles - ti * (ti - 1) / 2 + tj - ti;
    const bool has_lost = slot_reals > TILE * TILE;
    triangles += pair * slot_reals + i * SIDE % TILE * TILE + j * SIDE % TILE;
    for (int e = lane * 4; e < SIDE * SIDE; e += SQUARE_LANES * 4) {
        const int y = e / SIDE, x = e % SIDE;
        global const real *at = triangles + y * TILE + x;
        realv total = (realv)0, lost = (realv)0;
#pragma unroll 4
        for (long slot = 0; slot < slots; ++slot, at += pairs * slot_reals) {
            vector_add(&total, &lost, QUAD(global const, at));
            if (has_lost)
                lost += QUAD(global const, at + TILE * TILE);
        }
        total -= lost;
        local real *to = square + y * (SIDE + 1) + x;
        to[0] = total.s0;
        to[1] = total.s1;
        to[2] = total.s2;
        to[3] = total.s3;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    /* The gradient is its own mirror image: neighbours are written by neighbours. */
    const long down = si == 1 ? sj : si, right = si == 1 ? si : sj;
    for (int e = lane; e < SIDE * SIDE; e += SQUARE_LANES) {
        const int y = e / SIDE, x = e % SIDE;
        const long row = i * SIDE + y, column = j * SIDE + x;
        const long mirror_row = j * SIDE + y, mirror_column = i * SIDE + x;
        if (row < N && column < N) {
            const bool below = row > column;
            const real g = square[below ? x * (SIDE + 1) + y : y * (SIDE + 1) + x];
            finite &= is_finite(g);
            PUT(row, column, g);
        }
        if (i != j && mirror_row < N && mirror_column < N)
            PUT(mirror_row, mirror_column, square[x * (SIDE + 1) + y]);
    }
    if (!finite)
        results[spoiled_place] = 1;
}
#undef PUT
#endif
