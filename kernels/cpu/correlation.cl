/* SPDX-License-Identifier: Apache-2.0 */
/* The Hebbian sums: tiles of products that live in registers and meet the weights there.
 *
 * W is folded first: U[i,j] = W[i,j] + W[j,i] above the diagonal, W[i,i] on it, 0 below it in its tile, padded with
 * zeros to whole tiles. So only the part i <= j of a product is computed, and no edge of U needs care. Where the
 * gradient to the states is wanted, U is W + W^T as a whole, and S U is its product.
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
 *   LONG_RUN    steps that a lane of one part adds up in registers, run by run, before they join the sums of all
 *   PANEL       columns that lie together in local memory and in U: TILE, or ACROSS * VECTOR for a CPU's cache
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
/* The part at row m and column n of parts, and a part's first row and column. Neighbouring lanes are neighbours across;
 * a lone lane goes down, so that one panel stays in the first cache. */
#if LANES == 1
#define PARTS_DOWN (TILE / DOWN)
#define PART(m, n) ((n) * PARTS_DOWN + (m))
#define PART_ROW(part) ((part) % PARTS_DOWN * DOWN)
#define PART_COLUMN(part) ((part) / PARTS_DOWN * WIDTH)
#else
#define PART(m, n) ((m) * PARTS_ACROSS + (n))
#define PART_ROW(part) ((part) / PARTS_ACROSS * DOWN)
#define PART_COLUMN(part) ((part) % PARTS_ACROSS * WIDTH)
#endif
/* One part for each lane stays in its registers from one stage to the next: so many stages are added up there before
 * they join the sums of all. */
#define ONE_PART (PARTS <= LANES)
#define STAGES (ONE_PART && LONG_RUN > DEPTH ? LONG_RUN / DEPTH : 1)
/* Where U[i,j] lies: panels as they are staged. */
#define FOLDED(i, j) (((j) / PANEL * padded + (i)) * PANEL + (j) % PANEL)

#if GRADIENT < 2
/* VECTOR columns of U from W (1, N, N) of any layout for each group, in blocks to which both of W's are added as they
 * lie; of half of W no farther than the diagonal's tile, beyond which nothing is read. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
fold(global const element *restrict weights, long offset, long sb, long si, long sj, long N, long padded,
     global real *restrict U)
{
    const long j0 = (long)get_group_id(0) * VECTOR, end = GRADIENT ? padded : (j0 / TILE + 1) * TILE;
    for (long i0 = LANE * VECTOR; i0 < end; i0 += LANES * VECTOR) {
        global real *block = U + FOLDED(i0, j0);
        for (int c = 0; c < VECTOR; ++c) {
            const long j = j0 + c;
            AHEAD(weights + offset + (i0 + c + 4 * LANES * VECTOR) * si + j0 * sj);
            for (int r = 0; r < VECTOR; ++r) {
                const long i = i0 + r;
                const bool below = j < N && i < (GRADIENT ? N : j);
                block[r * PANEL + c] = below ? LOAD_ONE(weights + offset + j * si + i * sj) : (real)0;
            }
        }
        for (int r = 0; r < VECTOR && i0 + r < N; ++r)
            for (int c = 0; c < VECTOR && j0 + c < N; ++c)
                if (i0 + r <= (GRADIENT ? N : j0 + c))
                    block[r * PANEL + c] += LOAD_ONE(weights + offset + (i0 + r) * si + (j0 + c) * sj);
    }
}
#endif

/* Stage the columns [first, first + TILE) of `depth` rows that begin at `begin`, `step` apart: whole panels, up to the
 * one that ends with zeros past N. */
INLINE void stage(local real *staged, global const element *states, long begin, long step, long si,
                  long first, long N, int depth)
{
    for (int k = LANE; k < DEPTH * (TILE / VECTOR); k += LANES) {
        const int d = k / (TILE / VECTOR), c = k % (TILE / VECTOR) * VECTOR;
        const long column = first + c, index = begin + d * step + column * si;
        if (column - column % PANEL >= N)
            continue;
        realv x = (realv)0;
        if (d < depth && column + VECTOR <= N)
            x = load(states, index, si);
        else if (d < depth && column < N)
            x = load_some(states, index, si, N - column);
        VSTORE(local, REAL, x, staged + STAGED(d, c));
    }
}

/* Fetch a part's share of what is staged as above. */
INLINE void fetch(int part, global const element *states, long begin, long step, long si, long first)
{
#if FETCH
    for (int k = part; k < DEPTH * (TILE / VECTOR); k += PARTS)
        AHEAD(states + begin + k / (TILE / VECTOR) * step + (first + k % (TILE / VECTOR) * VECTOR) * si);
#endif
}

/* products[m][n] += sum_k left[k, m] right[k, n0 + n] over the staged steps [start, end); left's element k, m lies
 * at k * step + m * row. */
#define MULTIPLY(name, space) \
    INLINE void name(realv products[DOWN][ACROSS], local const real *left, const int step, const int row, \
                     space const real *right, int n0, int start, int end) \
    { \
        for (int k = start; k < end; ++k) { \
            realv b[ACROSS]; \
            _Pragma("unroll") for (int n = 0; n < ACROSS; ++n) \
                b[n] = VLOAD(space, REAL, right + STAGED(k, n0) + n * VECTOR); \
            _Pragma("unroll") for (int m = 0; m < DOWN; ++m) { \
                const realv a = (realv)left[k * step + m * row]; \
                _Pragma("unroll") for (int n = 0; n < ACROSS; ++n) \
                    products[m][n] = fma(a, b[n], products[m][n]); \
            } \
        } \
    }
MULTIPLY(multiply, local)

INLINE void clear(realv products[DOWN][ACROSS])
{
#pragma unroll
    for (int m = 0; m < DOWN; ++m)
#pragma unroll
        for (int n = 0; n < ACROSS; ++n)
            products[m][n] = (realv)0;
}

/* The sum of products[m][n] with the weights at u + m * PANEL + n * VECTOR, in short chains. */
INLINE realv meet(realv products[DOWN][ACROSS], global const real *u)
{
    realv met[ACROSS], all = (realv)0;
#pragma unroll
    for (int n = 0; n < ACROSS; ++n) {
        met[n] = (realv)0;
#pragma unroll
        for (int m = 0; m < DOWN; ++m)
            met[n] = fma(products[m][n], VLOAD(global, REAL, u + m * PANEL + n * VECTOR), met[n]);
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

#if GRADIENT == 0
/* sums: (units, pairs), a unit being chunk_steps steps of a batch, of which there are `chunks`. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate(global const element *restrict states, long offset, long sb, long st, long si, long T, long N,
          long chunk_steps, long chunks, long first_unit, long padded, global const real *restrict U,
          global real *restrict sums)
{
    local real left[DEPTH * TILE], right[DEPTH * TILE], scratch[2 * LANES];
    const int lane = LANE;
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
            const int m0 = PART_ROW(part), n0 = PART_COLUMN(part);
            if (i != j)
                fetch(part, states, begin + DEPTH * st, st, si, i * TILE);
            fetch(part, states, begin + DEPTH * st, st, si, j * TILE);
            if ((i == j && m0 > n0 + WIDTH - 1) || j * TILE + n0 >= N)
                continue; /* below the diagonal, or past the last neuron */
            global const real *u = U + FOLDED(i * TILE + m0, j * TILE + n0);
            for (int start = 0; start < depth; start += RUN) {
                realv products[DOWN][ACROSS];
                clear(products);
                multiply(products, rows + STAGED(0, m0), PANEL, 1, right, n0, start, min(start + RUN, depth));
                vector_add(&met, &met_lost, meet(products, u));
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
    for (int k = LANE; k < TILE * (DEPTH / VECTOR); k += LANES) {
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

/* Fetch a part's share of what is staged as above. */
INLINE void fetch_rows(int part, global const element *states, local const long *begin, long si, long first)
{
#if FETCH
    for (int k = part; k < TILE * (DEPTH / VECTOR); k += PARTS)
        if (begin[k / (DEPTH / VECTOR)] != LONG_MIN)
            AHEAD(states + begin[k / (DEPTH / VECTOR)] + (first + k % (DEPTH / VECTOR) * VECTOR) * si);
#endif
}

/* A lone lane takes U as it lies, panels that fit into the first cache; others stage the rows from `first` on of a tile
 * of it. */
#if LANES == 1
MULTIPLY(multiply_weights, global)
#else
INLINE void stage_weights(local real *staged, global const real *U, long padded, long first, long column, int depth)
{
    for (int k = LANE * VECTOR; k < DEPTH * TILE; k += LANES * VECTOR) {
        const int d = k / PANEL % DEPTH, c = k / (DEPTH * PANEL) * PANEL + k % PANEL;
        if (d < depth)
            VSTORE(local, REAL, VLOAD(global, REAL, U + FOLDED(first + d, column + c)), staged + k);
    }
}
#endif

/* A part's sums stay in registers, or lie in local memory. */
#if ONE_PART
#define TOTAL(part, m, n) totals[m][n]
#define EACH_TOTAL _Pragma("unroll")
#else
#define TOTAL(part, m, n) totals[((part)*DOWN + (m)) * ACROSS + (n)]
#define EACH_TOTAL _Pragma("unroll 1")
#endif

/* Some neurons of a row, which may not exist. */
INLINE realv load_row(global const element *states, long begin, long index, long si, long some)
{
    if (begin == LONG_MIN || some <= 0)
        return (realv)0;
    return some >= VECTOR ? load(states, begin + index * si, si) : load_some(states, begin + index * si, si, some);
}

/* sums: (tiles, R), a unit being a tile of rows; product: (R, N), with GRADIENT. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate_step(global const element *restrict states, long offset, long sb, long st, long si, long T, long N, long R,
               long first_unit, long padded, global const real *restrict U, global real *restrict sums,
               global real *restrict product)
{
    local real left[TILE * LINE], parts[TILE * PARTS_ACROSS];
#if LANES > 1
    local real right[DEPTH * TILE];
#endif
    local long begin[TILE];
#if ONE_PART
    realv totals[DOWN][ACROSS];
#else
    local realv totals[PARTS * DOWN * ACROSS];
#endif
    const int lane = LANE;
    const long tiles = padded / TILE;
    const long first_row = (first_unit + get_group_id(0) / tiles) * TILE, j = get_group_id(0) % tiles;

    for (int c = lane; c < TILE; c += LANES) {
        const long row = first_row + c;
        begin[c] = row < R ? row_begin(row, T, offset, sb, st) : LONG_MIN;
    }
    for (int part = lane; part < PARTS; part += LANES)
        for (int m = 0; m < DOWN; ++m)
            for (int n = 0; n < ACROSS; ++n)
                TOTAL(part, m, n) = (realv)0;
    BARRIER();

    const long end = GRADIENT ? N : min((j + 1) * TILE, N);
    realv recent[DOWN][ACROSS];
    for (long i = 0; i < end; i += DEPTH) {
        const int depth = (int)min((long)DEPTH, end - i);
        const long number = i / DEPTH;
        const bool ends = number % STAGES == STAGES - 1 || i + DEPTH >= end;
        stage_rows(left, states, begin, si, i, depth);
#if LANES > 1
        stage_weights(right, U, padded, i, j * TILE, depth);
#endif
        BARRIER();
        for (int part = lane; part < PARTS; part += LANES) {
            const int m0 = PART_ROW(part), n0 = PART_COLUMN(part);
            fetch_rows(part, states, begin, si, i + DEPTH < end ? i + DEPTH : j * TILE);
            if (j * TILE + n0 >= N || first_row + m0 >= R)
                continue;
            if (number % STAGES == 0)
                clear(recent);
            for (int start = 0; start < depth; start += RUN) {
                realv products[DOWN][ACROSS];
                clear(products);
#if LANES == 1
                multiply_weights(products, left + m0 * LINE, 1, LINE, U + FOLDED(i, j * TILE + n0), 0, start,
                                 min(start + RUN, depth));
#else
                multiply(products, left + m0 * LINE, 1, LINE, right, n0, start, min(start + RUN, depth));
#endif
#pragma unroll
                for (int m = 0; m < DOWN; ++m)
#pragma unroll
                    for (int n = 0; n < ACROSS; ++n)
                        recent[m][n] += products[m][n];
            }
            if (!ends)
                continue;
#pragma unroll
            for (int m = 0; m < DOWN; ++m)
#pragma unroll
                for (int n = 0; n < ACROSS; ++n)
                    TOTAL(part, m, n) += recent[m][n];
        }
        BARRIER();
    }

    for (int part = lane; part < PARTS; part += LANES) {
        const int m0 = PART_ROW(part), n0 = PART_COLUMN(part);
        EACH_TOTAL
        for (int m = 0; m < DOWN; ++m) {
            realv weighted = (realv)0;
            EACH_TOTAL
            for (int n = 0; n < ACROSS; ++n) {
                const long column = j * TILE + n0 + n * VECTOR;
                const realv x = load_row(states, begin[m0 + m], column, si, N - column);
                weighted = fma(TOTAL(part, m, n), x, weighted);
#if GRADIENT
                if (begin[m0 + m] != LONG_MIN)
                    store_reals(product, (first_row + m0 + m) * N + column, N - column, TOTAL(part, m, n));
#endif
            }
            parts[(m0 + m) * PARTS_ACROSS + n0 / WIDTH] = components_sum(weighted);
        }
    }
    BARRIER();
    for (int c = lane; c < TILE && first_row + c < R; c += LANES) {
        sum row = (sum)(0);
        for (int k = 0; k < PARTS_ACROSS; ++k)
            row = sum_add(row, parts[c * PARTS_ACROSS + k]);
        sums[j * R + first_row + c] = GRADIENT ? (real)0.5f * sum_value(row) : sum_value(row); /* U is twice W there */
    }
}
#endif

#if GRADIENT == 2
/* Stage as above, each row times a factor. */
INLINE void stage_signed(local real *staged, global const element *states, local const long *begin,
                         local const real *factor, long si, long first, long N, int depth)
{
    for (int k = LANE; k < DEPTH * (TILE / VECTOR); k += LANES) {
        const int d = k / (TILE / VECTOR), c = k % (TILE / VECTOR) * VECTOR;
        const long column = first + c, index = begin[d] + column * si;
        if (column - column % PANEL >= N)
            continue;
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

/* Add to the compensated sums of a part, or begin them. */
INLINE void add_part(global real *tile, int part, realv products[DOWN][ACROSS], bool fresh)
{
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

/* triangles: (slots, pairs, slot_reals), TILE_SUMS of these. A unit is unit_rows rows; each slot adds up the units of which the number
 * leaves that rest, which a launch holds one of at most. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate_weights(global const element *restrict states, long offset, long sb, long st, long si, long T, long N,
                  long R, long unit_rows, long slots, long first_unit, long first_factor,
                  global const real *restrict factors, global const real *restrict batch_energies,
                  global const real *restrict row_energies, global real *restrict triangles, long slot_reals)
{
    local real left[DEPTH * TILE], right[DEPTH * TILE], one[DEPTH], sign_of[DEPTH];
    local long begin[DEPTH];
    const int lane = LANE;
    const long tiles = (N + TILE - 1) / TILE, pairs = tiles * (tiles + 1) / 2;
    const long unit = first_unit + get_group_id(0) / pairs, pair = get_group_id(0) % pairs;
    const long first = unit * unit_rows, end = min(first + unit_rows, R);
    global real *tile = triangles + (unit % slots * pairs + pair) * slot_reals;
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
            sign_of[d] += factors[first_factor] * sign(batch_energies[(row + d) / T]);
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
            const int m0 = PART_ROW(part), n0 = PART_COLUMN(part);
            fetch(part, states, begin[0] + DEPTH * st, st, si, i * TILE);
            if (i != j)
                fetch(part, states, begin[0] + DEPTH * st, st, si, j * TILE);
            if ((i == j && m0 > n0 + WIDTH - 1) || j * TILE + n0 >= N)
                continue; /* below the diagonal, or past the last neuron */
            if (stage % STAGES == 0)
                clear(products);
            multiply(products, left + STAGED(0, m0), PANEL, 1, right, n0, 0, depth);
            if (ends)
                add_part(tile, part, products, unit < slots && stage < STAGES);
        }
        BARRIER();
    }
}

/* Components (i, j) to (i, j + VECTOR - 1) of the triangles' sum over `slots` slots. */
INLINE realv triangle_sum(global const real *triangles, long slots, long tiles, long i, long j)
{
    const long pairs = tiles * (tiles + 1) / 2, ti = i / TILE, tj = j / TILE;
    const int a = (int)(i % TILE), b = (int)(j % TILE);
    const long pair = ti * tiles - ti * (ti - 1) / 2 + tj - ti;
    const long place = pair * TILE_SUMS + PLACE(PART(a / DOWN, b / WIDTH), a % DOWN, b % WIDTH / VECTOR);
    realv total = (realv)0, lost = (realv)0;
    for (long slot = 0; slot < slots; ++slot) {
        global const real *at = triangles + slot * pairs * TILE_SUMS + place;
        vector_add(&total, &lost, VLOAD(global, REAL, at));
        lost += VLOAD(global, REAL, at + TILE * TILE);
    }
    return total - lost;
}

#if ACCUMULATE
#define PUT(i, j, x) gradients[offset + (i)*si + (j)*sj] += (output)(x)
#else
#define PUT(i, j, x) gradients[offset + (i)*si + (j)*sj] = (output)(x)
#endif
/* The gradient to W (1, N, N): a lane gives VECTOR x VECTOR of the upper triangle, and their mirror image.
 * results[spoiled_place] becomes 1 where a number of it is not finite. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
gradient_weights(global output *restrict gradients, long offset, long sb, long si, long sj, long N, long slots,
                 global const real *restrict triangles, long slot_reals, global long *restrict results, long spoiled_place)
{
    integerv finite = (integerv)-1;
    const long across = (N + VECTOR - 1) / VECTOR, k = (long)get_group_id(0) * LANES + LANE;
    const long i0 = k / across * VECTOR, j0 = k % across * VECTOR;
    if (j0 < i0)
        return;
    for (long i = i0; i < min(i0 + VECTOR, N); ++i) {
        realv g = triangle_sum(triangles, slots, (N + TILE - 1) / TILE, i, j0);
        finite &= are_finite(g) | (COMPONENT_NUMBERS >= (integerv)(int)min(N - j0, (long)VECTOR));
#pragma unroll 1
        for (long j = j0; j < min(j0 + VECTOR, N); ++j) {
            if (i <= j)
                PUT(i, j, g.s0);
            if (i < j)
                PUT(j, i, g.s0);
            g = g.PASTE(TURNED_, VECTOR);
        }
    }
    if (any(~finite))
        results[spoiled_place] = 1;
}
#undef PUT
#endif
