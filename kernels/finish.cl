/* SPDX-License-Identifier: Apache-2.0 */
/* From the sums of groups to the sums of the whole, in a fixed order, and from those to the values. */

/* ---- Merges ---- */

/* moments: (blocks, 3, N), of blocks of block_rows rows and a shorter last one
 *   -> statistics: (3, N), the mean in two parts and the variance.
 * Chan, Golub and LeVeque's merge of all blocks at once: around a pivot near the mean, no part of the variance
 * is the difference of large numbers. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
merge_moments(global const real *restrict moments, long N, long R, long block_rows, long blocks,
              global real *restrict statistics)
{
    const long i = ((long)get_group_id(0) * LANES + get_local_id(0)) * VECTOR, some = N - i;
    if (some <= 0)
        return;
    const real whole = (real)block_rows / (real)R;
    const real last = (real)(R - (blocks - 1) * block_rows) / (real)R;
    const realv first_shift = load_reals(moments, i, some);

    realv mean = (realv)0, mean_lost = (realv)0;
    for (long g = 0; g < blocks; ++g) {
        const realv shift = load_reals(moments, 3 * g * N + i, some);
        const realv delta = load_reals(moments, (3 * g + 1) * N + i, some);
        vector_add(&mean, &mean_lost, ((shift - first_shift) + delta) * (g + 1 < blocks ? whole : last));
    }
    const realv pivot = first_shift + (mean - mean_lost);

    realv rest = (realv)0, rest_lost = (realv)0, spread = (realv)0, spread_lost = (realv)0;
    for (long g = 0; g < blocks; ++g) {
        const real share = g + 1 < blocks ? whole : last;
        const realv shift = load_reals(moments, 3 * g * N + i, some);
        const realv d = (shift - pivot) + load_reals(moments, (3 * g + 1) * N + i, some);
        const realv within = load_reals(moments, (3 * g + 2) * N + i, some) / (real)R;
        vector_add(&rest, &rest_lost, d * share);
        vector_add(&spread, &spread_lost, fma(d * share, d, within));
    }
    rest -= rest_lost;
    const realv variance = (spread - spread_lost) - rest * rest;
    store_reals(statistics, i, some, pivot);
    store_reals(statistics, N + i, some, rest);
    store_reals(statistics, 2 * N + i, some, select(variance, (realv)0, variance < (realv)0));
}

/* Of one block of rows, row_sums: (tiles, 2, R) and exponents: (blocks, tiles) -> row_z: (R), and
 * sums[first_sum + block], the rows' entropies added up. direct: A is the sum of p log(p + eps) already. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
merge_entropy(global const real *restrict row_sums, global const int *restrict exponents, long tiles, long R,
              long block_rows, real log_N, int direct, long first_sum, global real *restrict row_z,
              global real *restrict sums)
{
    local real scratch[2 * LANES];
    const long block = get_group_id(0), first = block * block_rows, end = min(first + block_rows, R);
    const real log_2 = (real)0.693147182f + (real)-1.9046542e-9f;
    int largest = exponents[block * tiles];
    for (long k = 1; k < tiles; ++k)
        largest = max(largest, exponents[block * tiles + k]);

    realv entropies = (realv)0, entropies_lost = (realv)0;
    for (long r = first + get_local_id(0) * VECTOR; r < end; r += LANES * VECTOR) {
        const long some = end - r;
        realv z = (realv)0, z_lost = (realv)0, a = (realv)0, a_lost = (realv)0;
        for (long k = 0; k < tiles; ++k) {
            const realv tile_z = load_reals(row_sums, 2 * k * R + r, some);
            const realv tile_a = load_reals(row_sums, (2 * k + 1) * R + r, some);
            const real below = direct ? (real)0 : (real)(largest - exponents[block * tiles + k]) * log_2;
            vector_add(&z, &z_lost, tile_z);
            vector_add(&a, &a_lost, tile_a - tile_z * below);
        }
        z -= z_lost;
        a -= a_lost;
        realv entropy = -a;
        if (!direct) {
            store_reals(row_z, r, some, z);
            /* 0 <= H <= log N: rounding must not leave that. A NaN stays, in a row of sum 0 too; so does an
               infinite sum. */
            entropy = logarithm(z, largest) - a / z;
            entropy = select(entropy, (realv)0, entropy < (realv)0);
            entropy = select(entropy, (realv)log_N, entropy > (realv)log_N);
            entropy = select(entropy, a, z == (realv)0) + (a - a);
        }
        vector_add(&entropies, &entropies_lost, entropy);
    }
    const sum mine = (sum)(components_sum(entropies), -components_sum(entropies_lost));
    const sum all = group_sum(mine, scratch);
    if (get_local_id(0) == 0)
        sums[first_sum + block] = sum_value(all);
}

/* step_sums: (tiles, R) -> sums from first_sum on: (groups), each over group_rows rows of the rows' absolute values. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
merge_steps(global const real *restrict step_sums, long tiles, long R, long group_rows, long first_sum,
            global real *restrict sums)
{
    local real scratch[2 * LANES];
    const long first = (long)get_group_id(0) * group_rows, end = min(first + group_rows, R);
    sum magnitudes = (sum)(0);
    for (long r = first + get_local_id(0); r < end; r += LANES) {
        sum row = (sum)(0);
        for (long k = 0; k < tiles; ++k)
            row = sum_add(row, step_sums[k * R + r]);
        magnitudes = sum_add(magnitudes, fabs(sum_value(row)));
    }
    const sum all = group_sum(magnitudes, scratch);
    if (get_local_id(0) == 0)
        sums[first_sum + get_group_id(0)] = sum_value(all);
}

/* ---- Values ---- */

/* The numbers of ratecl.h. */
enum { FIRING_RATE = 1, FIRING_RATE_DIST, STATE_PREDICTION, HEBBIAN, ENTROPY_TERM, POPULATION_KL };
enum { L2 = 1, L1, SD, CV, MEAN_AD, MAX_AD };
enum { MEAN, SUM, NONE };

/* A term as the host packs it: `integers` holds these, `reals` the ones below. */
enum { CRITERION, METRIC, SYMMETRIC, REDUCTION, LOG_SIGMA, SKIP, VALUE, FIRST, COUNT, PER_ITEM, INTEGERS };
enum { WEIGHT, TARGET, REG, VAR_FLOOR, SCALE, REALS };

typedef struct whole {
    long N;
    global const real *states, *reference; /* statistics: (3, N) */
    global const real *sums;               /* all merged sums: a term's are PER_ITEM each from FIRST on */
    real mubar;
} whole;

INLINE real mean_of(global const real *statistics, long N, long i)
{
    return statistics[i] + statistics[N + i];
}

/* The mean over rows of S_i^2. */
INLINE real square_of(global const real *statistics, long N, long i)
{
    const real mean = mean_of(statistics, N, i);
    return fma(mean, mean, statistics[2 * N + i]);
}

INLINE real floored(real variance, real floor) { return variance < floor ? floor : variance; }

/* log(ratio), accurate near 1, where ratio - 1 = excess. */
INLINE real log_ratio(real ratio, real excess) { return fabs(excess) < 0.5f ? log1p(excess) : log(ratio); }

/* The divergence of neuron i; *degenerate where it has none. */
INLINE real divergence(const whole *all, global const long *term, real floor, long i, bool *degenerate)
{
    const long N = all->N;
    const real v0 = floored(all->states[2 * N + i], floor), v1 = floored(all->reference[2 * N + i], floor);
    const real d = (all->states[i] - all->reference[i]) + (all->states[N + i] - all->reference[N + i]);
    *degenerate = (v0 == 0 && isfinite(v1)) || (v1 == 0 && isfinite(v0));
    /* Differences of variances, not of their quotients: small divergences keep their digits. */
    if (term[SYMMETRIC])
        return ((v0 - v1) / v0 * ((v0 - v1) / v1) + d * d / v0 + d * d / v1) * 0.25f;
    const real logarithm = log_ratio(v1 / v0, (v1 - v0) / v0);
    return 0.5f * ((term[LOG_SIGMA] ? 0.5f * logarithm : logarithm) + ((v0 - v1) + d * d) / v1);
}

/* reg times the mean square, which may be infinite where reg is 0. */
INLINE real add_reg(real value, real reg, real squares) { return reg == 0 ? value : fma(reg, squares, value); }

/* What item k of a term adds to its sum: of neuron k, or of merged sum k. */
INLINE real item(const whole *all, global const long *term, global const real *reals, long k,
                        global real *values, sum *kept)
{
    const long N = all->N;
    switch (term[CRITERION]) {
    case FIRING_RATE: {
        const real d = (all->states[k] - reals[TARGET]) + all->states[N + k];
        return term[METRIC] == L1 ? fabs(d) : d * d;
    }
    case FIRING_RATE_DIST: {
        const real d = (all->states[k] - all->mubar) + all->states[N + k];
        return term[METRIC] == SD || term[METRIC] == CV ? d * d : fabs(d);
    }
    case POPULATION_KL: {
        bool degenerate;
        const real kl = divergence(all, term, reals[VAR_FLOOR], k, &degenerate);
        const bool skipped = degenerate && term[SKIP];
        if (!skipped)
            *kept = sum_add(*kept, 1);
        if (term[REDUCTION] == NONE) {
            const real squares = square_of(all->states, N, k) + square_of(all->reference, N, k);
            values[term[VALUE] + k] = add_reg(skipped ? (real)0 : kl, reals[REG], squares);
        }
        return skipped ? (real)0 : kl;
    }
    default: {
        sum s = (sum)(0);
        for (long p = 0; p < term[PER_ITEM]; ++p)
            s = sum_add(s, all->sums[term[FIRST] + k * term[PER_ITEM] + p]);
        return term[CRITERION] == HEBBIAN ? fabs(sum_value(s)) : sum_value(s);
    }
    }
}

/* The larger one, and a NaN before any number. */
INLINE real larger(real a, real b) { return b > a || b != b ? b : a; }

/* A term's value from the sum (or maximum) over its items. */
INLINE real value_of(const whole *all, global const long *term, global const real *reals, real total,
                            real kept, real squares, real reference_squares)
{
    const real N = (real)all->N;
    switch (term[CRITERION]) {
    case FIRING_RATE:
        return total / N;
    case FIRING_RATE_DIST:
        switch (term[METRIC]) {
        case SD:
            return sqrt(total * reals[SCALE]);
        case CV:
            return sqrt(total * reals[SCALE]) / all->mubar;
        case MEAN_AD:
            return total / N;
        default:
            return total;
        }
    case ENTROPY_TERM:
        return add_reg(total * reals[SCALE], reals[REG], squares);
    case POPULATION_KL: {
        const real kl = term[REDUCTION] == SUM ? total : kept > 0 ? total / kept : (real)0;
        return add_reg(kl, reals[REG], squares + reference_squares);
    }
    default:
        return total * reals[SCALE];
    }
}

INLINE sum squares_sum(global const real *statistics, long N)
{
    sum s = (sum)(0);
    for (long i = get_local_id(0); i < N; i += LANES)
        s = sum_add(s, square_of(statistics, N, i));
    return s;
}

/* One group finishes all terms: values[value_count] is the total. reference is states where there is none,
 * and neither is read where no term of the plan needs it. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
finish(global const long *restrict integers, global const real *restrict reals, int terms, long value_count, long N,
       int has_moments, int has_reference, global const real *restrict states, global const real *restrict reference,
       global const real *restrict sums, global real *restrict values, global long *restrict skipped)
{
    local real scratch[2 * LANES], maxima[LANES];
    const int lane = get_local_id(0);
    whole all = { N, states, reference, sums, 0 };

    sum rates = (sum)(0), squares = (sum)(0), reference_squares = (sum)(0);
    if (has_moments) {
        for (long i = lane; i < N; i += LANES)
            rates = sum_add(sum_add(rates, states[i]), states[N + i]);
        squares = squares_sum(states, N);
    }
    if (has_reference)
        reference_squares = squares_sum(reference, N);
    all.mubar = sum_value(group_sum(rates, scratch)) / (real)N;
    const real S2 = sum_value(group_sum(squares, scratch));
    const real S2_reference = sum_value(group_sum(reference_squares, scratch));

    real total = 0;
    for (int k = 0; k < terms; ++k) {
        global const long *term = integers + k * INTEGERS;
        global const real *parameters = reals + k * REALS;
        sum mine = (sum)(0), kept = (sum)(0);
        real largest = 0;
        for (long n = lane; n < term[COUNT]; n += LANES) {
            const real x = item(&all, term, parameters, n, values, &kept);
            mine = sum_add(mine, x);
            largest = larger(largest, x);
        }
        maxima[lane] = largest;
        const real added = sum_value(group_sum(mine, scratch));
        const sum count = group_sum(kept, scratch); /* in two parts: beyond what a float can count */
        for (int other = 0; other < LANES; ++other)
            largest = larger(largest, maxima[other]);
        BARRIER();
        if (lane == 0) {
            const bool maximum = term[CRITERION] == FIRING_RATE_DIST && term[METRIC] == MAX_AD;
            skipped[k] = term[CRITERION] == POPULATION_KL ? N - ((long)count.x + (long)count.y) : 0;
            if (!(term[CRITERION] == POPULATION_KL && term[REDUCTION] == NONE)) {
                const real value =
                    value_of(&all, term, parameters, maximum ? largest : added, sum_value(count), S2, S2_reference);
                values[term[VALUE]] = value;
                total += parameters[WEIGHT] * value;
            }
        }
    }
    if (lane == 0)
        values[value_count] = total;
}
