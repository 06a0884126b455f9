/* SPDX-License-Identifier: Apache-2.0 */
/* The Hebbian sums: tiles of products that live in registers and meet the weights there.
 *
 * W is folded first: U[i,j] = W[i,j] + W[j,i] above the diagonal, W[i,i] on it, 0 below, padded with zeros to
 * whole tiles. So only the part i <= j of a product is computed, and no edge of U needs care. Where the gradient
 * to the states is wanted, U is W + W^T as a whole, and S U is its product.
 *   correlate          sum_ij U[i,j] sum_t S[t,i] S[t,j] over a chunk of one batch's steps
 *   correlate_step     sum_j S[r,j] sum_i U[i,j] S[r,i] for each row r, and the inner sums where they are wanted
 *   correlate_weights  sum_r sign_r S[r,i] S[r,j] for i <= j: the gradient to W, which gradient_weights gives
 *
 *   GRADIENT    0: fold, correlate, correlate_step without the product; 1: fold, correlate_step with it;
 *               2: correlate_weights, gradient_weights
 *   SIGNS       for these, as PRODUCT in gradient.cl
 *   TILE        rows and columns of the tile that a group computes
 *   ACROSS      vectors, DOWN rows of the part of it that a lane holds in registers
 *   DEPTH       steps of the inner sum that are staged in local memory at once
 *   RUN         steps that are added up before the tile meets the weights: a run of n equal numbers costs
 *               up to n/3 units in the last place
 *   LONG_RUN    rows that are added up in registers before they join a compensated sum
 *   PANEL       columns that lie together in local memory: TILE, or ACROSS * VECTOR for a CPU's cache
 */
#ifndef GRADIENT
#define GRADIENT 0
#endif
#ifndef SIGNS
#define SIGNS 1
#endif
#ifndef TILE
#define TILE 64
#endif
#ifndef ACROSS
#define ACROSS 2
#endif
#ifndef DOWN
#define DOWN 8
#endif
#ifndef DEPTH
#define DEPTH 16
#endif
#ifndef RUN
#define RUN 32
#endif
#ifndef LONG_RUN
#define LONG_RUN 128
#endif
#ifndef PANEL
#define PANEL TILE
#endif

#define WIDTH (ACROSS * VECTOR)
#define PARTS_ACROSS (TILE / WIDTH)
#define PARTS (PARTS_ACROSS * (TILE / DOWN))
/* Where column c of staged step k lies. */
#define STAGED(k, c) (((c) / PANEL * DEPTH + (k)) * PANEL + (c) % PANEL)
/* From one staged row to the next, where rows lie as such: odd, for local memory's banks, and whole vectors where it is
 * a cache. */
#define LINE (LANES == 1 ? DEPTH : DEPTH + 1)
/* One part for each lane stays in its registers from one stage to the next. */
#define ONE_PART (PARTS <= LANES)

#if GRADIENT < 2
/* Row i of U (padded, padded) from W (1, N, N) of any layout, one group for each. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
fold(global const element *restrict weights, long offset, long sb, long si, long sj, long N, long padded,
     global real *restrict U)
{
    const long i = get_group_id(0);
    for (long j = get_local_id(0); j < padded; j += LANES) {
        real folded = 0;
        if (i < N && j < N && i <= (GRADIENT ? N : j)) {
            folded = LOAD_ONE(weights + offset + i * si + j * sj);
            if (GRADIENT || i < j)
                folded += LOAD_ONE(weights + offset + j * si + i * sj);
        }
        U[i * padded + j] = folded;
    }
}
#endif

/* Stage the columns [first, first + TILE) of `depth` rows that begin at `begin`, `step` apart; zeros past N. */
INLINE void stage(local real *staged, global const element *states, long begin, long step, long si,
                         long first, long N, int depth)
{
    for (int k = get_local_id(0); k < DEPTH * (TILE / VECTOR); k += LANES) {
        const int d = k / (TILE / VECTOR), c = k % (TILE / VECTOR) * VECTOR;
        const long column = first + c, index = begin + d * step + column * si;
        realv x = (realv)0;
        if (d < depth && column + VECTOR <= N)
            x = load(states, index, si);
        else if (d < depth && column < N)
            x = load_some(states, index, si, N - column);
        VSTORE(local, REAL, x, staged + STAGED(d, c));
    }
}

/* products[m][n] += sum_k left[k, m] right[k, n0 + n] over the staged steps [start, end); left's element k, m lies
 * at k * step + m * row. Meanwhile what lies at ahead + k * ahead_bytes is fetched. */
INLINE void multiply(realv products[DOWN][ACROSS], local const real *left, const int step, const int row,
                     local const real *right, int n0, int start, int end, global const char *ahead,
                     long ahead_bytes)
{
    for (int k = start; k < end; ++k) {
        AHEAD(ahead + k * ahead_bytes);
        realv b[ACROSS];
#pragma unroll
        for (int n = 0; n < ACROSS; ++n)
            b[n] = VLOAD(local, REAL, right + STAGED(k, n0) + n * VECTOR);
#pragma unroll
        for (int m = 0; m < DOWN; ++m) {
            const realv a = (realv)left[k * step + m * row];
#pragma unroll
            for (int n = 0; n < ACROSS; ++n)
                products[m][n] = fma(a, b[n], products[m][n]);
        }
    }
}

INLINE void clear(realv products[DOWN][ACROSS])
{
#pragma unroll
    for (int m = 0; m < DOWN; ++m)
#pragma unroll
        for (int n = 0; n < ACROSS; ++n)
            products[m][n] = (realv)0;
}

/* The sum of products[m][n] with the weights at u + m * padded + n * VECTOR, in short chains. */
INLINE realv meet(realv products[DOWN][ACROSS], global const real *u, long padded)
{
    realv met[ACROSS], all = (realv)0;
#pragma unroll
    for (int n = 0; n < ACROSS; ++n) {
        met[n] = (realv)0;
#pragma unroll
        for (int m = 0; m < DOWN; ++m)
            met[n] = fma(products[m][n], VLOAD(global, REAL, u + m * padded + n * VECTOR), met[n]);
        all += met[n];
    }
    return all;
}

/* Tile (i, j), i <= j, of number `pair` in the upper triangle of tiles x tiles, row by row. */
INLINE void find_tile(long pair, long tiles, long *i, long *j)
{
    *i = 0;
    for (long row = tiles; pair >= row; --row) {
        pair -= row;
        ++*i;
    }
    *j = *i + pair;
}

/* Which column of the tiles i and j a part fetches for the next stage. */
INLINE long ahead_column(int part, long i, long j)
{
    const int vectors = TILE / VECTOR, vector = part % (2 * vectors);
    return vector < vectors ? i * TILE + vector * VECTOR : j * TILE + (vector - vectors) * VECTOR;
}

#if GRADIENT == 0
/* sums: (units, pairs), a unit being chunk_steps steps of a batch, of which there are `chunks`. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate(global const element *restrict states, long offset, long sb, long st, long si, long T, long N,
          long chunk_steps, long chunks, long first_unit, long padded, global const real *restrict U,
          global real *restrict sums)
{
    local real left[DEPTH * TILE], right[DEPTH * TILE], scratch[2 * LANES];
    const int lane = get_local_id(0);
    const long tiles = padded / TILE, pairs = tiles * (tiles + 1) / 2;
    const long unit = first_unit + get_group_id(0) / pairs, pair = get_group_id(0) % pairs;
    const long t0 = unit % chunks * chunk_steps, t1 = min(t0 + chunk_steps, T);
    long i, j;
    find_tile(pair, tiles, &i, &j);

    realv met = (realv)0, met_lost = (realv)0;
    for (long t = t0; t < t1; t += DEPTH) {
        const int depth = (int)min((long)DEPTH, t1 - t);
        const long begin = offset + unit / chunks * sb + t * st;
        if (i != j)
            stage(left, states, begin, st, si, i * TILE, N, depth);
        stage(right, states, begin, st, si, j * TILE, N, depth);
        BARRIER();
        local const real *rows = i == j ? right : left;
        for (int part = lane; part < PARTS; part += LANES) {
            const int m0 = part / PARTS_ACROSS * DOWN, n0 = part % PARTS_ACROSS * WIDTH;
            if ((i == j && m0 > n0 + WIDTH - 1) || j * TILE + n0 >= N)
                continue; /* below the diagonal, or past the last neuron */
            global const real *u = U + (i * TILE + m0) * padded + j * TILE + n0;
            global const char *ahead =
                (global const char *)(states + begin + DEPTH * st + ahead_column(part, i, j) * si);
            for (int start = 0; start < depth; start += RUN) {
                realv products[DOWN][ACROSS];
                clear(products);
                multiply(products, rows + STAGED(0, m0), PANEL, 1, right, n0, start, min(start + RUN, depth), ahead,
                         st * sizeof(element));
                vector_add(&met, &met_lost, meet(products, u, padded));
            }
        }
        BARRIER();
    }
    const sum all = group_sum((sum)(components_sum(met), -components_sum(met_lost)), scratch);
    if (lane == 0)
        sums[unit * pairs + pair] = sum_value(all);
}
#endif

#if GRADIENT < 2
/* Stage the neurons [first, first + depth) of the TILE rows of which `begin` says where they begin (LONG_MIN: no
 * such row), row by row: the neurons are the steps of the inner sum here. */
INLINE void stage_rows(local real *staged, global const element *states, local const long *begin, long si,
                       long first, int depth)
{
    for (int k = get_local_id(0); k < TILE * (DEPTH / VECTOR); k += LANES) {
        const int c = k / (DEPTH / VECTOR), d = k % (DEPTH / VECTOR) * VECTOR;
        const long index = begin[c] + (first + d) * si;
        realv x = (realv)0;
        if (begin[c] != LONG_MIN && d + VECTOR <= depth)
            x = load(states, index, si);
        else if (begin[c] != LONG_MIN && d < depth)
            x = load_some(states, index, si, depth - d);
        VSTORE(local, REAL, x, staged + c * LINE + d);
    }
}

/* Stage U[first .. first + DEPTH, column .. column + TILE). */
INLINE void stage_weights(local real *staged, global const real *U, long padded, long first, long column)
{
    for (int k = get_local_id(0); k < DEPTH * (TILE / VECTOR); k += LANES) {
        const int d = k / (TILE / VECTOR), c = k % (TILE / VECTOR) * VECTOR;
        VSTORE(local, REAL, VLOAD(global, REAL, U + (first + d) * padded + column + c), staged + STAGED(d, c));
    }
}

/* A lone lane leaves the components of a sum apart: local memory is its cache. */
#if LANES == 1
#define SUMMANDS VECTOR
INLINE void add_part(local real *at, realv x) { VSTORE(local, REAL, VLOAD(local, REAL, at) + x, at); }
INLINE real part_sum(local const real *at) { return components_sum(VLOAD(local, REAL, at)); }
#else
#define SUMMANDS 1
INLINE void add_part(local real *at, realv x) { *at += components_sum(x); }
INLINE real part_sum(local const real *at) { return *at; }
#endif

/* Some neurons of a row, which may not exist. */
INLINE realv load_row(global const element *states, long begin, long index, long si, long some)
{
    return begin == LONG_MIN || some <= 0 ? (realv)0 : load_some(states, index, si, some);
}

/* Add to the product's rows from `row` on, of which `rows` exist, in the columns from `column` on. */
INLINE void add_products(global real *product, long row, long rows, long column, long N, bool fresh,
                         realv products[DOWN][ACROSS])
{
    global real *to = product + row * N + column;
    if (rows >= DOWN && column + WIDTH <= N) {
#pragma unroll
        for (int m = 0; m < DOWN; ++m)
#pragma unroll
            for (int n = 0; n < ACROSS; ++n)
                if (!fresh)
                    products[m][n] += VLOAD(global, REAL, to + m * N + n * VECTOR);
#pragma unroll
        for (int m = 0; m < DOWN; ++m)
#pragma unroll
            for (int n = 0; n < ACROSS; ++n)
                VSTORE(global, REAL, products[m][n], to + m * N + n * VECTOR);
        return;
    }
    for (int m = 0; m < min((long)DOWN, rows); ++m)
        for (int n = 0; n < ACROSS; ++n) {
            const long at = m * N + n * VECTOR, some = N - column - n * VECTOR;
            if (some > 0)
                store_reals(to, at, some, fresh ? products[m][n] : products[m][n] + load_reals(to, at, some));
        }
}

/* sums: (tiles, R), a unit being a tile of rows; product: (R, N), with GRADIENT. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate_step(global const element *restrict states, long offset, long sb, long st, long si, long T, long N, long R,
               long first_unit, long padded, global const real *restrict U, global real *restrict sums,
               global real *restrict product)
{
    local real left[TILE * LINE], right[DEPTH * TILE], parts[TILE * PARTS_ACROSS * SUMMANDS];
    local long begin[TILE];
    const int lane = get_local_id(0);
    const long tiles = padded / TILE;
    const long first_row = (first_unit + get_group_id(0) / tiles) * TILE, j = get_group_id(0) % tiles;

    for (int c = lane; c < TILE; c += LANES) {
        const long row = first_row + c;
        begin[c] = row < R ? row_begin(row, T, offset, sb, st) : LONG_MIN;
    }
    for (int k = lane; k < TILE * PARTS_ACROSS * SUMMANDS; k += LANES)
        parts[k] = 0;
    BARRIER();

#if GRADIENT
    realv sums_of_products[DOWN][ACROSS];
    const long end = N;
#else
    const long end = min((j + 1) * TILE, N);
#endif
    for (long i = 0; i < end; i += DEPTH) {
        const int depth = (int)min((long)DEPTH, end - i);
        stage_rows(left, states, begin, si, i, depth);
        stage_weights(right, U, padded, i, j * TILE);
        BARRIER();
        for (int part = lane; part < PARTS; part += LANES) {
            const int m0 = part / PARTS_ACROSS * DOWN, n0 = part % PARTS_ACROSS * WIDTH;
            const long column = j * TILE + n0;
            if (column >= N)
                continue;
            const int line = part - TILE / VECTOR; /* of the weights, or of the rows */
            global const char *ahead =
                line < 0 ? (global const char *)(U + (i + DEPTH) * padded + j * TILE + part * VECTOR)
                         : (global const char *)(states + begin[0] + line / (DEPTH / VECTOR) * DEPTH * st +
                                                 (i + DEPTH + line % (DEPTH / VECTOR) * VECTOR) * si);
            const long ahead_bytes = line < 0 ? padded * sizeof(real) : st * sizeof(element);
#if GRADIENT
            if (!ONE_PART || i == 0)
                clear(sums_of_products);
#endif
            for (int start = 0; start < depth; start += RUN) {
                realv products[DOWN][ACROSS];
                clear(products);
                multiply(products, left + m0 * LINE, 1, LINE, right, n0, start, min(start + RUN, depth), ahead,
                         ahead_bytes);
                const bool whole = column + WIDTH <= N && begin[m0 + DOWN - 1] != LONG_MIN;
#pragma unroll
                for (int m = 0; m < DOWN; ++m) {
                    realv weighted = (realv)0;
#pragma unroll
                    for (int n = 0; n < ACROSS; ++n) {
                        const long index = begin[m0 + m] + (column + n * VECTOR) * si;
                        const realv x = whole ? load(states, index, si)
                                              : load_row(states, begin[m0 + m], index, si, N - column - n * VECTOR);
                        weighted = fma(products[m][n], x, weighted);
                    }
                    add_part(parts + ((m0 + m) * PARTS_ACROSS + n0 / WIDTH) * SUMMANDS, weighted);
                }
#if GRADIENT
#pragma unroll
                for (int m = 0; m < DOWN; ++m)
#pragma unroll
                    for (int n = 0; n < ACROSS; ++n)
                        sums_of_products[m][n] += products[m][n];
#endif
            }
#if GRADIENT
            if (!ONE_PART || i + DEPTH >= end)
                add_products(product, first_row + m0, R - first_row - m0, column, N, ONE_PART || i == 0,
                             sums_of_products);
#endif
        }
        BARRIER();
    }
    for (int c = lane; c < TILE && first_row + c < R; c += LANES) {
        sum row = (sum)(0);
        for (int k = 0; k < PARTS_ACROSS; ++k)
            row = sum_add(row, part_sum(parts + (c * PARTS_ACROSS + k) * SUMMANDS));
        sums[j * R + first_row + c] = GRADIENT ? (real)0.5f * sum_value(row) : sum_value(row); /* U is twice W there */
    }
}
#endif

#if GRADIENT == 2
/* Stage the columns [first, first + TILE) of `depth` rows, times a factor for each. */
INLINE void stage_signed(local real *staged, global const element *states, local const long *begin,
                         local const real *factor, long si, long first, long N, int depth)
{
    for (int k = get_local_id(0); k < DEPTH * (TILE / VECTOR); k += LANES) {
        const int d = k / (TILE / VECTOR), c = k % (TILE / VECTOR) * VECTOR;
        const long column = first + c, index = begin[d] + column * si;
        realv x = (realv)0;
        if (d < depth && column + VECTOR <= N)
            x = load(states, index, si) * factor[d];
        else if (d < depth && column < N)
            x = load_some(states, index, si, N - column) * factor[d];
        VSTORE(local, REAL, x, staged + STAGED(d, c));
    }
}

/* The number of reals in a tile's compensated sums, and where component 0 of a part's vector lies among them, that
 * of what they are too large by being TILE * TILE further on. Neighbouring lanes are neighbours; a lone lane has its
 * vectors side by side. */
#define TILE_SUMS (2 * TILE * TILE)
#if LANES == 1
#define PLACE(part, m, n) ((((part)*DOWN + (m)) * ACROSS + (n)) * VECTOR)
#else
#define PLACE(part, m, n) ((((m)*ACROSS + (n)) * PARTS + (part)) * VECTOR)
#endif

/* Stages that are added up before they join the compensated sums. */
#define STAGES (ONE_PART && LONG_RUN > DEPTH ? LONG_RUN / DEPTH : 1)

/* triangles: (slots, pairs, TILE_SUMS). A unit is unit_rows rows; each slot adds up the units of which the number
 * leaves that rest, which a launch holds one of at most. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate_weights(global const element *restrict states, long offset, long sb, long st, long si, long T, long N,
                  long R, long unit_rows, long slots, long first_unit, long first_factor,
                  global const real *restrict factors, long batches, global const real *restrict sums,
                  global const real *restrict row_energies, global real *restrict triangles)
{
    local real left[DEPTH * TILE], right[DEPTH * TILE], one[DEPTH], sign_of[DEPTH];
    local long begin[DEPTH];
    const int lane = get_local_id(0);
    const long tiles = (N + TILE - 1) / TILE, pairs = tiles * (tiles + 1) / 2;
    const long unit = first_unit + get_group_id(0) / pairs, pair = get_group_id(0) % pairs;
    const long first = unit * unit_rows, end = min(first + unit_rows, R);
    global real *tile = triangles + (unit % slots * pairs + pair) * TILE_SUMS;
    long i, j;
    find_tile(pair, tiles, &i, &j);

    realv products[DOWN][ACROSS];
    for (long row = first; row < end; row += DEPTH) {
        const int depth = (int)min((long)DEPTH, end - row);
        for (int d = lane; d < depth; d += LANES) {
            begin[d] = row_begin(row + d, T, offset, sb, st);
            one[d] = 1;
            sign_of[d] = 0;
#if SIGNS & 1
            sign_of[d] += factors[first_factor] * sign(sums[batches + (row + d) / T]);
#endif
#if SIGNS & 2
            sign_of[d] += factors[first_factor + 1] * sign(row_energies[row + d]);
#endif
        }
        BARRIER();
        stage_signed(left, states, begin, one, si, i * TILE, N, depth);
        stage_signed(right, states, begin, sign_of, si, j * TILE, N, depth);
        BARRIER();
        const long stage = (row - first) / DEPTH;
        const bool ends = stage % STAGES == STAGES - 1 || row + DEPTH >= end;
        for (int part = lane; part < PARTS; part += LANES) {
            const int m0 = part / PARTS_ACROSS * DOWN, n0 = part % PARTS_ACROSS * WIDTH;
            if (i == j && m0 > n0 + WIDTH - 1)
                continue; /* below the diagonal */
            if (stage % STAGES == 0)
                clear(products);
            multiply(products, left + STAGED(0, m0), PANEL, 1, right, n0, 0, depth,
                     (global const char *)(states + begin[0] + DEPTH * st + ahead_column(part, i, j) * si),
                     st * sizeof(element));
            if (!ends)
                continue;
            const bool fresh = unit < slots && stage < STAGES;
            for (int m = 0; m < DOWN; ++m)
                for (int n = 0; n < ACROSS; ++n) {
                    global real *at = tile + PLACE(part, m, n);
                    realv total = fresh ? (realv)0 : VLOAD(global, REAL, at);
                    realv lost = fresh ? (realv)0 : VLOAD(global, REAL, at + TILE * TILE);
                    vector_add(&total, &lost, products[m][n]);
                    VSTORE(global, REAL, total, at);
                    VSTORE(global, REAL, lost, at + TILE * TILE);
                }
        }
        BARRIER();
    }
}

/* Component (i, j), i <= j, of the triangles' sum over `slots` slots. */
INLINE real triangle_sum(global const real *triangles, long slots, long tiles, long i, long j)
{
    const long pairs = tiles * (tiles + 1) / 2, ti = i / TILE, tj = j / TILE;
    const int a = (int)(i % TILE), b = (int)(j % TILE);
    const long pair = ti * tiles - ti * (ti - 1) / 2 + tj - ti;
    const int part = a / DOWN * PARTS_ACROSS + b / WIDTH;
    const long place = pair * TILE_SUMS + PLACE(part, a % DOWN, b % WIDTH / VECTOR) + b % VECTOR;
    sum all = (sum)(0);
    for (long slot = 0; slot < slots; ++slot) {
        global const real *at = triangles + slot * pairs * TILE_SUMS + place;
        all = sum_add(sum_add(all, at[0]), -at[TILE * TILE]);
    }
    return sum_value(all);
}

/* The gradient to W (1, N, N): both triangles, VECTOR neighbours of a row for each lane. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
gradient_weights(global output *restrict gradients, long offset, long sb, long si, long sj, long N, long slots,
                 global const real *restrict triangles)
{
    const long across = (N + VECTOR - 1) / VECTOR, k = (long)get_group_id(0) * LANES + get_local_id(0);
    const long i = k / across, first = k % across * VECTOR;
    for (long j = first; i < N && j < min(first + VECTOR, N); ++j) {
        const real g = triangle_sum(triangles, slots, (N + TILE - 1) / TILE, min(i, j), max(i, j));
#if ACCUMULATE
        gradients[offset + i * si + j * sj] += (output)g;
#else
        gradients[offset + i * si + j * sj] = (output)g;
#endif
    }
}
#endif
