/* SPDX-License-Identifier: Apache-2.0 */
/* The Hebbian sums: tiles of a symmetric product that live in registers and meet the weights there.
 *
 * W is folded first: U[i,j] = W[i,j] + W[j,i] above the diagonal, W[i,i] on it, 0 below, padded with zeros to
 * whole tiles. So only the part i <= j of a product is computed, and no edge of U needs care.
 *   correlate       sum_ij U[i,j] sum_t S[t,i] S[t,j] over a chunk of one batch's steps
 *   correlate_step  sum_j S[r,j] sum_i U[i,j] S[r,i] for each row r
 *
 *   TILE        rows and columns of the tile that a group computes
 *   ACROSS      vectors, DOWN rows of the part of it that a lane holds in registers
 *   DEPTH       steps of the inner sum that are staged in local memory at once
 *   RUN         steps that are added up before the tile meets the weights: a run of n equal numbers costs
 *               up to n/3 units in the last place
 *   PANEL       columns that lie together in local memory: TILE, or ACROSS * VECTOR for a CPU's cache
 */
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
#ifndef PANEL
#define PANEL TILE
#endif

#define WIDTH (ACROSS * VECTOR)
#define PARTS_ACROSS (TILE / WIDTH)
#define PARTS (PARTS_ACROSS * (TILE / DOWN))
/* Where column c of staged step k lies. */
#define STAGED(k, c) (((c) / PANEL * DEPTH + (k)) * PANEL + (c) % PANEL)

/* U (padded, padded) from W (1, N, N) of any layout. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
fold(global const element *restrict weights, long offset, long sb, long si, long sj, long N, long padded,
     global real *restrict U)
{
    const long first = ((long)get_group_id(0) * LANES + get_local_id(0)) * VECTOR;
    for (long k = first; k < min(first + VECTOR, padded * padded); ++k) {
        const long i = k / padded, j = k % padded;
        real folded = 0;
        if (i == j && i < N)
            folded = LOAD_ONE(weights + offset + i * (si + sj));
        else if (i < j && j < N)
            folded = LOAD_ONE(weights + offset + i * si + j * sj) + LOAD_ONE(weights + offset + j * si + i * sj);
        U[k] = folded;
    }
}

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
        VSTORE(x, staged + STAGED(d, c));
    }
}

/* products[m][n] += sum_k left[k][m0 + m] right[k][n0 + n] over the staged steps [start, end). */
INLINE void multiply(realv products[DOWN][ACROSS], local const real *left, int m0, local const real *right,
                            int n0, int start, int end)
{
    for (int k = start; k < end; ++k) {
        realv b[ACROSS];
#pragma unroll
        for (int n = 0; n < ACROSS; ++n)
            b[n] = VLOAD(right + STAGED(k, n0) + n * VECTOR);
#pragma unroll
        for (int m = 0; m < DOWN; ++m) {
            const realv a = (realv)left[STAGED(k, m0) + m];
#pragma unroll
            for (int n = 0; n < ACROSS; ++n)
                products[m][n] = fma(a, b[n], products[m][n]);
        }
    }
}

INLINE void clear(realv products[DOWN][ACROSS])
{
    for (int m = 0; m < DOWN; ++m)
        for (int n = 0; n < ACROSS; ++n)
            products[m][n] = (realv)0;
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

/* sums from first_sum on: (units, pairs), a unit being chunk_steps steps of a batch, of which there are `chunks`. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate(global const element *restrict states, long offset, long sb, long st, long si, long T, long N,
          long chunk_steps, long chunks, long first_unit, long padded, global const real *restrict U, long first_sum,
          global real *restrict sums)
{
    local real left[DEPTH * TILE], right[DEPTH * TILE], scratch[2 * LANES];
    const int lane = get_local_id(0);
    const long tiles = padded / TILE, pairs = tiles * (tiles + 1) / 2;
    const long unit = first_unit + get_group_id(0) / pairs, pair = get_group_id(0) % pairs;
    const long t0 = unit % chunks * chunk_steps, t1 = min(t0 + chunk_steps, T);
    long i, j;
    find_tile(pair, tiles, &i, &j);

    sum met = (sum)(0);
    for (long t = t0; t < t1; t += DEPTH) {
        const int depth = (int)min((long)DEPTH, t1 - t);
        const long begin = offset + unit / chunks * sb + t * st;
        stage(left, states, begin, st, si, i * TILE, N, depth);
        stage(right, states, begin, st, si, j * TILE, N, depth);
        BARRIER();
        for (int part = lane; part < PARTS; part += LANES) {
            const int m0 = part / PARTS_ACROSS * DOWN, n0 = part % PARTS_ACROSS * WIDTH;
            if (i == j && m0 > n0 + WIDTH - 1)
                continue; /* below the diagonal */
            global const real *u = U + (i * TILE + m0) * padded + j * TILE + n0;
            for (int start = 0; start < depth; start += RUN) {
                realv products[DOWN][ACROSS], weighted = (realv)0;
                clear(products);
                multiply(products, left, m0, right, n0, start, min(start + RUN, depth));
#pragma unroll
                for (int m = 0; m < DOWN; ++m)
#pragma unroll
                    for (int n = 0; n < ACROSS; ++n)
                        weighted = fma(products[m][n], VLOAD(u + m * padded + n * VECTOR), weighted);
                met = sum_add(met, components_sum(weighted));
            }
        }
        BARRIER();
    }
    const sum all = group_sum(met, scratch);
    if (lane == 0)
        sums[first_sum + unit * pairs + pair] = sum_value(all);
}

/* Stage the neurons [first, first + depth) of the TILE rows of which `begin` says where they begin (-1: no such
 * row): the neurons take the place of the steps. */
INLINE void stage_rows(local real *staged, global const element *states, local const long *begin, long si,
                              long first, int depth)
{
    for (int k = get_local_id(0); k < DEPTH * TILE; k += LANES) {
        const int d = k % DEPTH, c = k / DEPTH;
        const bool there = d < depth && begin[c] != LONG_MIN;
        staged[STAGED(d, c)] = there ? LOAD_ONE(states + begin[c] + (first + d) * si) : (real)0;
    }
}

/* Stage U[first .. first + DEPTH, column .. column + TILE). */
INLINE void stage_weights(local real *staged, global const real *U, long padded, long first, long column)
{
    for (int k = get_local_id(0); k < DEPTH * (TILE / VECTOR); k += LANES) {
        const int d = k / (TILE / VECTOR), c = k % (TILE / VECTOR) * VECTOR;
        VSTORE(VLOAD(U + (first + d) * padded + column + c), staged + STAGED(d, c));
    }
}

/* sums: (tiles, R), a unit being a tile of rows. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
correlate_step(global const element *restrict states, long offset, long sb, long st, long si, long T, long N, long R,
               long first_unit, long padded, global const real *restrict U, global real *restrict sums)
{
    local real left[DEPTH * TILE], right[DEPTH * TILE], parts[TILE * PARTS_ACROSS];
    local long begin[TILE];
    const int lane = get_local_id(0);
    const long tiles = padded / TILE;
    const long first_row = (first_unit + get_group_id(0) / tiles) * TILE, j = get_group_id(0) % tiles;

    for (int c = lane; c < TILE; c += LANES) {
        const long row = first_row + c;
        begin[c] = row < R ? offset + row / T * sb + row % T * st : LONG_MIN;
    }
    for (int k = lane; k < TILE * PARTS_ACROSS; k += LANES)
        parts[k] = 0;
    BARRIER();

    const long end = min((j + 1) * TILE, N);
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
            for (int start = 0; start < depth; start += RUN) {
                realv products[DOWN][ACROSS];
                clear(products);
                multiply(products, left, m0, right, n0, start, min(start + RUN, depth));
                for (int m = 0; m < DOWN; ++m) {
                    if (begin[m0 + m] == LONG_MIN)
                        break;
                    realv weighted = (realv)0;
                    for (int n = 0; n < ACROSS; ++n) {
                        const long some = N - column - n * VECTOR;
                        const long index = begin[m0 + m] + (column + n * VECTOR) * si;
                        const realv x = some >= VECTOR ? load(states, index, si) : load_some(states, index, si, some);
                        weighted = fma(products[m][n], x, weighted);
                    }
                    parts[(m0 + m) * PARTS_ACROSS + n0 / WIDTH] += components_sum(weighted);
                }
            }
        }
        BARRIER();
    }
    for (int c = lane; c < TILE && first_row + c < R; c += LANES) {
        sum row = (sum)(0);
        for (int k = 0; k < PARTS_ACROSS; ++k)
            row = sum_add(row, parts[c * PARTS_ACROSS + k]);
        sums[j * R + first_row + c] = sum_value(row);
    }
}
