/* SPDX-License-Identifier: Apache-2.0 */
/* From the sums of groups to the sums of the whole, in a fixed order, and from those to the values and to the
 * coefficients of the gradient.
 *
 *   GRADIENT    1 where the plan has one
 *   MOMENTS, ENTROPY, STEPS, BATCHES   1 where the merge of that name is wanted */
#ifndef GRADIENT
#define GRADIENT 0
#endif
#ifndef MOMENTS
#define MOMENTS 1
#endif
#ifndef ENTROPY
#define ENTROPY 1
#endif
#ifndef STEPS
#define STEPS 1
#endif
#ifndef BATCHES
#define BATCHES 1
#endif

/* ---- Merges ---- */

#if MOMENTS
/* moments: (blocks, 3, N to whole vectors, as sweep leaves them), of blocks of block_rows rows and a shorter last one
 *   -> statistics: (3, N), the mean in two parts and the variance.
 * The mean keeps what its division rounds off: equal fractions stay equal. The variance is Chan, Golub and
 * LeVeque's merge of all blocks at once: around a pivot near the mean, no part of it is the difference of large
 * numbers. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
merge_moments(global const real *restrict moments, long N, long R, long block_rows, long blocks,
              global real *restrict statistics)
{
    const long i = ((long)get_group_id(0) * LANES + LANE) * VECTOR;
    if (i >= N)
        return;
    const long padded = (N + VECTOR - 1) / VECTOR * VECTOR, column = min(i, N - VECTOR);
    const int skip = (int)(i - column);
    const long last_rows = R - (blocks - 1) * block_rows;
    const realv first_shift = VLOAD(global, REAL, moments + i);

    realv total = (realv)0, total_lost = (realv)0; /* of S - first_shift */
    for (long g = 0; g < blocks; ++g) {
        const real rows = (real)(g + 1 < blocks ? block_rows : last_rows);
        const realv shift = VLOAD(global, REAL, moments + 3 * g * padded + i);
        vector_add(&total, &total_lost, (shift - first_shift) * rows);
        vector_add(&total, &total_lost, VLOAD(global, REAL, moments + (3 * g + 1) * padded + i));
    }
    const real R_high = (real)R, R_low = (real)(R - (long)R_high);
    const realv quotient = total / R_high;
    const realv quotient_lost = (fma(-quotient, (realv)R_high, total) - total_lost - quotient * R_low) / R_high;
    const realv pivot = first_shift + quotient, part = pivot - first_shift;
    const realv pivot_lost = ((first_shift - (pivot - part)) + (quotient - part)) + quotient_lost;

    realv rest = (realv)0, rest_lost = (realv)0, spread = (realv)0, spread_lost = (realv)0;
    for (long g = 0; g < blocks; ++g) {
        const real rows = (real)(g + 1 < blocks ? block_rows : last_rows), share = rows / R_high;
        const realv shift = VLOAD(global, REAL, moments + 3 * g * padded + i);
        const realv d = (shift - pivot) + VLOAD(global, REAL, moments + (3 * g + 1) * padded + i) / rows;
        const realv within = VLOAD(global, REAL, moments + (3 * g + 2) * padded + i) / R_high;
        vector_add(&rest, &rest_lost, d * share);
        vector_add(&spread, &spread_lost, fma(d * share, d, within));
    }
    rest -= rest_lost;
    const realv variance = (spread - spread_lost) - rest * rest;
    store_last(statistics, column, skip, pivot);
    store_last(statistics, N + column, skip, pivot_lost);
    store_last(statistics, 2 * N + column, skip, select(variance, (realv)0, variance < (realv)0));
}
#endif

#if ENTROPY
/* Of one block of rows, row_sums: (tiles, 2, R) and exponents: (blocks, tiles) -> row_z: (R), and
 * sums[first_sum + block], the rows' entropies added up. direct: A is the sum of p log(p + eps) already.
 * With GRADIENT also row_factors: (2, R), what gradient.cl wants of a row, and block_exponents: (blocks). */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
merge_entropy(global const real *restrict row_sums, global const int *restrict exponents, long tiles, long R,
              long block_rows, real log_N, int direct, real eps, long first_sum, global real *restrict row_z,
              global real *restrict sums, long first_factor, global real *restrict row_factors,
              global int *restrict block_exponents)
{
    local real scratch[2 * LANES];
    const long block = get_group_id(0), first = block * block_rows, end = min(first + block_rows, R);
    const real log_2 = (real)0.693147182f + (real)-1.9046542e-9f;
    int largest = exponents[block * tiles];
    for (long k = 1; k < tiles; ++k)
        largest = max(largest, exponents[block * tiles + k]);

    realv entropies = (realv)0, entropies_lost = (realv)0;
    for (long r = first + LANE * VECTOR; r < end; r += LANES * VECTOR) {
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
#if GRADIENT
        const realv Z = direct ? load_reals(row_z, r, some) : z;
        const realv silent = (realv)0;
        store_reals(row_factors, first_factor + r, some, select(direct ? -(a + z) : a / z, silent, Z == silent));
        store_reals(row_factors, first_factor + R + r, some, select(1 / (Z + eps), silent, Z == silent));
#endif
        vector_add(&entropies, &entropies_lost, entropy);
    }
    const sum mine = (sum)(components_sum(entropies), -components_sum(entropies_lost));
    const sum all = group_sum(mine, scratch);
    if (LANE == 0) {
        sums[first_sum + block] = sum_value(all);
#if GRADIENT
        if (!direct)
            block_exponents[block] = largest;
#endif
    }
}
#endif

#if STEPS
/* step_sums: (tiles, R) -> row_energies: (R), E = sum_ij W_ij S_i S_j, and sums from first_sum on: (groups), each
 * the sum of |E| over group_rows rows. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
merge_steps(global const real *restrict step_sums, long tiles, long R, long group_rows, long first_sum,
            global real *restrict row_energies, global real *restrict sums)
{
    local real scratch[2 * LANES];
    const long first = (long)get_group_id(0) * group_rows, end = min(first + group_rows, R);
    sum magnitudes = (sum)(0);
    for (long r = first + LANE; r < end; r += LANES) {
        sum row = (sum)(0);
        for (long k = 0; k < tiles; ++k)
            row = sum_add(row, step_sums[k * R + r]);
        row_energies[r] = sum_value(row);
        magnitudes = sum_add(magnitudes, fabs(sum_value(row)));
    }
    const sum all = group_sum(magnitudes, scratch);
    if (LANE == 0)
        sums[first_sum + get_group_id(0)] = sum_value(all);
}
#endif

#if BATCHES
/* parts: (B, count) -> sums[first_sum + b], the sum over batch b, one group for each. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
merge_batches(global const real *restrict parts, long count, long first_sum, global real *restrict sums)
{
    local real scratch[2 * LANES];
    const long b = get_group_id(0);
    sum mine = (sum)(0);
    for (long k = LANE; k < count; k += LANES)
        mine = sum_add(mine, parts[b * count + k]);
    const sum all = group_sum(mine, scratch);
    if (LANE == 0)
        sums[first_sum + b] = sum_value(all);
}
#endif

/* ---- Values ---- */

/* The numbers of ratecl.h. */
enum { FIRING_RATE = 1, FIRING_RATE_DIST, STATE_PREDICTION, HEBBIAN, ENTROPY_TERM, POPULATION_KL };
enum { L2 = 1, L1, SD, CV, MEAN_AD, MAX_AD };
enum { MEAN, SUM, NONE };

/* A term as the host packs it: `integers` holds these, `reals` the ones below. FACTOR is the term's place among
 * the factors of the gradient, COTANGENT that of its row of cotangents. */
enum { CRITERION, METRIC, SYMMETRIC, REDUCTION, LOG_SIGMA, SKIP, VALUE, FIRST, COUNT, FACTOR, COTANGENT, INTEGERS };
enum { WEIGHT, TARGET, TARGET_LOW, REG, VAR_FLOOR, SCALE, REALS };
/* What finish leaves of a term for its gradient. */
enum { NORM, TIES, SIGNS, KEPT, SHARED };

typedef struct whole {
    long N;
    global const real *states, *reference; /* statistics: (3, N) */
    global const real *sums;               /* all merged sums: a term's COUNT from FIRST on */
    real pivot, rest;                      /* mubar = pivot + rest; the pivot is a mean, so that equal ones deviate
                                              by exactly 0 */
} whole;

INLINE real mubar_of(const whole *all) { return all->pivot + all->rest; }

/* mu_i - mubar */
INLINE real deviation(const whole *all, long i)
{
    return ((all->states[i] - all->pivot) + all->states[all->N + i]) - all->rest;
}

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

/* mu_i - target */
INLINE real target_distance(const whole *all, global const real *reals, long i)
{
    return (all->states[i] - reals[TARGET]) + (all->states[all->N + i] - reals[TARGET_LOW]);
}

INLINE real floored(real variance, real floor) { return variance < floor ? floor : variance; }

/* log(a / b), accurate near 0. */
INLINE real log_ratio(real a, real b) { return a < b ? -log1p((b - a) / a) : log1p((a - b) / b); }

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
    const real logarithm = log_ratio(v1, v0);
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
        const real d = target_distance(all, reals, k);
        return term[METRIC] == L1 ? fabs(d) : d * d;
    }
    case FIRING_RATE_DIST: {
        const real d = deviation(all, k);
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
    case HEBBIAN:
        return fabs(all->sums[term[FIRST] + k]);
    default:
        return all->sums[term[FIRST] + k];
    }
}

/* The larger one, and a NaN before any number. */
INLINE real larger(real a, real b) { return b > a || b != b ? b : a; }

/* The largest of all lanes' numbers, as group_sum. */
INLINE real group_largest(real mine, local real *scratch)
{
    scratch[LANE] = mine;
    BARRIER();
    for (int count = LANES, lower; count > 1; count = lower) {
        lower = (count + 1) / 2;
        if (LANE + lower < count)
            scratch[LANE] = larger(scratch[LANE], scratch[LANE + lower]);
        BARRIER();
    }
    const real largest = scratch[0];
    BARRIER();
    return largest;
}

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
            return sqrt(total * reals[SCALE]) / mubar_of(all);
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
    for (long i = LANE; i < N; i += LANES)
        s = sum_add(s, square_of(statistics, N, i));
    return s;
}

#if GRADIENT
/* Numbers no farther than this from a tie or from 0 are there by rounding alone: means that are equal fractions
 * differ by that much. */
INLINE real noise_of(const whole *all, real largest)
{
    return 4 * EPSILON * fmax(largest, 4 * EPSILON * fabs(mubar_of(all)));
}

INLINE real sign_of(real x, real noise) { return fabs(x) > noise ? copysign((real)1, x) : (real)0; }

/* Whether neuron i's deviation counts: in mean_ad all do, in max_ad those that reach the largest one. */
INLINE bool deviation_counts(global const long *term, real d, real largest, real noise)
{
    return term[METRIC] == MEAN_AD || fabs(d) >= largest - noise;
}
#endif

/* One group finishes all terms: values[value_count] is the total. reference is states where there is none,
 * and neither is read where no term of the plan needs it. With GRADIENT, shared: (terms, SHARED) and mubar in two
 * parts is what coefficients needs. */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
finish(global const long *restrict integers, global const real *restrict reals, int terms, long value_count, long N,
       int has_moments, int has_reference, global const real *restrict states, global const real *restrict reference,
       global const real *restrict sums, global real *restrict values, global long *restrict skipped,
       global real *restrict shared)
{
    local real scratch[2 * LANES];
    const int lane = LANE;
    whole all = { N, states, reference, sums, has_moments ? states[0] : 0, 0 };

    sum rest = (sum)(0), squares = (sum)(0), reference_squares = (sum)(0);
    if (has_moments) {
        for (long i = lane; i < N; i += LANES)
            rest = sum_add(rest, deviation(&all, i));
        squares = squares_sum(states, N);
    }
    if (has_reference)
        reference_squares = squares_sum(reference, N);
    all.rest = sum_value(group_sum(rest, scratch)) / (real)N;
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
        const real added = sum_value(group_sum(mine, scratch));
        const sum count = group_sum(kept, scratch); /* in two parts: beyond what a float can count */
        largest = group_largest(largest, scratch);
#if GRADIENT
        sum ties = (sum)(0), signs = (sum)(0);
        const real noise = noise_of(&all, largest);
        for (long n = lane; term[CRITERION] == FIRING_RATE_DIST && n < N; n += LANES) {
            const real d = deviation(&all, n);
            if (deviation_counts(term, d, largest, noise)) {
                ties = sum_add(ties, 1);
                signs = sum_add(signs, sign_of(d, noise));
            }
        }
        ties = group_sum(ties, scratch);
        signs = group_sum(signs, scratch);
        if (lane == 0) {
            const bool spread = term[METRIC] == SD || term[METRIC] == CV;
            shared[k * SHARED + NORM] = spread ? sqrt(added * parameters[SCALE]) : largest;
            shared[k * SHARED + TIES] = sum_value(ties);
            shared[k * SHARED + SIGNS] = sum_value(signs);
            shared[k * SHARED + KEPT] = sum_value(count);
        }
#endif
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
    if (lane == 0) {
        values[value_count] = total;
#if GRADIENT
        shared[terms * SHARED] = all.pivot;
        shared[terms * SHARED + 1] = all.rest;
#endif
    }
}

/* ---- Coefficients of the gradient ---- */

#if GRADIENT
/* A neuron's samples S have the gradient offset + slope (S - mean): (R, R1) times that, until the end. */
typedef struct lines {
    real offset, slope, reference_offset, reference_slope;
} lines;

/* d value / d mu_i */
INLINE real spread_slope(const whole *all, global const long *term, global const real *reals,
                         global const real *shared, long i)
{
    const real N = (real)all->N, d = deviation(all, i), norm = shared[NORM], mubar = mubar_of(all);
    if (term[METRIC] == SD || term[METRIC] == CV) {
        const real slope = norm > 16 * EPSILON * EPSILON * fabs(mubar) ? d / norm * reals[SCALE] : (real)0;
        return term[METRIC] == SD ? slope : slope / mubar - norm / mubar / mubar / N;
    }
    const real noise = noise_of(all, norm);
    const real own = deviation_counts(term, d, norm, noise) ? sign_of(d, noise) : (real)0;
    return (own - shared[SIGNS] / N) / (term[METRIC] == MEAN_AD ? N : shared[TIES]);
}

/* w times the gradient of neuron i's divergence. */
INLINE void add_divergence(const whole *all, global const long *term, real floor, long i, real w, lines *to)
{
    const long N = all->N;
    const real own0 = all->states[2 * N + i], own1 = all->reference[2 * N + i];
    const real v0 = floored(own0, floor), v1 = floored(own1, floor);
    const real d = (all->states[i] - all->reference[i]) + (all->states[N + i] - all->reference[N + i]);
    real dm, dv0, dv1;
    if (term[SYMMETRIC]) {
        const real total = v0 + v1, difference = v0 - v1;
        dm = d / v0 * 0.5f + d / v1 * 0.5f;
        dv0 = (difference / v0 * (total / v1) - d / v0 * d) / v0 * 0.25f;
        dv1 = (-difference / v1 * (total / v0) - d / v1 * d) / v1 * 0.25f;
    } else {
        const real factor = term[LOG_SIGMA] ? 0.5f : 1;
        dm = d / v1;
        dv0 = (v0 - factor * v1) / v0 / v1 * 0.5f;
        dv1 = ((factor * v1 - v0) / v1 - d / v1 * d) / v1 * 0.5f;
    }
    to->offset += w * dm;
    to->reference_offset -= w * dm;
    to->slope += own0 < floor ? (real)0 : 2 * w * dv0;
    to->reference_slope += own1 < floor ? (real)0 : 2 * w * dv1;
}

/* w times the gradient of the mean over rows of S^2. */
INLINE void add_square(real w, real mean, real *offset, real *slope)
{
    *offset += 2 * w * mean;
    *slope += 2 * w;
}

/* The part of one term, w being its weight in all, u that of neuron i's value where there are N values. */
INLINE void add_term(const whole *all, global const long *term, global const real *reals,
                     global const real *shared, long i, real w, real u, lines *to)
{
    const long N = all->N;
    switch (term[CRITERION]) {
    case FIRING_RATE: {
        const real d = target_distance(all, reals, i);
        to->offset += w * (term[METRIC] == L1 ? sign_of(d, 0) : 2 * d) / (real)N;
        break;
    }
    case FIRING_RATE_DIST:
        to->offset += w * spread_slope(all, term, reals, shared, i);
        break;
    case ENTROPY_TERM:
        add_square(w * reals[REG], mean_of(all->states, N, i), &to->offset, &to->slope);
        break;
    case POPULATION_KL: {
        const real each = term[REDUCTION] == NONE ? w * u : w;
        bool degenerate;
        divergence(all, term, reals[VAR_FLOOR], i, &degenerate);
        if (!(degenerate && term[SKIP]))
            add_divergence(all, term, reals[VAR_FLOOR], i, term[REDUCTION] == MEAN ? each / shared[KEPT] : each, to);
        add_square(each * reals[REG], mean_of(all->states, N, i), &to->offset, &to->slope);
        add_square(each * reals[REG], mean_of(all->reference, N, i), &to->reference_offset, &to->reference_slope);
        break;
    }
    }
}

/* The factors of what depends on more than a neuron: of each lag's differences, each eps's entropy, and of the
 * Hebbian signs of batches and of rows. */
INLINE void add_factor(global const long *term, global const real *reals, real w, global real *factors)
{
    switch (term[CRITERION]) {
    case STATE_PREDICTION:
        factors[term[FACTOR]] += 2 * w * reals[SCALE];
        break;
    case ENTROPY_TERM:
    case HEBBIAN:
        factors[term[FACTOR]] += w * reals[SCALE];
        break;
    }
}

/* states_lines, reference_lines: (2, N), offset and slope; factors: (factor_count). */
kernel __attribute__((reqd_work_group_size(LANES, 1, 1))) void
coefficients(real scale_value, int scale_given, global const real *restrict scale, int cotangents_given,
             global const real *restrict cotangents, global const long *restrict integers,
             global const real *restrict reals, global const real *restrict shared, int terms, long N, real R, real R1,
             global const real *restrict states, global const real *restrict reference, int factor_count,
             global real *restrict states_lines, global real *restrict reference_lines,
             global real *restrict factors)
{
    const long i = (long)get_group_id(0) * LANES + LANE;
    const real factor = scale_given ? scale[0] : scale_value;
    const whole all = { N, states, reference, states, shared[terms * SHARED], shared[terms * SHARED + 1] };
    if (i == 0) {
        for (int k = 0; k < factor_count; ++k)
            factors[k] = 0;
        for (int k = 0; k < terms; ++k)
            add_factor(integers + k * INTEGERS, reals + k * REALS, factor * reals[k * REALS + WEIGHT], factors);
    }
    if (i >= N)
        return;
    lines to = { 0, 0, 0, 0 };
    for (int k = 0; k < terms; ++k) {
        global const long *term = integers + k * INTEGERS;
        const bool is_vector = term[CRITERION] == POPULATION_KL && term[REDUCTION] == NONE;
        const real u = is_vector && cotangents_given ? cotangents[term[COTANGENT] * N + i] : (real)0;
        add_term(&all, term, reals + k * REALS, shared + k * SHARED, i, factor * reals[k * REALS + WEIGHT], u, &to);
    }
    states_lines[i] = to.offset / R;
    states_lines[N + i] = to.slope / R;
    reference_lines[i] = to.reference_offset / R1;
    reference_lines[N + i] = to.reference_slope / R1;
}
#endif
