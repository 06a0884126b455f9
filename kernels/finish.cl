/* SPDX-License-Identifier: Apache-2.0 */
/* From partial sums to the sums of the whole, to the values and to the coefficients of the gradient.
 *
 *   merge_blocks  joins moments of many blocks to those of fewer
 *   merge         joins the partial sums of all blocks, tiles and chunks; its work-groups share the neurons, rows, lags,
 *                 batches among them, and each leaves at most one partial of a quantity
 *   deviations    adds up what needs the mean over neurons first
 *   finish        adds up the partials, and gives the values and the coefficients
 *
 * All are trees over work-items and work-groups, in a fixed order. Compile-time parameters:
 *   GRADIENT    1 where the plan has one
 *   MOMENTS, REFERENCE, ENTROPY, LAGS, STEPS, BATCHES   1 where the plan has such partial sums
 *   DISTANCES   1 where a term wants more of the neurons' means than their variance: distances and extremes
 *   KERNELS     which ones the program holds: 0 all but merge_blocks, 1 merge, 2 deviations and finish, 3 merge_blocks */
#ifndef KERNELS
#define KERNELS 0
#endif
#ifndef GRADIENT
#define GRADIENT 0
#endif
#ifndef MOMENTS
#define MOMENTS 1
#endif
#ifndef REFERENCE
#define REFERENCE 1
#endif
#ifndef ENTROPY
#define ENTROPY 1
#endif
#ifndef LAGS
#define LAGS 1
#endif
#ifndef STEPS
#define STEPS 1
#endif
#ifndef BATCHES
#define BATCHES 1
#endif
#ifndef DISTANCES
#define DISTANCES 1
#endif

/* The most work-groups that leave a partial of one quantity, which is from one row of `partials` to the next. */
enum { PARTIALS = 256 };

/* The rows of `partials`: quantities of the neurons of a work-group, relative to a pivot, which is one of their means;
 * then two rows for each term; then those whose numbers the jobs and terms hold. */
enum {
    PIVOT,
    REST,   /* sum of mu_i - pivot */
    SPREAD, /* root of the sum of squared deviations of mu_i from the work-group's mean */
    MAX_HIGH,
    MAX_LOW,
    MIN_HIGH,
    MIN_LOW,
    SQUARES,           /* sum over neurons of the mean over rows of S_i^2 */
    REFERENCE_SQUARES, /* the same of the reference */
    DISTANCE_SUM,      /* sum of |mu_i - mubar| */
    SIGNS,             /* sum of the signs of mu_i - mubar */
    TIES,              /* the number of those that reach the largest distance */
    TIE_SIGNS,         /* sum of the signs of these */
    FIRST_TERM
};

/* The parameters of a job, which merge and finish do together. `*_groups` work-groups take the jobs one after the
 * other, each a number of columns, rows, ... of its own. */
enum {
    NEURONS,
    PITCH, /* from one row of moments to the next */
    ROWS,
    BLOCK_ROWS,
    BLOCKS,
    REFERENCE_ROWS,
    REFERENCE_BLOCK_ROWS,
    REFERENCE_BLOCKS,
    ACROSS, /* work-items side by side in a row of moments; the others take further blocks */
    COLUMN_GROUPS,
    GROUP_COLUMNS,
    TERMS,
    NEURON_TERMS, /* whose items are neurons */
    VALUE_COUNT,
    FACTORS,
    TILES,
    SWEEP_BLOCK_ROWS, /* of the rows' exponents */
    ENTROPY_GROUPS,
    GROUP_ROWS,
    ROW_PARTS, /* work-items that share the tiles of a row */
    ENTROPY_QUANTITY,
    FIRST_FACTOR,
    DIRECT, /* 1: row_sums hold the sum of p log(p + eps) already */
    LAG_GROUPS,
    LAG_COUNT,
    LAG_PARTS,
    LAG_QUANTITY,
    BATCH_GROUPS,
    BATCH_COUNT,
    BATCH_LANES, /* work-items for one batch */
    BATCH_INNER,
    BATCH_OUTERS,
    BATCH_STRIDE,
    BATCH_QUANTITY,
    STEP_GROUPS,
    STEP_TILES,
    STEP_QUANTITY,
    DEVIATIONS,     /* 1: deviations() comes before finish */
    FINISH_COLUMNS, /* neurons of a work-group of finish */
    SKIPPED_OFFSET, /* longs from the values to the numbers of skipped neurons */
    JOB_PARAMETERS
};

/* ---- What all work-items read ----
 *
 * A work-group copies its job and terms into local memory at once: one number after the other from global memory would be
 * waited for one after the other. Few work-items read them where they are. */
#define STAGES (LANES >= 16)
#if STAGES
#define SHARED local
#else
#define SHARED global
#endif

/* ---- Sums over work-items ----
 *
 * Trees of three levels. PoCL 3.1 takes exponentially long to compile barriers under a condition or in nested loops, even
 * where all work-items agree: hence no barrier in a tree's loops, one tree for several sums, and work-groups that have
 * nothing to add up and pass all barriers. */
enum { FIRST_LEVEL = 32, SECOND_LEVEL = 4, RADIX = 16 };

/* Reals of local memory that a work-item needs for these, and for two vectors. */
enum { SCRATCH = 2 * VECTOR > 8 ? 2 * VECTOR : 8 };

/* Sum the first `count` of each segment's numbers, each by itself, to `to` of them. */
INLINE void sum_level(const int n, int segment, int count, int to, local real *scratch)
{
    const int left = min(to, segment), segments = LANES / segment;
    for (int e = LANE; e < n * segments * left; e += LANES) {
        const int k = e % left, which = e / left;
        local real *high = scratch + which / segments * 2 * LANES + which % segments * segment, *low = high + LANES;
        sum mine = (sum)(high[k], low[k]);
#pragma unroll 1
        for (int other = k + left; other < count; other += left)
            mine = sum_merge(mine, (sum)(high[other], low[other]));
        high[k] = mine.x;
        low[k] = mine.y;
    }
    BARRIER();
}

/* Sum `n` numbers, at most 4 and a constant, of the first `count` work-items of each `segment` of them, a power of two.
 * Every work-item of the segment gets the results. `scratch` holds 2 n LANES reals. */
INLINE void segment_sums(sum *mine, const int n, int segment, int count, local real *scratch)
{
    if (LANES == 1)
        return;
    const int first = LANE & ~(segment - 1);
#pragma unroll
    for (int j = 0; j < n; ++j) {
        scratch[2 * j * LANES + LANE] = mine[j].x;
        scratch[(2 * j + 1) * LANES + LANE] = mine[j].y;
    }
    BARRIER();
    if (LANES > FIRST_LEVEL)
        sum_level(n, segment, count, FIRST_LEVEL, scratch);
    sum_level(n, segment, min(count, (int)FIRST_LEVEL), SECOND_LEVEL, scratch);
    sum_level(n, segment, min(count, (int)SECOND_LEVEL), 1, scratch);
#pragma unroll
    for (int j = 0; j < n; ++j)
        mine[j] = (sum)(scratch[2 * j * LANES + first], scratch[(2 * j + 1) * LANES + first]);
    BARRIER();
}

/* ---- Moments ---- */

#if MOMENTS
/* Sum the rows that hold `columns` reals each, `down` of them, to `to` rows; with `compensated`, of sums and, in the second
 * half, what they lost. */
INLINE void column_level(local real *first, local real *second, int columns, int down, int to, const bool compensated)
{
    const int left = min(to, down) * columns;
    for (int e = LANE; e < left; e += LANES) {
        real a = first[e], b = second[e];
#pragma unroll 1
        for (int other = e + left; other < down * columns; other += left) {
            const real x = compensated ? first[other] - b : first[other], total = a + x;
            b = compensated ? ((total - a) - x) + second[other] : b + second[other];
            a = total;
        }
        first[e] = a;
        second[e] = b;
    }
    BARRIER();
}

/* Sum two vectors of the work-items that are `across` apart, or one compensated sum. Every work-item gets its column's
 * results. */
INLINE void column_sums(realv *first, realv *second, int across, const bool compensated, local realv *scratch)
{
    if (LANES == 1)
        return;
    const int columns = across * VECTOR, down = LANES / across;
    local real *reals = (local real *)scratch, *others = reals + LANES * VECTOR;
    scratch[LANE] = *first;
    scratch[LANES + LANE] = *second;
    BARRIER();
    if (LANES > FIRST_LEVEL)
        column_level(reals, others, columns, down, FIRST_LEVEL, compensated);
    column_level(reals, others, columns, min(down, (int)FIRST_LEVEL), SECOND_LEVEL, compensated);
    column_level(reals, others, columns, min(down, (int)SECOND_LEVEL), 1, compensated);
    *first = scratch[LANE % across];
    *second = scratch[LANES + LANE % across];
    BARRIER();
}

/* Find the largest vector of the work-items that are `across` apart. Every work-item gets its column's result. */
INLINE void column_largest(realv *largest, int across, local realv *scratch)
{
    if (LANES == 1)
        return;
    const int x = LANE % across, y = LANE / across, down = LANES / across;
    scratch[LANE] = *largest;
    BARRIER();
    for (int other = y + RADIX; other < (y < RADIX ? down : 0); other += RADIX)
        *largest = fmax(*largest, scratch[other * across + x]);
    if (y < RADIX)
        scratch[LANE] = *largest;
    BARRIER();
    *largest = scratch[x];
    for (int other = 1; other < min(down, (int)RADIX); ++other)
        *largest = fmax(*largest, scratch[other * across + x]);
    BARRIER();
}

typedef struct column_moments {
    realv mean, mean_low, deviation;
} column_moments;

/* Records that a work-item reads at once: memory is far away. */
#ifdef RECORDS_AT_ONCE
enum { AT_ONCE = RECORDS_AT_ONCE }; /* as the kernel set has it: registers differ */
#else
enum { AT_ONCE = LANES == 1 ? 1 : PRECISION == 64 ? 2 : 4 };
#endif

typedef struct records {
    realv shift[AT_ONCE], total[AT_ONCE], deviation[AT_ONCE];
} records;

/* Read those of the blocks g, g + step, ... below `end`. */
INLINE void load_records(records *to, global const real *moments, long pitch, long g, long step, long end, long column)
{
#pragma unroll
    for (int k = 0; k < AT_ONCE; ++k) {
        global const real *record = moments + 3 * min(g + k * step, end - 1) * pitch + column;
        to->shift[k] = VLOAD(global, REAL, record);
        to->total[k] = VLOAD(global, REAL, record + pitch);
        to->deviation[k] = VLOAD(global, REAL, record + 2 * pitch);
    }
}

/* Join the records of the blocks [first, end), of block_rows rows each but for the array's last one, in the VECTOR
 * columns from `column` on. The mean keeps what its division rounds off: equal fractions stay equal. The variance is
 * Chan, Golub and LeVeque's merge of all blocks at once: around a pivot near the mean, no part of it is the difference
 * of large numbers; it is that of deviations that are scaled by the largest. Columns that are not `active` are not read. */
INLINE void merge_columns(column_moments *joined, global const real *moments, long pitch, long R, long block_rows,
                          long first, long end, long column, bool active, int across, local realv *scratch)
{
    const int down = LANES / across, y = LANE / across;
    const long all_rows = min(end * block_rows, R) - first * block_rows;
    const realv zero = (realv)0;
    const realv first_shift = active ? VLOAD(global, REAL, moments + 3 * first * pitch + column) : zero;

    const long last = active ? end : first;
    realv total = zero, total_lost = zero; /* of S - first_shift */
    realv largest = zero;
    for (long g = first + y; g < last; g += AT_ONCE * down) {
        records held;
        load_records(&held, moments, pitch, g, down, last, column);
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
            if (g + k * down < last) {
                const real rows = (real)min(block_rows, R - (g + k * down) * block_rows);
                const realv ahead = held.shift[k] - first_shift;
                vector_add(&total, &total_lost, ahead * rows);
                vector_add(&total, &total_lost, held.total[k]);
                largest = fmax(largest, fmax(fabs(ahead + held.total[k] / rows), held.deviation[k]));
            }
    }
    column_sums(&total, &total_lost, across, true, scratch);
    column_largest(&largest, across, scratch);
    const realv scale = scale_of(largest);
    const real R_high = (real)all_rows, R_low = (real)(all_rows - (long)R_high);
    const realv quotient = total / R_high;
    const realv quotient_lost = (fma(-quotient, (realv)R_high, total) - total_lost - quotient * R_low) / R_high;
    const realv pivot = first_shift + quotient, part = pivot - first_shift;

    realv rest = zero, rest_lost = zero, spread = zero, spread_lost = zero;
    const real whole_rows = (real)block_rows, whole_inverse = 1 / whole_rows, R_inverse = 1 / R_high;
    for (long g = first + y; g < last; g += AT_ONCE * down) {
        records held; /* across both passes they would lie in private memory on Intel's GPUs */
        load_records(&held, moments, pitch, g, down, last, column);
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k)
            if (g + k * down < last) {
                const long own = g + k * down;
                const bool is_whole = (own + 1) * block_rows <= R;
                const real rows = is_whole ? whole_rows : (real)(R - own * block_rows);
                const real inverse = is_whole ? whole_inverse : 1 / rows, share = rows * R_inverse;
                const realv d = ((held.shift[k] - pivot) + held.total[k] * inverse) * scale;
                const realv deviation = held.deviation[k] * scale;
                vector_add(&rest, &rest_lost, d * share);
                vector_add(&spread, &spread_lost, fma(d, d, deviation * deviation) * share);
            }
    }
    rest -= rest_lost;
    spread -= spread_lost;
    column_sums(&rest, &spread, across, false, scratch);
    const realv variance = spread - rest * rest;
    joined->mean = pivot;
    joined->mean_low = ((first_shift - (pivot - part)) + (quotient - part)) + quotient_lost;
    /* keeps a NaN */
    joined->deviation = sqrt(select(variance, zero, variance < zero)) * scale_inverse(scale);
}

#if KERNELS == 3
/* moments: (blocks, 3, pitch) -> joined: (ceil(blocks / fan), 3, pitch), records of fan * block_rows rows. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) SUB_GROUP_SIZE void
merge_blocks(global const real *restrict moments, long pitch, long R, long block_rows, long blocks, long fan, int across,
             global real *restrict joined)
{
    local realv scratch[2 * LANES];
    const long tiles = (pitch + across * VECTOR - 1) / (across * VECTOR);
    const long record = get_group_id(0) / tiles, first = record * fan, end = min(first + fan, blocks);
    const long column = get_group_id(0) % tiles * across * VECTOR + LANE % across * VECTOR;
    const bool active = column < pitch;
    column_moments made;
    merge_columns(&made, moments, pitch, R, block_rows, first, end, column, active, across, scratch);
    const real rows = (real)(min(end * block_rows, R) - first * block_rows);
    global real *at = joined + 3 * record * pitch + column;
    if (active && LANE < across) {
        VSTORE(global, REAL, made.mean, at);
        VSTORE(global, REAL, made.mean_low * rows, at + pitch);
        VSTORE(global, REAL, made.deviation, at + 2 * pitch);
    }
}
#endif

/* moments -> statistics: (3, N), the mean in two parts and the standard deviation, of a tile of columns from `tile` to
 * `end`. */
INLINE void give_statistics(global const real *moments, SHARED const long *job, int rows_parameter, long tile, long end,
                            global real *statistics, local realv *scratch)
{
    const long N = job[NEURONS];
    const int across = (int)job[ACROSS];
    const long column = tile + LANE % across * VECTOR;
    column_moments made;
    merge_columns(&made, moments, job[PITCH], job[rows_parameter], job[rows_parameter + 1], 0, job[rows_parameter + 2],
                  column, column < end, across, scratch);
    if (LANE < across && column < end) {
        store_reals(statistics, column, N - column, made.mean);
        store_reals(statistics, N + column, N - column, made.mean_low);
        store_reals(statistics, 2 * N + column, N - column, made.deviation);
    }
}
#endif

/* ---- Terms ---- */

/* The numbers of ratecl.h. */
enum { FIRING_RATE = 1, FIRING_RATE_DIST, STATE_PREDICTION, HEBBIAN, ENTROPY_TERM, POPULATION_KL };
enum { L2 = 1, L1, SD, CV, MEAN_AD, MAX_AD };
enum { MEAN, SUM, NONE };

/* A term as the host packs it: `integers` holds these, `reals` the ones below. QUANTITY is the row of partials that the
 * term's sum is in and COUNT how many there are, FACTOR the term's place among the factors of the gradient, COTANGENT
 * that of its row of cotangents. NEURON_TERM of number n is the n-th term whose items are neurons. */
enum { CRITERION, METRIC, SYMMETRIC, REDUCTION, LOG_SIGMA, SKIP, VALUE, QUANTITY, COUNT, FACTOR, COTANGENT, NEURON_TERM,
       INTEGERS };
enum { WEIGHT, TARGET, TARGET_LOW, REG, FLOOR, SCALE, REALS }; /* FLOOR: of standard deviations */

/* Terms that are in local memory at once. So many are read from any one on: the host packs as many more that do not
 * count. */
enum { TERMS_AT_ONCE = 16 }; /* as src/opencl/finish.c has it */

#if STAGES
/* How many of `count` numbers a work-item copies. All are read before the first one is written. */
#define SHARE(count) (((count) + LANES - 1) / LANES)
#define FETCH_SHARE(to, from, count) \
    _Pragma("unroll") for (int k = 0; k < SHARE(count); ++k) (to)[k] = (from)[min(k * LANES + LANE, (int)(count)-1)]
#define PUT_SHARE(to, from, count) \
    _Pragma("unroll") for (int k = 0; k < SHARE(count); ++k) (to)[min(k * LANES + LANE, (int)(count)-1)] = (from)[k]

/* Copy TERMS_AT_ONCE terms from number `first` on. */
INLINE void stage_terms(local long *integers, local real *reals, global const long *given_integers,
                        global const real *given_reals, long first)
{
    long of_terms[SHARE(TERMS_AT_ONCE * INTEGERS)];
    real numbers[SHARE(TERMS_AT_ONCE * REALS)];
    FETCH_SHARE(of_terms, given_integers + first * INTEGERS, TERMS_AT_ONCE * INTEGERS);
    FETCH_SHARE(numbers, given_reals + first * REALS, TERMS_AT_ONCE * REALS);
    PUT_SHARE(integers, of_terms, TERMS_AT_ONCE * INTEGERS);
    PUT_SHARE(reals, numbers, TERMS_AT_ONCE * REALS);
}

/* Copy the job and the first terms. */
INLINE void stage(local long *job, local long *integers, local real *reals, global const long *given_job,
                  global const long *given_integers, global const real *given_reals)
{
    long of_job[SHARE(JOB_PARAMETERS)];
    FETCH_SHARE(of_job, given_job, JOB_PARAMETERS);
    stage_terms(integers, reals, given_integers, given_reals, 0);
    PUT_SHARE(job, of_job, JOB_PARAMETERS);
}
#endif

typedef struct neurons {
    long N;
    global const real *states, *reference; /* statistics: (3, N) */
} neurons;

/* The mean over neurons is pivot + rest; the pivot is a neuron's mean, so that equal ones deviate by exactly 0. */
typedef struct population {
    real pivot, rest;
    real norm;                       /* root of the sum of squared deviations */
    real largest;                    /* |mu_i - mubar| */
    real distances, signs, ties, tie_signs; /* of deviations() */
    real squares, reference_squares;
} population;

INLINE real mubar_of(const population *of) { return of->pivot + of->rest; }

/* mu - mubar */
INLINE real deviation_of(const population *of, real high, real low) { return ((high - of->pivot) + low) - of->rest; }

INLINE real mean_of(global const real *statistics, long N, long i) { return statistics[i] + statistics[N + i]; }

/* The mean over rows of S_i^2. */
INLINE real square_of(global const real *statistics, long N, long i)
{
    const real mean = mean_of(statistics, N, i), deviation = statistics[2 * N + i];
    return fma(mean, mean, deviation * deviation);
}

/* mu_i - target */
INLINE real target_distance(const neurons *all, SHARED const real *reals, long i)
{
    return (all->states[i] - reals[TARGET]) + (all->states[all->N + i] - reals[TARGET_LOW]);
}

INLINE real floored(real deviation, real floor) { return deviation < floor ? floor : deviation; }

/* log(a / b), accurate near 0, and of quotients beyond the range of a real, too. */
INLINE real log_ratio(real a, real b)
{
    const real low = a < b ? a : b, high = a < b ? b : a, x = (high - low) / low;
    if (!(x >= 1) || low == 0)
        return a < b ? -log1p(x) : log1p(x);
    const int e = ilogb(low);
    const real logarithm = logarithm_one(high, e) - logarithm_one(low, e) + (high - high);
    return a < b ? -logarithm : logarithm;
}

/* (s0^2 - s1^2) / (by0 by1), from differences: small divergences keep their digits. */
INLINE real difference_of_squares(real s0, real s1, real by0, real by1) { return (s0 - s1) / by0 * ((s0 + s1) / by1); }

/* The divergence of neuron i; *degenerate where it has none. */
INLINE real divergence(const neurons *all, SHARED const long *term, real floor, long i, bool *degenerate)
{
    const long N = all->N;
    const real s0 = floored(all->states[2 * N + i], floor), s1 = floored(all->reference[2 * N + i], floor);
    const real d = (all->states[i] - all->reference[i]) + (all->states[N + i] - all->reference[N + i]);
    const real d0 = d / s0, d1 = d / s1;
    *degenerate = (s0 == 0 && isfinite(s1)) || (s1 == 0 && isfinite(s0));
    if (term[SYMMETRIC]) {
        const real x = difference_of_squares(s0, s1, s0, s1);
        return (x * x + d0 * d0 + d1 * d1) * 0.25f;
    }
    const real logarithm = log_ratio(s1, s0); /* half of that of the variances */
    return 0.5f * ((term[LOG_SIGMA] ? logarithm : 2 * logarithm) + difference_of_squares(s0, s1, s1, s1) + d1 * d1);
}

/* reg times the mean square, which may be infinite where reg is 0. */
INLINE real add_reg(real value, real reg, real squares) { return reg == 0 ? value : fma(reg, squares, value); }

/* ---- Merge ---- */

#if MOMENTS
/* Return what neuron i adds to the term's sum; *kept is 1 unless it is skipped. */
INLINE real neuron_item(const neurons *all, SHARED const long *term, SHARED const real *reals, long i,
                        global real *values, real *kept)
{
    *kept = 1;
    if (term[CRITERION] == FIRING_RATE) {
        const real d = target_distance(all, reals, i);
        return term[METRIC] == L1 ? fabs(d) : d * d;
    }
#if REFERENCE
    bool degenerate;
    const real kl = divergence(all, term, reals[FLOOR], i, &degenerate);
    const bool skipped = degenerate && term[SKIP];
    *kept = skipped ? 0 : 1;
    if (term[REDUCTION] == NONE) {
        const real squares = square_of(all->states, all->N, i) + square_of(all->reference, all->N, i);
        values[term[VALUE] + i] = add_reg(skipped ? (real)0 : kl, reals[REG], squares);
    }
    return skipped ? (real)0 : kl;
#else
    return 0;
#endif
}

/* True if mean a is larger than mean b, both in two parts. */
INLINE bool is_larger(real a, real a_low, real b, real b_low) { return (a - b) + (a_low - b_low) > 0; }

/* The largest and the smallest of some means, each in two parts. */
typedef struct extremes {
    real max_high, max_low, min_high, min_low;
} extremes;

INLINE void add_extremes(extremes *of, real max_high, real max_low, real min_high, real min_low)
{
    const bool larger = is_larger(max_high, max_low, of->max_high, of->max_low);
    const bool smaller = is_larger(of->min_high, of->min_low, min_high, min_low);
    of->max_high = larger ? max_high : of->max_high;
    of->max_low = larger ? max_low : of->max_low;
    of->min_high = smaller ? min_high : of->min_high;
    of->min_low = smaller ? min_low : of->min_low;
}

INLINE void put_extremes(const extremes *of, local real *scratch)
{
    scratch[LANE] = of->max_high;
    scratch[LANES + LANE] = of->max_low;
    scratch[2 * LANES + LANE] = of->min_high;
    scratch[3 * LANES + LANE] = of->min_low;
}

/* Find the extremes of all work-items. Every work-item gets the result. */
INLINE void group_extremes(extremes *of, local real *scratch)
{
    if (LANES == 1)
        return;
    put_extremes(of, scratch);
    BARRIER();
    for (int k = LANE + RADIX; k < (LANE < RADIX ? LANES : 0); k += RADIX)
        add_extremes(of, scratch[k], scratch[LANES + k], scratch[2 * LANES + k], scratch[3 * LANES + k]);
    if (LANE < RADIX)
        put_extremes(of, scratch);
    BARRIER();
    for (int k = 0; k < min(LANES, (int)RADIX); ++k)
        add_extremes(of, scratch[k], scratch[LANES + k], scratch[2 * LANES + k], scratch[3 * LANES + k]);
    BARRIER();
}

/* The spread of the means of the columns [first, end), their extremes, and the sums of the mean squares, as partials of
 * this work-group. */
INLINE void give_population(global const real *states, global const real *reference, long N, long first, long end,
                            long group, global real *partials, local real *scratch)
{
    const bool has_neurons = first < end;
    const real pivot = has_neurons ? states[first] : (real)0, pivot_low = has_neurons ? states[N + first] : (real)0;
    const real columns = (real)(end - first);
    const int count = (int)min(end - first, (long)LANES);
    extremes of = { pivot, pivot_low, pivot, pivot_low };
    sum sums[3] = { (sum)(0), (sum)(0), (sum)(0) }, spread = (sum)(0);
    for (long i = first + LANE; i < end; i += LANES) {
        const real high = states[i], low = states[N + i];
        sums[0] = sum_add(sums[0], (high - pivot) + low);
        sums[1] = sum_add(sums[1], square_of(states, N, i));
        if (REFERENCE)
            sums[2] = sum_add(sums[2], square_of(reference, N, i));
        add_extremes(&of, high, low, high, low);
    }
    segment_sums(sums, 3, LANES, count, scratch);
    group_extremes(&of, scratch);
    const real rest = sum_value(sums[0]), mean = rest / columns;
    const real scale = scale_one_of(fmax(fabs(((of.max_high - pivot) + of.max_low) - mean),
                                         fabs(((of.min_high - pivot) + of.min_low) - mean)));
    for (long i = first + LANE; i < end; i += LANES) {
        const real d = (((states[i] - pivot) + states[N + i]) - mean) * scale;
        spread = sum_add(spread, d * d);
    }
    segment_sums(&spread, 1, LANES, count, scratch);
    if (LANE == 0 && has_neurons) {
        partials[PIVOT * PARTIALS + group] = pivot;
        partials[REST * PARTIALS + group] = rest;
        partials[SPREAD * PARTIALS + group] = sqrt(sum_value(spread)) * scale_one_inverse(scale);
        partials[MAX_HIGH * PARTIALS + group] = of.max_high;
        partials[MAX_LOW * PARTIALS + group] = of.max_low;
        partials[MIN_HIGH * PARTIALS + group] = of.min_high;
        partials[MIN_LOW * PARTIALS + group] = of.min_low;
        partials[SQUARES * PARTIALS + group] = sum_value(sums[1]);
        partials[REFERENCE_SQUARES * PARTIALS + group] = sum_value(sums[2]);
    }
}

/* The neurons of a work-group, of which some have none: their statistics, and what they add to sums over neurons. */
INLINE void merge_neurons(SHARED const long *job, long group, global const real *moments,
                          global const real *reference_moments, global const long *integers, global const real *reals,
                          global real *states, global real *reference, global real *values, global real *partials,
                          local realv *scratch, local real *reals_scratch, local long *staged_integers,
                          local real *staged_reals)
{
    const long N = job[NEURONS], columns = job[GROUP_COLUMNS], terms = job[NEURON_TERMS];
    const long first = group < job[COLUMN_GROUPS] ? group * columns : 0;
    const long end = group < job[COLUMN_GROUPS] ? min(first + columns, N) : 0;
    /* One call for both arrays, since most of the kernel's code is behind it. */
    int input = 0;
#pragma unroll 1
    for (long tile = first; tile < end; tile += input == 0 ? job[ACROSS] * VECTOR : 0) {
        give_statistics(input == 0 ? moments : reference_moments, job, input == 0 ? ROWS : REFERENCE_ROWS, tile, end,
                        input == 0 ? states : reference, scratch);
        input = REFERENCE ? 1 - input : 0;
    }
    GLOBAL_BARRIER();
    give_population(states, reference, N, first, end, group, partials, reals_scratch);
    const neurons all = { N, states, reference };
    const int count = (int)min(end - first, (long)LANES);
#if STAGES
    long base = 0, next = staged_integers[NEURON_TERM]; /* the first term that is staged, and the next one's number */
#endif
    for (long n = 0; n < terms; ++n) {
#if STAGES
        const long k = next;
        if (k >= base + TERMS_AT_ONCE) {
            base = k;
            stage_terms(staged_integers, staged_reals, integers, reals, base);
        }
        BARRIER();
        local const long *term = staged_integers + (k - base) * INTEGERS;
        local const real *parameters = staged_reals + (k - base) * REALS;
        if (n + 1 < terms)
            next = n + 1 < TERMS_AT_ONCE && base == 0 ? staged_integers[(n + 1) * INTEGERS + NEURON_TERM]
                                                      : integers[(n + 1) * INTEGERS + NEURON_TERM];
#else
        const long k = integers[n * INTEGERS + NEURON_TERM];
        global const long *term = integers + k * INTEGERS;
        global const real *parameters = reals + k * REALS;
#endif
        sum items[2] = { (sum)(0), (sum)(0) }; /* and how many are kept */
        for (long i = first + LANE; i < end; i += LANES) {
            real kept;
            items[0] = sum_add(items[0], neuron_item(&all, term, parameters, i, values, &kept));
            items[1] = sum_add(items[1], kept);
        }
        segment_sums(items, 2, LANES, count, reals_scratch);
        if (LANE == 0 && first < end) {
            partials[(FIRST_TERM + 2 * k) * PARTIALS + group] = sum_value(items[0]);
            partials[(FIRST_TERM + 2 * k + 1) * PARTIALS + group] = sum_value(items[1]);
        }
    }
}
#endif

#if ENTROPY
/* The sums of a row over some tiles: Z, and A of states that were divided by 2^exponent. */
typedef struct row_total {
    realv z, a;
    int exponent;
} row_total;

INLINE real log_2(void) { return (real)0.693147182f + (real)-1.9046542e-9f; }

/* Sum the VECTOR rows from r on, of which `some` exist, over every `step`-th tile from `first` on. */
INLINE void sum_tiles(row_total *total, SHARED const long *job, long r, long some, global const real *row_sums,
                      global const int *exponents, int first, int step)
{
    const long R = job[ROWS], tiles = job[TILES];
    const bool direct = job[DIRECT] != 0;
    global const int *of_block = exponents + r / job[SWEEP_BLOCK_ROWS] * tiles;
    realv z = (realv)0, z_lost = (realv)0, a = (realv)0, a_lost = (realv)0;
    int largest = INT_MIN;
    for (long k = first; k < tiles; k += step) {
        const realv tile_z = load_reals(row_sums, 2 * k * R + r, some);
        const realv tile_a = load_reals(row_sums, (2 * k + 1) * R + r, some);
        const int exponent = direct ? 0 : of_block[k];
        if (exponent > largest) {
            if (largest != INT_MIN)
                vector_add(&a, &a_lost, (z_lost - z) * ((real)(exponent - largest) * log_2()));
            largest = exponent;
        }
        vector_add(&z, &z_lost, tile_z);
        vector_add(&a, &a_lost, tile_a - tile_z * ((real)(largest - exponent) * log_2()));
    }
    total->z = z - z_lost;
    total->a = a - a_lost;
    total->exponent = largest;
}

/* Join sums z, a of other tiles; either may be of no tile. */
INLINE void join_tiles(row_total *x, realv z, realv a, int exponent)
{
    const int largest = max(x->exponent, exponent);
    const real below_x = x->exponent == INT_MIN ? (real)0 : (real)(largest - x->exponent) * log_2();
    const real below = exponent == INT_MIN ? (real)0 : (real)(largest - exponent) * log_2();
    x->a = (x->a - x->z * below_x) + (a - z * below);
    x->z += z;
    x->exponent = largest;
}

/* The entropies of the rows -> row_z: (R), and with GRADIENT row_factors: (2, R), what gradient wants of a row: H, or with
 * eps > 0 what stands in its place, and 1 / (Z + eps). */
INLINE realv give_entropies(SHARED const long *job, const row_total *row, long r, long some, real log_N, real eps,
                            global real *row_z, global real *row_factors)
{
    const bool direct = job[DIRECT] != 0;
    const realv zero = (realv)0;
    realv entropy = -row->a;
    if (!direct) {
        store_reals(row_z, r, some, row->z);
        /* 0 <= H <= log N: rounding must not leave that. A NaN stays, in a row of sum 0 too; so does an infinite sum. */
        entropy = logarithm(row->z, row->exponent) - row->a / row->z;
        entropy = select(entropy, zero, entropy < zero);
        entropy = select(entropy, (realv)log_N, entropy > (realv)log_N);
        entropy = select(entropy, row->a, row->z == zero) + (row->a - row->a);
    }
#if GRADIENT
    const realv Z = direct ? load_reals(row_z, r, some) : row->z;
    const long first = job[FIRST_FACTOR];
    store_reals(row_factors, first + r, some, select(direct ? -(row->a + row->z) : entropy, zero, Z == zero));
    store_reals(row_factors, first + job[ROWS] + r, some, select(1 / (Z + eps), zero, Z == zero));
#endif
    return entropy;
}

/* Sum the entropies of a work-group's rows. row_sums: (tiles, 2, R), exponents: (blocks, tiles): ROW_PARTS work-items share
 * the tiles of VECTOR rows. */
INLINE sum merge_entropies(SHARED const long *job, long group, global const real *row_sums, global const int *exponents,
                           real log_N, real eps, global real *row_z, global real *row_factors, local realv *scratch,
                           local int *part_exponents)
{
    const bool given = group >= 0 && group < job[ENTROPY_GROUPS];
    const long first = given ? group * job[GROUP_ROWS] : 0, end = given ? min(first + job[GROUP_ROWS], job[ROWS]) : 0;
    const int parts = (int)job[ROW_PARTS], across = LANES / parts, part = LANE / across;
    realv total = (realv)0, lost = (realv)0;
    for (long base = first; base < end; base += across * VECTOR) {
        const long r = base + LANE % across * VECTOR, some = end - r;
        row_total row = { (realv)0, (realv)0, INT_MIN };
        if (some > 0)
            sum_tiles(&row, job, r, some, row_sums, exponents, part, parts);
        if (LANES > 1) {
            scratch[LANE] = row.z;
            scratch[LANES + LANE] = row.a;
            part_exponents[LANE] = row.exponent;
        }
        BARRIER();
        if (some > 0 && part == 0) {
            for (int other = LANE + across; other < LANES; other += across)
                join_tiles(&row, scratch[other], scratch[LANES + other], part_exponents[other]);
            const realv entropy = give_entropies(job, &row, r, some, log_N, eps, row_z, row_factors);
            vector_add(&total, &lost,
                       select((realv)0, entropy, COMPONENT_NUMBERS < (integerv)(int)min(some, (long)VECTOR)));
        }
        BARRIER();
    }
    return (sum)(components_sum(total), -components_sum(lost));
}
#endif

#if LAGS
/* Sum a part of one lag's. lag_sums: (lags, count). */
INLINE sum merge_lags(SHARED const long *job, long group, global const real *lag_sums)
{
    const long count = job[LAG_COUNT], parts = job[LAG_PARTS], lag = group / parts, part = group % parts;
    sum mine = (sum)(0);
    for (long k = part * LANES + LANE; k < count; k += parts * LANES)
        mine = sum_add(mine, lag_sums[lag * count + k]);
    return mine;
}
#endif

#if BATCHES
/* Sum the magnitudes of a work-group's energies. parts: the energy of batch b is the sum of
 * parts[outer * stride + b * inner + k] -> energies: (B). Several batches side by side. */
INLINE sum merge_batches(SHARED const long *job, long group, global const real *parts, global real *energies,
                         local real *scratch)
{
    const long inner = job[BATCH_INNER], outers = job[BATCH_OUTERS], stride = job[BATCH_STRIDE];
    const long B = group >= 0 && group < job[BATCH_GROUPS] ? job[BATCH_COUNT] : 0;
    const int lanes = (int)job[BATCH_LANES], k0 = LANE % lanes, at_once = LANES / lanes;
    sum magnitudes = (sum)(0);
    for (long base = max(group, 0L) * at_once; base < B; base += job[BATCH_GROUPS] * at_once) {
        const long b = base + LANE / lanes;
        sum mine = (sum)(0);
        for (long outer = 0; outer < outers && b < B; ++outer)
            for (long k = k0; k < inner; k += lanes)
                mine = sum_add(mine, parts[outer * stride + b * inner + k]);
        segment_sums(&mine, 1, lanes, lanes, scratch);
        const real energy = sum_value(mine);
        if (k0 == 0 && b < B) {
            energies[b] = energy;
            magnitudes = sum_add(magnitudes, fabs(energy));
        }
    }
    return magnitudes;
}
#endif

#if STEPS
/* Sum the magnitudes of a work-group's rows. step_sums: (tiles, R) -> row_energies: (R), E = sum_ij W_ij S_i S_j. */
INLINE sum merge_steps(SHARED const long *job, long group, global const real *step_sums, global real *row_energies)
{
    const long R = job[ROWS], first = group * job[GROUP_ROWS], end = min(first + job[GROUP_ROWS], R);
    sum magnitudes = (sum)(0);
    for (long r = first + LANE; r < end; r += LANES) {
        sum row = (sum)(0);
        for (long k = 0; k < job[STEP_TILES]; ++k)
            row = sum_add(row, step_sums[k * R + r]);
        row_energies[r] = sum_value(row);
        magnitudes = sum_add(magnitudes, fabs(sum_value(row)));
    }
    return magnitudes;
}
#endif

#if KERNELS == 0 || KERNELS == 1
/* job: (JOB_PARAMETERS); the work-groups of COLUMN_GROUPS come first, then those of ENTROPY_GROUPS, LAG_GROUPS,
 * BATCH_GROUPS and STEP_GROUPS. partials: (quantities, PARTIALS). */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) SUB_GROUP_SIZE void
merge(global const long *restrict given_job, global const long *restrict integers, global const real *restrict reals,
      global const real *restrict moments, global const real *restrict reference_moments, global real *states,
      global real *reference, global real *restrict values, global const real *restrict row_sums,
      global const int *restrict exponents, real log_N, real eps, global real *restrict row_z,
      global real *restrict row_factors, global const real *restrict lag_sums, global const real *restrict batch_parts,
      global real *restrict batch_energies, global const real *restrict step_sums, global real *restrict row_energies,
      global real *restrict partials)
{
    local real reals_scratch[SCRATCH * LANES] ALIGNED_LOCAL;
    local int part_exponents[LANES];
    local realv *scratch = (local realv *)reals_scratch;
#if STAGES
    local long job[JOB_PARAMETERS], staged_integers[TERMS_AT_ONCE * INTEGERS];
    local real staged_reals[TERMS_AT_ONCE * REALS];
    stage(job, staged_integers, staged_reals, given_job, integers, reals);
    BARRIER();
#else
    global const long *job = given_job;
    local long *staged_integers = 0;
    local real *staged_reals = 0;
#endif
    const long columns = job[COLUMN_GROUPS], entropies = columns + job[ENTROPY_GROUPS], lags = entropies + job[LAG_GROUPS],
               batches = lags + job[BATCH_GROUPS], group = get_group_id(0);
    sum mine = (sum)(0);
    long place = -1; /* of the work-group's partial */
#if MOMENTS
    merge_neurons(job, group, moments, reference_moments, integers, reals, states, reference, values, partials, scratch,
                  reals_scratch, staged_integers, staged_reals);
#endif
#if ENTROPY
    mine = merge_entropies(job, group - columns, row_sums, exponents, log_N, eps, row_z, row_factors, scratch,
                           part_exponents);
    if (group >= columns && group < entropies)
        place = job[ENTROPY_QUANTITY] * PARTIALS + group - columns;
#endif
#if LAGS
    if (group >= entropies && group < lags) {
        mine = merge_lags(job, group - entropies, lag_sums);
        place = (job[LAG_QUANTITY] + (group - entropies) / job[LAG_PARTS]) * PARTIALS + (group - entropies) % job[LAG_PARTS];
    }
#endif
#if BATCHES
    const sum magnitudes = merge_batches(job, group - lags, batch_parts, batch_energies, reals_scratch);
    if (group >= lags && group < batches) {
        mine = magnitudes;
        place = job[BATCH_QUANTITY] * PARTIALS + group - lags;
    }
#endif
#if STEPS
    if (group >= batches) {
        mine = merge_steps(job, group - batches, step_sums, row_energies);
        place = job[STEP_QUANTITY] * PARTIALS + group - batches;
    }
#endif
    segment_sums(&mine, 1, LANES, LANES, reals_scratch);
    if (LANE == 0 && place >= 0)
        partials[place] = sum_value(mine);
}
#endif

/* ---- Finish ---- */

/* Work-items that sum a row of partials together. */
#define SEGMENT (LANES < 32 ? LANES : 32)

/* How often the work-items take one of `count` partials each. Many work-items take what there may be at most, so that they
 * need not wait for the number; what lies behind the last partial does not count. */
#define TURNS(count) (LANES < 64 ? ((int)(count) + LANES - 1) / LANES : (PARTIALS + LANES - 1) / LANES)

/* The sum of the first `count` partials of a quantity. The work-items of each SEGMENT sum the same ones. */
INLINE sum partials_sum(global const real *partials, long quantity, long count, local real *scratch)
{
    sum mine = (sum)(0);
#if LANES >= 32
#pragma unroll /* all loads at once */
#endif
    for (int k = 0; k < PARTIALS / SEGMENT; ++k) {
        const int g = k * SEGMENT + (LANE & (SEGMENT - 1));
        const real x = partials[quantity * PARTIALS + g];
        mine = sum_add(mine, g < count ? x : (real)0);
    }
    segment_sums(&mine, 1, SEGMENT, (int)min(count, (long)SEGMENT), scratch);
    return mine;
}

#if MOMENTS
/* Find the population's numbers from the partials of merge, and of deviations() where `with_deviations`, by all work-items
 * of a work-group. */
INLINE void find_population(population *of, SHARED const long *job, global const real *partials, bool with_deviations,
                            local real *scratch)
{
    const long N = job[NEURONS], groups = job[COLUMN_GROUPS], columns = job[GROUP_COLUMNS];
    const int count = (int)min(groups, (long)LANES);
    of->pivot = partials[PIVOT * PARTIALS];
    sum sums[3] = { (sum)(0), (sum)(0), (sum)(0) }, spread = (sum)(0);
    sum deviated[4] = { (sum)(0), (sum)(0), (sum)(0), (sum)(0) };
#if LANES >= 64
#pragma unroll
#endif
    for (int k = 0; k < TURNS(groups); ++k) {
        const long g = k * LANES + LANE, own = min(g, PARTIALS - 1L);
        const real n = (real)min(columns, N - g * columns), ahead = partials[PIVOT * PARTIALS + own] - of->pivot;
        const real rest = partials[REST * PARTIALS + own], squares = partials[SQUARES * PARTIALS + own];
        const real reference_squares = partials[REFERENCE_SQUARES * PARTIALS + own];
        if (g < groups) {
            sums[0] = sum_add(sum_add(sums[0], n * ahead), rest);
            sums[1] = sum_add(sums[1], squares);
            sums[2] = sum_add(sums[2], reference_squares);
        }
    }
    segment_sums(sums, 3, LANES, count, scratch);
    of->rest = sum_value(sums[0]) / (real)N;
    of->squares = sum_value(sums[1]);
    of->reference_squares = sum_value(sums[2]);
    const long first = min((long)LANE, groups - 1);
    extremes ends = { partials[MAX_HIGH * PARTIALS + first], partials[MAX_LOW * PARTIALS + first],
                      partials[MIN_HIGH * PARTIALS + first], partials[MIN_LOW * PARTIALS + first] };
    for (long g = LANE; g < groups; g += LANES)
        add_extremes(&ends, partials[MAX_HIGH * PARTIALS + g], partials[MAX_LOW * PARTIALS + g],
                     partials[MIN_HIGH * PARTIALS + g], partials[MIN_LOW * PARTIALS + g]);
    group_extremes(&ends, scratch);
    /* A NaN, which no comparison finds, is in the mean, too. */
    of->largest = fmax(fabs(deviation_of(of, ends.max_high, ends.max_low)),
                      fabs(deviation_of(of, ends.min_high, ends.min_low))) +
                 (of->rest - of->rest);
    const real scale = scale_one_of(of->largest);
    for (long g = LANE; g < groups; g += LANES) {
        const real n = (real)min(columns, N - g * columns), ahead = partials[PIVOT * PARTIALS + g] - of->pivot;
        const real d = ((ahead - of->rest) + partials[REST * PARTIALS + g] / n) * scale;
        const real own = partials[SPREAD * PARTIALS + g] * scale;
        spread = sum_add(sum_add(spread, n * d * d), own * own);
    }
#if DISTANCES
    for (long g = LANE; g < groups && with_deviations; g += LANES)
#pragma unroll
        for (int k = 0; k < 4; ++k)
            deviated[k] = sum_add(deviated[k], partials[(DISTANCE_SUM + k) * PARTIALS + g]);
    segment_sums(deviated, 4, LANES, count, scratch);
#endif
    segment_sums(&spread, 1, LANES, count, scratch);
    of->norm = sqrt(sum_value(spread)) * scale_one_inverse(scale);
    of->distances = sum_value(deviated[0]);
    of->signs = sum_value(deviated[1]);
    of->ties = sum_value(deviated[2]);
    of->tie_signs = sum_value(deviated[3]);
}

/* Numbers no farther than this from a tie or from 0 are there by rounding alone: means that are equal fractions differ
 * by that much. */
INLINE real noise_of(const population *of)
{
    return 4 * EPSILON * fmax(of->largest, 4 * EPSILON * fabs(mubar_of(of)));
}

INLINE real sign_of(real x, real noise) { return fabs(x) > noise ? copysign((real)1, x) : (real)0; }

/* True if a deviation reaches the largest distance. */
INLINE bool is_tie(const population *of, real d, real noise) { return fabs(d) >= of->largest - noise; }

#if DISTANCES && (KERNELS == 0 || KERNELS == 2)
/* Sum the distances of the neurons' means from their mean, their signs, and those of the largest. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) SUB_GROUP_SIZE void
deviations(global const long *restrict given_job, global const real *restrict states, global real *partials)
{
    local real scratch[8 * LANES];
#if STAGES
    local long job[JOB_PARAMETERS];
    for (int k = LANE; k < JOB_PARAMETERS; k += LANES)
        job[k] = given_job[k];
    BARRIER();
#else
    global const long *job = given_job;
#endif
    const long N = job[NEURONS], group = get_group_id(0);
    const long first = group * job[GROUP_COLUMNS], end = min(first + job[GROUP_COLUMNS], N);
    population of;
    find_population(&of, job, partials, false, scratch);
    const real noise = noise_of(&of);
    sum sums[4] = { (sum)(0), (sum)(0), (sum)(0), (sum)(0) }; /* from DISTANCE_SUM on */
    for (long i = first + LANE; i < end; i += LANES) {
        const real d = deviation_of(&of, states[i], states[N + i]), sign_ = sign_of(d, noise);
        const bool tie = is_tie(&of, d, noise);
        sums[0] = sum_add(sums[0], fabs(d));
        sums[1] = sum_add(sums[1], sign_);
        sums[2] = sum_add(sums[2], tie ? (real)1 : (real)0);
        sums[3] = sum_add(sums[3], tie ? sign_ : (real)0);
    }
    segment_sums(sums, 4, LANES, (int)min(end - first, (long)LANES), scratch);
#pragma unroll
    for (int k = 0; k < 4; ++k)
        if (LANE == 0)
            partials[(DISTANCE_SUM + k) * PARTIALS + group] = sum_value(sums[k]);
}
#endif
#endif

/* A term's value from the sum over its items. */
INLINE real value_of(const population *of, real N, SHARED const long *term, SHARED const real *reals, real total,
                     real kept)
{
    switch (term[CRITERION]) {
    case FIRING_RATE:
        return total / N;
    case FIRING_RATE_DIST:
        switch (term[METRIC]) {
        case SD:
            return of->norm * sqrt(reals[SCALE]);
        case CV:
            return of->norm / mubar_of(of) * sqrt(reals[SCALE]);
        case MEAN_AD:
            return of->distances / N;
        default:
            return of->largest;
        }
    case ENTROPY_TERM:
        return add_reg(total * reals[SCALE], reals[REG], of->squares);
    case POPULATION_KL: {
        const real kl = kept > 0 ? total / (term[REDUCTION] == SUM ? (real)1 : kept) : (real)NAN;
        return add_reg(kl, reals[REG], of->squares + of->reference_squares);
    }
    default:
        return total * reals[SCALE];
    }
}

/* ---- Coefficients of the gradient ---- */

#if GRADIENT
/* A neuron's samples S have the gradient offset + slope ((S - mean) scale): (R, R1) times that, until the end. The scales
 * are those of the neurons' standard deviations. */
typedef struct lines {
    real offset, slope, reference_offset, reference_slope;
} lines;

/* The scale of neuron i. */
INLINE real slope_scale(global const real *statistics, long N, long i)
{
    return REFERENCE ? scale_one_of_slope(statistics[2 * N + i]) : (real)1;
}

#if MOMENTS
/* d value / d mu_i */
INLINE real spread_slope(const neurons *all, const population *of, SHARED const long *term, SHARED const real *reals,
                         long i)
{
    const real N = (real)all->N, d = deviation_of(of, all->states[i], all->states[all->N + i]), mubar = mubar_of(of);
    if (term[METRIC] == SD || term[METRIC] == CV) {
        const real norm = of->norm * sqrt(reals[SCALE]);
        const real slope = norm > 16 * EPSILON * EPSILON * fabs(mubar) ? d / norm * reals[SCALE] : (real)0;
        return term[METRIC] == SD ? slope : slope / mubar - norm / mubar / mubar / N;
    }
    const real noise = noise_of(of), sign_ = sign_of(d, noise);
    if (term[METRIC] == MEAN_AD)
        return (sign_ - of->signs / N) / N;
    return ((is_tie(of, d, noise) ? sign_ : (real)0) - of->tie_signs / N) / of->ties;
}

/* w times the gradient of neuron i's divergence. */
INLINE void add_divergence(const neurons *all, SHARED const long *term, real floor, long i, real w, lines *to)
{
    const long N = all->N;
    const real own0 = all->states[2 * N + i], own1 = all->reference[2 * N + i];
    const real s0 = floored(own0, floor), s1 = floored(own1, floor);
    const real d = (all->states[i] - all->reference[i]) + (all->states[N + i] - all->reference[N + i]);
    const real d1 = d / s1;
    real dm, dv0, dv1; /* dv0, dv1: times the variance */
    if (term[SYMMETRIC]) {
        const real d0 = d / s0, q0 = s0 / s1, q1 = s1 / s0;
        dm = d0 / s0 * 0.5f + d1 / s1 * 0.5f;
        dv0 = (difference_of_squares(s0, s1, s0, s0) * (1 + q0 * q0) - d0 * d0) * 0.25f;
        dv1 = (difference_of_squares(s1, s0, s1, s1) * (1 + q1 * q1) - d1 * d1) * 0.25f;
    } else {
        const real rest = term[LOG_SIGMA] ? 0.5f : 0; /* of the logarithm */
        const real x = difference_of_squares(s0, s1, s1, s1) + rest;
        dm = d1 / s1;
        dv0 = x * 0.5f;
        dv1 = -(x + d1 * d1) * 0.5f;
    }
    to->offset += w * dm;
    to->reference_offset -= w * dm;
    if (own0 >= floor)
        to->slope += 2 * w * dv0 / s0 / (s0 * slope_scale(all->states, N, i));
    if (own1 >= floor)
        to->reference_slope += 2 * w * dv1 / s1 / (s1 * slope_scale(all->reference, N, i));
}

/* w times the gradient of the mean over rows of neuron i's S^2. */
INLINE void add_square(real w, global const real *statistics, long N, long i, real *offset, real *slope)
{
    *offset += 2 * w * mean_of(statistics, N, i);
    *slope += 2 * w / slope_scale(statistics, N, i);
}

/* The part of one term, w being its weight in all, u that of neuron i's value where there are N values. */
INLINE void add_term(const neurons *all, const population *of, SHARED const long *term, SHARED const real *reals,
                     real kept, long i, real w, real u, lines *to)
{
    const long N = all->N;
    switch (term[CRITERION]) {
    case FIRING_RATE: {
        const real d = target_distance(all, reals, i);
        to->offset += w * (term[METRIC] == L1 ? sign_of(d, 0) : 2 * d) / (real)N;
        break;
    }
    case FIRING_RATE_DIST:
        to->offset += w * spread_slope(all, of, term, reals, i);
        break;
    case ENTROPY_TERM:
        add_square(w * reals[REG], all->states, N, i, &to->offset, &to->slope);
        break;
#if REFERENCE
    case POPULATION_KL: {
        const real each = term[REDUCTION] == NONE ? w * u : w;
        bool degenerate;
        divergence(all, term, reals[FLOOR], i, &degenerate);
        add_square(each * reals[REG], all->states, N, i, &to->offset, &to->slope);
        add_square(each * reals[REG], all->reference, N, i, &to->reference_offset, &to->reference_slope);
        if (!(degenerate && term[SKIP]))
            add_divergence(all, term, reals[FLOOR], i, term[REDUCTION] == MEAN ? each / kept : each, to);
        break;
    }
#endif
    }
}
#endif

/* Return what a term adds to a factor. There is one factor for each lag's differences and for each eps's entropy, and one
 * each for the Hebbian signs of batches and of rows. */
INLINE real factor_of(SHARED const long *term, SHARED const real *reals, long factor, real w)
{
    const bool lags = term[CRITERION] == STATE_PREDICTION;
    const bool has_factor = lags || term[CRITERION] == ENTROPY_TERM || term[CRITERION] == HEBBIAN;
    return has_factor && term[FACTOR] == factor ? (lags ? 2 * w : w) * reals[SCALE] : (real)0;
}

/* Add what `count` terms add to the factors, which are 0 before the first of them. */
INLINE void give_factors(SHARED const long *job, SHARED const long *integers, SHARED const real *reals, int count,
                         bool first, real factor, global real *factors)
{
    for (long f = LANE; f < job[FACTORS]; f += LANES) {
        real total = first ? (real)0 : factors[f];
        for (int k = 0; k < count; ++k)
            total += factor_of(integers + k * INTEGERS, reals + k * REALS, f, factor * reals[k * REALS + WEIGHT]);
        factors[f] = total;
    }
}
#endif

/* Sum the partials of `count` terms to totals: (TERMS_AT_ONCE, 2), each in two parts. */
INLINE void sum_terms(SHARED const long *integers, int count, global const real *partials, local sum *totals,
                      local real *scratch)
{
    for (int base = 0; base < 2 * count; base += LANES / SEGMENT) {
        const int row = base + LANE / SEGMENT;
        SHARED const long *term = integers + min(row / 2, count - 1) * INTEGERS;
        const bool is_kept = row % 2 == 1;
        const bool given = row < 2 * count && (!is_kept || term[CRITERION] == POPULATION_KL);
        const long quantity = given ? term[QUANTITY] + is_kept : 0; /* one that is there: all are read */
        const sum all = partials_sum(partials, quantity, given ? term[COUNT] : 0, scratch);
        if (LANE % SEGMENT == 0 && row < 2 * count)
            totals[row] = all;
    }
    BARRIER();
}

/* The terms' values, from their totals, by work-group 0; what each adds to the total goes to `weighted`. */
INLINE void give_values(const population *of, long N, SHARED const long *integers, SHARED const real *reals,
                        int count, local const sum *totals, local real *weighted, global real *values,
                        global long *skipped)
{
    for (int k = LANE; k < count; k += LANES) {
        SHARED const long *term = integers + k * INTEGERS;
        SHARED const real *parameters = reals + k * REALS;
        const bool divergences = term[CRITERION] == POPULATION_KL;
        const sum kept = totals[2 * k + 1];
        skipped[k] = divergences ? N - ((long)kept.x + (long)kept.y) : 0;
        weighted[k] = 0;
        if (!(divergences && term[REDUCTION] == NONE)) {
            const real value = value_of(of, (real)N, term, parameters, sum_value(totals[2 * k]), sum_value(kept));
            values[term[VALUE]] = value;
            weighted[k] = parameters[WEIGHT] * value;
        }
    }
}

#if GRADIENT
/* The coefficients of neuron i: what the terms [first, first + count) add to them. */
INLINE void give_lines(const neurons *all, const population *of, SHARED const long *integers, SHARED const real *reals,
                       long first, int count, local const sum *totals, real factor, int cotangents_given,
                       global const real *cotangents, long i, real R, real R1, bool last, global real *states_lines,
                       global real *reference_lines)
{
    const long N = all->N;
    lines to = { 0, 0, 0, 0 };
    if (first > 0)
        to = (lines){ states_lines[i], states_lines[N + i], reference_lines[i], reference_lines[N + i] };
#if MOMENTS
    for (int k = 0; k < count; ++k) {
        SHARED const long *term = integers + k * INTEGERS;
        SHARED const real *parameters = reals + k * REALS;
        const bool is_vector = term[CRITERION] == POPULATION_KL && term[REDUCTION] == NONE;
        const real u = is_vector && cotangents_given ? cotangents[term[COTANGENT] * N + i] : (real)0;
        add_term(all, of, term, parameters, sum_value(totals[2 * k + 1]), i, factor * parameters[WEIGHT], u, &to);
    }
#endif
    states_lines[i] = last ? to.offset / R : to.offset;
    states_lines[N + i] = last ? to.slope / R : to.slope;
    reference_lines[i] = last ? to.reference_offset / R1 : to.reference_offset;
    reference_lines[N + i] = last ? to.reference_slope / R1 : to.reference_slope;
}
#endif

#if KERNELS == 0 || KERNELS == 2
/* Work-group 0 gives the values, values[value_count] being the total, and behind them the numbers of skipped neurons, a
 * long for each term, and the flag of gradients that are not finite, which starts as 0. With GRADIENT each work-group
 * gives the coefficients of FINISH_COLUMNS neurons, states_lines and reference_lines: (2, N), offset and slope, and
 * work-group 0 factors: (FACTORS). reference is states where there is none. The first five arguments are set by each
 * evaluation. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) SUB_GROUP_SIZE void
finish(real scale_value, int scale_given, global const real *restrict scale, int cotangents_given,
       global const real *restrict cotangents, global const long *restrict given_job,
       global const long *restrict given_integers, global const real *restrict given_reals,
       global const real *restrict states, global const real *restrict reference, global const real *restrict partials,
       real R, real R1, global real *values, global real *states_lines, global real *reference_lines,
       global real *restrict factors)
{
    local real scratch[8 * LANES], weighted[TERMS_AT_ONCE];
    local sum totals[2 * TERMS_AT_ONCE];
#if STAGES
    local long job[JOB_PARAMETERS], integers[TERMS_AT_ONCE * INTEGERS];
    local real reals[TERMS_AT_ONCE * REALS];
    stage(job, integers, reals, given_job, given_integers, given_reals);
    BARRIER();
#else
    global const long *job = given_job;
#endif
    const long N = job[NEURONS], terms = job[TERMS], group = get_group_id(0);
    population of = { 0 };
#if MOMENTS
    find_population(&of, job, partials, job[DEVIATIONS] != 0, scratch);
#endif
#if GRADIENT
    const real factor = scale_given ? scale[0] : scale_value;
    const neurons all = { N, states, reference };
    const long end_column = min((group + 1) * job[FINISH_COLUMNS], N);
#endif
    real total = 0;
    for (long first = 0; first < terms; first += TERMS_AT_ONCE) {
        const int count = (int)min(terms - first, (long)TERMS_AT_ONCE);
#if !STAGES
        global const long *integers = given_integers + first * INTEGERS;
        global const real *reals = given_reals + first * REALS;
#endif
        sum_terms(integers, count, partials, totals, scratch);
        if (group == 0)
            give_values(&of, N, integers, reals, count, totals, weighted, values,
                        (global long *)values + job[SKIPPED_OFFSET] + first);
        BARRIER();
        for (int k = 0; group + LANE == 0 && k < count; ++k)
            total += weighted[k];
#if GRADIENT
        if (group == 0)
            give_factors(job, integers, reals, count, first == 0, factor, factors);
        for (long i = group * job[FINISH_COLUMNS] + LANE; i < end_column; i += LANES)
            give_lines(&all, &of, integers, reals, first, count, totals, factor, cotangents_given, cotangents, i, R, R1,
                       first + count == terms, states_lines, reference_lines);
#endif
        BARRIER();
#if STAGES
        if (first + TERMS_AT_ONCE < terms)
            stage_terms(integers, reals, given_integers, given_reals, first + TERMS_AT_ONCE);
        BARRIER();
#endif
    }
    if (group + LANE == 0) {
        values[job[VALUE_COUNT]] = total;
        ((global long *)values)[job[SKIPPED_OFFSET] + terms] = 0;
    }
}
#endif
