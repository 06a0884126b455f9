/* SPDX-License-Identifier: Apache-2.0 */
/* What all kernels share: the arithmetic's type, vectors, loads of any element type, sums.
 *
 * Compile-time parameters, each with a default, so that every file compiles alone after this one:
 *   PRECISION   32 or 64: bits of the arithmetic
 *   ELEMENT     0 f32, 1 f64, 2 f16, 3 u8: the type of the array that is read
 *   CONTIGUOUS  1 where neighbouring neurons are neighbours in memory
 *   ALONG       1 where it is the steps that are neighbours
 *   VECTOR      2, 4, 8 or 16 neurons that a lane takes at once
 *   LANES       lanes of a group
 *   FETCH       1 where a cache is told what will be read
 *   DIVERGENCE  1 where quotients of the neurons' variances are taken: these are right at any scale of the states
 * and for kernels that write a gradient
 *   OUTPUT      0 f32, 1 f64: the type of the array that is written
 *   OUTPUT_CONTIGUOUS, OUTPUT_ALONG, ACCUMULATE
 *   STREAM      1 where what is written is too large for a cache */
#ifndef PRECISION
#define PRECISION 32
#endif
#ifndef ELEMENT
#define ELEMENT 0
#endif
#ifndef CONTIGUOUS
#define CONTIGUOUS 1
#endif
#ifndef ALONG
#define ALONG 0
#endif
#ifndef VECTOR
#define VECTOR 4
#endif
#ifndef LANES
#define LANES 64
#endif
#ifndef OUTPUT
#define OUTPUT 0
#endif
#ifndef OUTPUT_CONTIGUOUS
#define OUTPUT_CONTIGUOUS 1
#endif
#ifndef OUTPUT_ALONG
#define OUTPUT_ALONG 0
#endif
#ifndef ACCUMULATE
#define ACCUMULATE 0
#endif

#ifndef STREAM
#define STREAM 0
#endif
/* Ordinary stores read a cache line before they write it. */
#if STREAM && defined(__has_builtin)
#if __has_builtin(__builtin_nontemporal_store)
#define STREAMS 1
#endif
#endif

#ifndef FETCH
#define FETCH 0
#endif
#ifndef DIVERGENCE
#define DIVERGENCE 1
#endif
#if FETCH && defined(__has_builtin)
#if __has_builtin(__builtin_prefetch)
#define AHEAD(p) __builtin_prefetch((const void *)(size_t)(p), 0, 2) /* into the second level */
#endif
#endif
#ifndef AHEAD
#define AHEAD(p)
#endif

/* A lone lane is number 0, and has nobody to wait for. */
#if LANES == 1
#define LANE 0
#define BARRIER()
#define GLOBAL_BARRIER()
#else
#define LANE ((int)get_local_id(0))
#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE)
#define GLOBAL_BARRIER() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)
#endif

/* Work-items of a hardware thread, where a kernel set asks for a number of them. */
#if defined(SUB_GROUP) && defined(cl_intel_required_subgroup_size)
#pragma OPENCL EXTENSION cl_intel_required_subgroup_size : enable
#define SUB_GROUP_SIZE __attribute__((intel_reqd_sub_group_size(SUB_GROUP)))
#else
#define SUB_GROUP_SIZE
#endif

/* Everything is inlined. PoCL 3.1 needs it: where a compiler finds that a function is always called with the
 * same local array, it puts the array's address into the function, and there PoCL overlooks it and lets all
 * threads share the array. */
#define INLINE static inline __attribute__((always_inline))

#if PRECISION == 64 || ELEMENT == 1 || OUTPUT == 1
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

#if PRECISION == 64
#define REAL double
#define INTEGER long
#define EPSILON DBL_EPSILON
#else
#define REAL float
#define INTEGER int
#define EPSILON FLT_EPSILON
#endif
typedef REAL real;

typedef PASTE(REAL, VECTOR) realv;
typedef PASTE(INTEGER, VECTOR) integerv;
#define CONVERT(x) PASTE(PASTE(convert_, REAL), VECTOR)(x)
/* VECTOR neighbours of a type from p on, in global or local memory. Clang takes vloadN apart where it inlines it, so
 * that it reads two at a time. */
#ifdef __clang__
#define NEIGHBOURS(type) typedef PASTE(type, VECTOR) __attribute__((aligned(sizeof(type)))) PASTE(type, _neighbours)
#define VLOAD(space, type, p) (*(space const PASTE(type, _neighbours) *)(p))
#define VSTORE(space, type, x, p) (*(space PASTE(type, _neighbours) *)(p) = (x))
#else
#define NEIGHBOURS(type)
#define VLOAD(space, type, p) PASTE(vload, VECTOR)(0, p)
#define VSTORE(space, type, x, p) PASTE(vstore, VECTOR)(x, 0, p)
#endif
NEIGHBOURS(REAL);
/* Local memory that is read by vectors, too, is declared so: Mesa 22.3 loses numbers in an array of vectors that is read as
 * numbers. */
#define ALIGNED_LOCAL __attribute__((aligned(sizeof(realv))))
#define AS_INTEGER(x) PASTE(PASTE(as_, INTEGER), VECTOR)(x)
#define AS_REAL(x) PASTE(PASTE(as_, REAL), VECTOR)(x)

/* ---- Elements of the array that is read ---- */

#if ELEMENT == 0
#define ELEMENT_TYPE float
#elif ELEMENT == 1
#define ELEMENT_TYPE double
#elif ELEMENT == 2
#define ELEMENT_TYPE half
#else
#define ELEMENT_TYPE uchar
#endif
typedef ELEMENT_TYPE element;

/* EACH(f) is f(0), ..., f(VECTOR - 1): the components of a vector. Written out, since drivers were seen to lose
 * vectors that are put together in a private array. */
#define EACH_2(f, k) f(k), f(k + 1)
#define EACH_4(f, k) EACH_2(f, k), EACH_2(f, k + 2)
#define EACH_8(f, k) EACH_4(f, k), EACH_4(f, k + 4)
#define EACH_16(f, k) EACH_8(f, k), EACH_8(f, k + 8)
#define EACH(f) (realv)(PASTE(EACH_, VECTOR)(f, 0))

#if ELEMENT == 2
#define LOAD_ONE(p) ((real)vload_half(0, p))
/* vload_halfN of PoCL 3.1 wants an alignment that OpenCL does not ask for. */
#define NEIGHBOUR(k) (real)vload_half(k, p)
INLINE realv load_neighbours(global const element *p) { return EACH(NEIGHBOUR); }
#else
#define LOAD_ONE(p) ((real)*(p))
#if ELEMENT != (PRECISION == 64)
NEIGHBOURS(ELEMENT_TYPE);
#endif
INLINE realv load_neighbours(global const element *p) { return CONVERT(VLOAD(global, ELEMENT_TYPE, p)); }
#endif

/* The `count` neurons from memory index `index` on, `stride` apart, and zeros beyond them. */
#define ONE_OF_SOME(k) ((k) < count ? LOAD_ONE(memory + index + (k) * stride) : (real)0)
INLINE realv load_some(global const element *memory, long index, long stride, long count)
{
    return EACH(ONE_OF_SOME);
}

/* VECTOR neurons from memory index `index` on. */
INLINE realv load(global const element *memory, long index, long stride)
{
#if CONTIGUOUS
    return load_neighbours(memory + index);
#else
    return load_some(memory, index, stride, VECTOR);
#endif
}

#if ALONG || OUTPUT_ALONG
/* x[r].s[k] and x[k].s[r] change places. Of an element's number, row and column one after the other, each round turns
 * the bits by one. */
INLINE void transpose(realv x[VECTOR])
{
#pragma unroll
    for (int round = 1; round < VECTOR; round *= 2) {
        realv y[VECTOR];
#pragma unroll
        for (int k = 0; k < VECTOR / 2; ++k) {
            y[2 * k].even = x[k].lo;
            y[2 * k].odd = x[k + VECTOR / 2].lo;
            y[2 * k + 1].even = x[k].hi;
            y[2 * k + 1].odd = x[k + VECTOR / 2].hi;
        }
#pragma unroll
        for (int k = 0; k < VECTOR; ++k)
            x[k] = y[k];
    }
}
#endif

#if ALONG
/* VECTOR rows of VECTOR neurons, read as they lie. */
INLINE void load_block(realv x[VECTOR], global const element *p, long si)
{
#pragma unroll
    for (int k = 0; k < VECTOR; ++k) {
        AHEAD(p + k * si + 4 * VECTOR);
        x[k] = load_neighbours(p + k * si);
    }
    transpose(x);
}
#endif

#define NUMBER(k) k
#define COMPONENT_NUMBERS ((integerv)(PASTE(EACH_, VECTOR)(NUMBER, 0)))

/* The `count` reals from index `index` on, and zeros beyond them. */
INLINE realv load_reals(global const real *memory, long index, long count)
{
    if (count >= VECTOR)
        return VLOAD(global, REAL, memory + index);
    /* At an edge one after the other: a branch for each would take longest of all to compile. */
    realv x = (realv)0;
#pragma unroll 1
    for (int k = 0; k < count; ++k)
        x = select(x, (realv)memory[index + k], COMPONENT_NUMBERS == (integerv)k);
    return x;
}

/* COMPONENTS(DO) is DO(0, 0) ... DO(VECTOR - 1, ...): statements with a component's number and its name after s. */
#define COMPONENTS_2(DO) DO(0, 0) DO(1, 1)
#define COMPONENTS_4(DO) COMPONENTS_2(DO) DO(2, 2) DO(3, 3)
#define COMPONENTS_8(DO) COMPONENTS_4(DO) DO(4, 4) DO(5, 5) DO(6, 6) DO(7, 7)
#define COMPONENTS_16(DO) COMPONENTS_8(DO) DO(8, 8) DO(9, 9) DO(10, a) DO(11, b) DO(12, c) DO(13, d) DO(14, e) DO(15, f)
#define COMPONENTS(DO) PASTE(COMPONENTS_, VECTOR)(DO)

/* Store the first `count` components from index `index` on. */
#define TURNED_2 s10
#define TURNED_4 s1230
#define TURNED_8 s12345670
#define TURNED_16 s123456789abcdef0
INLINE void store_reals(global real *memory, long index, long count, realv x)
{
    if (count >= VECTOR) {
        VSTORE(global, REAL, x, memory + index);
        return;
    }
#pragma unroll 1
    for (int k = 0; k < count; ++k) {
        memory[index + k] = x.s0;
        x = x.PASTE(TURNED_, VECTOR);
    }
}

/* Store all components but the first `skip` from index `index` on. */
INLINE void store_last(global real *memory, long index, int skip, realv x)
{
    if (skip == 0) {
        VSTORE(global, REAL, x, memory + index);
        return;
    }
#pragma unroll 1
    for (int k = 0; k < VECTOR; ++k) {
        if (k >= skip)
            memory[index + k] = x.s0;
        x = x.PASTE(TURNED_, VECTOR);
    }
}

/* Where row r = b T + t begins: b sb + t st from the offset on. */
INLINE long row_begin(long row, long T, long offset, long sb, long st)
{
    return offset + row / T * sb + row % T * st;
}

/* ---- Elements of the array that is written ---- */

#if OUTPUT == 1
#define OUTPUT_TYPE double
#else
#define OUTPUT_TYPE float
#endif
typedef OUTPUT_TYPE output;
typedef PASTE(OUTPUT_TYPE, VECTOR) outputv;
#if OUTPUT != (PRECISION == 64) && OUTPUT != ELEMENT
NEIGHBOURS(OUTPUT_TYPE);
#endif
#define CONVERT_OUTPUT(x) PASTE(PASTE(convert_, OUTPUT_TYPE), VECTOR)(x)

INLINE void store_neighbours(global output *p, realv x)
{
    outputv y = CONVERT_OUTPUT(x);
#if ACCUMULATE
    y += VLOAD(global, OUTPUT_TYPE, p);
#endif
#ifdef STREAMS
    global outputv *to = (global outputv *)p;
    if ((size_t)to % sizeof *to == 0) {
        __builtin_nontemporal_store(y, to);
        return;
    }
#endif
    VSTORE(global, OUTPUT_TYPE, y, p);
}

/* Give the first `count` components to the neurons from index `index` on. */
INLINE void store(global output *memory, long index, long stride, long count, realv x)
{
#if OUTPUT_CONTIGUOUS
    if (count >= VECTOR) {
        store_neighbours(memory + index, x);
        return;
    }
#endif
#if ACCUMULATE
#define PUT(k, name) \
    if (k < count) \
        memory[index + k * stride] += (output)x.s##name;
#else
#define PUT(k, name) \
    if (k < count) \
        memory[index + k * stride] = (output)x.s##name;
#endif
    COMPONENTS(PUT)
#undef PUT
}

/* True, which is -1, for each number that is finite where it is written. Not by arithmetic with 0: Mesa leaves that out. */
#if PRECISION == 64 && OUTPUT == 1
#define LARGEST_WRITTEN DBL_MAX
#else
#define LARGEST_WRITTEN FLT_MAX
#endif
INLINE integerv are_finite(realv written) { return fabs(written) <= (realv)LARGEST_WRITTEN; }
INLINE bool is_finite(real written) { return fabs(written) <= (real)LARGEST_WRITTEN; }

/* ---- The natural logarithm ----
 *
 * log(x / 2^e0): sums of x log x lose digits where all x are far from 1, and need not when they are scaled.
 * Of numbers > 0, subnormal ones too; finite for 0 and below, so that 0 log 0 is 0. Devices' own were seen to be slow
 * (f32) or far from right (f64). x = 2^e m with m in [sqrt(1/2), sqrt(2)), f = m - 1. */
#if PRECISION == 32
/* name##_of_normal: of a normal x; up to 16 too large for a subnormal one. log(1 + f) = f + f^2 P(f) with the minimax P of
 * degree 6: off by 3.7e-8 at most, and the whole by 1.2e-7 max(1, |log x|) over all floats. */
#define LOGARITHM(name, V, I, TO_V, AS_I, AS_V) \
    INLINE V name##_of_normal(V x, int e0) \
    { \
        const I bits = AS_I(x) - 0x3f3504f3; \
        const V e = TO_V((bits >> 23) - e0); \
        const V f = AS_V((bits & 0x7fffff) + 0x3f3504f3) - 1.0f; \
        V p = (V)-1.00346170e-1f; \
        p = fma(p, f, (V)1.63356423e-1f); \
        p = fma(p, f, (V)-1.73259944e-1f); \
        p = fma(p, f, (V)1.98882774e-1f); \
        p = fma(p, f, (V)-2.49614656e-1f); \
        p = fma(p, f, (V)3.33352625e-1f); \
        p = fma(p, f, (V)-5.00005841e-1f); \
        p = fma(f * f, p, f); \
        return fma(e, (V)0.693147181f, p); \
    } \
    INLINE V name(V x, int e0) \
    { \
        const I tiny = x < 1.17549435e-38f; \
        const V y = name##_of_normal(tiny ? x * 8388608.0f : x, e0); \
        return tiny ? y - 15.9423851528787421f : y; \
    }
#else
/* FreeBSD's form, with log 2 in two parts, the first of few bits, so that e times it is exact:
 * log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)) with s = f / (2 + f). */
#define LOGARITHM(name, V, I, TO_V, AS_I, AS_V) \
    INLINE V name(V x, int e0) \
    { \
        const I tiny = x < 0x1p-1022; \
        const I bits = AS_I(tiny ? x * 0x1p54 : x); \
        const I exponent = (bits - 0x3fe6a09e667f3bcdL) >> 52; \
        const V f = AS_V(bits - (exponent << 52)) - 1.0; \
        const V e = TO_V(exponent - e0) - (tiny ? (V)54.0 : (V)0.0); \
        const V s = f / (2.0 + f), z = s * s, half_square = 0.5 * f * f; \
        V p = (V)1.479819860511658591e-01; \
        p = fma(p, z, (V)1.531383769920937332e-01); \
        p = fma(p, z, (V)1.818357216161805012e-01); \
        p = fma(p, z, (V)2.222219843214978396e-01); \
        p = fma(p, z, (V)2.857142874366239149e-01); \
        p = fma(p, z, (V)3.999999999940941908e-01); \
        p = fma(p, z, (V)6.666666666666735130e-01); \
        const V low = fma(s, half_square + p * z, e * 1.90821492927058770002e-10); \
        return e * 6.93147180369123816490e-01 - ((half_square - low) - f); \
    } \
    INLINE V name##_of_normal(V x, int e0) { return name(x, e0); }
#endif
/* 2^e, for an e of a normal number. */
#if PRECISION == 32
INLINE real power_of_two(int e) { return as_float((e + 127) << 23); }
#else
INLINE real power_of_two(int e) { return as_double((long)(e + 1023) << 52); }
#endif

/* ---- Scales ----
 *
 * Squares, and quotients by them, leave the range of a real where their roots are far inside it. What is squared is
 * therefore multiplied by a power of two first, or kept as its root. */
#if PRECISION == 32
#define FRACTION_BITS 23
#define LARGEST_EXPONENT 254
#else
#define FRACTION_BITS 52
#define LARGEST_EXPONENT 2046
#endif
/* scale: 2^-e of a largest magnitude, which 2^e is next below; or where that, or the inverse, is no normal number, the
 * nearest one that is. */
#define SCALES(name, V, I, AS_I, AS_V) \
    INLINE V name##_of(V largest) \
    { \
        I e = (AS_I(largest) >> FRACTION_BITS) & (I)(LARGEST_EXPONENT + 1); \
        e = e < (I)1 ? (I)1 : e; \
        e = e > (I)(LARGEST_EXPONENT - 1) ? (I)(LARGEST_EXPONENT - 1) : e; \
        return AS_V(((I)LARGEST_EXPONENT - e) << FRACTION_BITS); \
    } \
    INLINE V name##_inverse(V scale) { return AS_V(((I)LARGEST_EXPONENT << FRACTION_BITS) - AS_I(scale)); } \
    /* The scale of a neuron of this standard deviation, by which its S - mean are multiplied before they meet a slope \
     * that is divided by it: slopes go as 1 / variance. It is 1 for ordinary deviations. */ \
    INLINE V name##_of_slope(V deviation) \
    { \
        const I ordinary = ((deviation > (V)ORDINARY_LOW) & (deviation < (V)ORDINARY_HIGH)) | (deviation == (V)0); \
        return ordinary ? (V)1 : name##_of(deviation); \
    } \
    /* The power of two by which deviations are multiplied before they are squared again, given the sum of their \
     * squares; 0 where no square of account was out of range. */ \
    INLINE V name##_of_squares(V squares) \
    { \
        const V down = squares <= (V)LARGE_SQUARES ? (V)0 : (V)SQUARES_DOWN; \
        return squares < (V)SMALL_SQUARES ? (V)SQUARES_UP : down; \
    }
#if PRECISION == 32
#define ORDINARY_LOW 0x1p-40f
#define ORDINARY_HIGH 0x1p40f
#define SMALL_SQUARES 0x1p-90f
#define LARGE_SQUARES 0x1p100f
#define SQUARES_UP 0x1p80f
#define SQUARES_DOWN 0x1p-80f
#else
#define ORDINARY_LOW 0x1p-400
#define ORDINARY_HIGH 0x1p400
#define SMALL_SQUARES 0x1p-850
#define LARGE_SQUARES 0x1p900
#define SQUARES_UP 0x1p600
#define SQUARES_DOWN 0x1p-600
#endif
SCALES(scale, realv, integerv, AS_INTEGER, AS_REAL)
SCALES(scale_one, real, INTEGER, PASTE(as_, INTEGER), PASTE(as_, REAL))
/* 1 where squares of deviations can leave the range: elements of 8 and 16 bits are far inside it. */
#define RETAKES (DIVERGENCE && (ELEMENT == 1 || (ELEMENT == 0 && PRECISION == 32)))

#define TO_REAL(x) ((real)(x))
LOGARITHM(logarithm, realv, integerv, CONVERT, AS_INTEGER, AS_REAL)
LOGARITHM(logarithm_one, real, INTEGER, TO_REAL, PASTE(as_, INTEGER), PASTE(as_, REAL))

/* ---- Sums ---- */

/* The components' sums of the VECTOR vectors from x on. */
INLINE realv sums_of_pairs(realv a, realv b) { return (realv)(a.even, b.even) + (realv)(a.odd, b.odd); }
#define SUMS_2(x, k) sums_of_pairs((x)[k], (x)[k + 1])
#define SUMS_4(x, k) sums_of_pairs(SUMS_2(x, k), SUMS_2(x, k + 2))
#define SUMS_8(x, k) sums_of_pairs(SUMS_4(x, k), SUMS_4(x, k + 4))
#define SUMS_16(x, k) sums_of_pairs(SUMS_8(x, k), SUMS_8(x, k + 8))
#define SUMS_OF(x) PASTE(SUMS_, VECTOR)(x, 0)

INLINE real components_sum(realv x)
{
#if VECTOR == 16
    const PASTE(REAL, 8) x8 = x.lo + x.hi;
    const PASTE(REAL, 4) x4 = x8.lo + x8.hi;
#elif VECTOR == 8
    const PASTE(REAL, 4) x4 = x.lo + x.hi;
#elif VECTOR == 4
    const realv x4 = x;
#endif
#if VECTOR == 2
    const realv x2 = x;
#else
    const PASTE(REAL, 2) x2 = x4.lo + x4.hi;
#endif
    return x2.lo + x2.hi;
}

/* A running sum (.x) and what its roundings lost (.y), by Knuth's two-sum: its error does not grow with the
 * number of summands. */
typedef PASTE(REAL, 2) sum;

INLINE sum sum_add(sum s, real x)
{
    const real total = s.x + x;
    const real part = total - s.x;
    return (sum)(total, s.y + ((s.x - (total - part)) + (x - part)));
}

INLINE sum sum_merge(sum a, sum b) { return sum_add(a, b.x) + (sum)(0, b.y); }

INLINE real sum_value(sum s) { return s.x + s.y; }

/* The same in VECTOR columns (Kahan): x is added to the sum, of which `lost` is what it is too large by. */
INLINE void vector_add(realv *total, realv *lost, realv x)
{
    const realv y = x - *lost;
    const realv t = *total + y;
    *lost = (t - *total) - y;
    *total = t;
}

/* Sum the work-items' numbers by a tree of two levels, of at most 16 branches each. Every work-item gets the result.
 * `scratch` holds 2 LANES reals. */
INLINE sum group_sum(sum mine, local real *scratch)
{
    if (LANES == 1)
        return mine;
    scratch[LANE] = mine.x;
    scratch[LANES + LANE] = mine.y;
    BARRIER();
    for (int other = LANE + 16; other < (LANE < 16 ? LANES : 0); other += 16)
        mine = sum_merge(mine, (sum)(scratch[other], scratch[LANES + other]));
    if (LANE < 16) {
        scratch[LANE] = mine.x;
        scratch[LANES + LANE] = mine.y;
    }
    BARRIER();
    mine = (sum)(scratch[0], scratch[LANES]);
    for (int other = 1; other < min(LANES, 16); ++other)
        mine = sum_merge(mine, (sum)(scratch[other], scratch[LANES + other]));
    BARRIER();
    return mine;
}

/* ---- Work-groups of ACROSS x DOWN work-items ----
 *
 * The kernels of kernels/gpu that sweep over the states: a work-group has a tile of neurons, of which each work-item has
 * COLUMNS, and takes DOWN * STEP rows in a round, of which each work-item has STEP consecutive ones.
 *   ALIGNED    1 where vectors of COLUMNS neurons, or with ALONG of STEP time steps, lie at multiples of their size
 *   WIDE       1 where the numbers of rows and time steps do not fit into 31 bits */
#ifdef COLUMNS
#ifndef STEP
#define STEP 4
#endif
#ifndef ALIGNED
#define ALIGNED 1
#endif
#if WIDE
typedef long row_index;
#else
typedef int row_index;
#endif

#define DOWN (LANES / ACROSS)
#define TILE (ACROSS * COLUMNS)
#define ROWS (DOWN * STEP)
/* Neighbouring work-items read neighbours in memory. */
#if ALONG
#define LANE_X (LANE / DOWN)
#define LANE_Y (LANE % DOWN)
#else
#define LANE_X (LANE % ACROSS)
#define LANE_Y (LANE / ACROSS)
#endif
/* The column of a tile that is number v of work-item x: vectors where they are read as such, else one for each work-item
 * and then the next one for each. */
#if ALIGNED
#define COLUMN(x, v) ((x)*COLUMNS + (v))
#define NEXT_COLUMN 1
#else
#define COLUMN(x, v) ((v)*ACROSS + (x))
#define NEXT_COLUMN ACROSS
#endif

/* A work-item's place in the states: its next row is row t of batch b. */
typedef struct position {
    row_index b, t;
} position;

/* Functions give structures through pointers: Oclgrind 21.10 knows no structure that is returned and inlined. */
INLINE void find_row(position *at, long row, row_index T)
{
    at->b = (row_index)row / T;
    at->t = (row_index)row % T;
}

/* Go `ahead` rows further. */
INLINE void advance(position *at, int ahead, row_index T)
{
    at->t += ahead;
    if (at->t >= T) {
        const row_index batches = at->t / T;
        at->b += batches;
        at->t -= batches * T;
    }
}

/* The array that is read: strides from row to row of a batch and from a work-item's column to its next one, and how many
 * columns the work-item has. */
typedef struct place {
    long st, next;
    int columns;
    bool vectors_along; /* of STEP time steps */
} place;

/* How many columns of a tile, of which `left` exist, work-item x has. */
INLINE int columns_of(long left, int x)
{
    const long own = ALIGNED ? left - (long)x * COLUMNS : (left - x + ACROSS - 1) / ACROSS;
    return (int)max(min(own, (long)COLUMNS), 0L);
}

/* Numbers are read with an `excess`, a constant, which is 0 but where differences alone are wanted. */
#if ELEMENT == 2
typedef ushort stored;
INLINE real to_real(stored bits, const real excess) { return (real)vload_half(0, (const half *)&bits) + excess; }
#elif ELEMENT == 3 && PRECISION == 32
typedef element stored;
/* The bytes of 2^23 + x: GPUs convert integers at a fraction of the rate of sums. */
#ifdef __ENDIAN_LITTLE__
#define OF_BYTES(x) as_float((uchar4)(x, 0, 0, 0x4b))
#else
#define OF_BYTES(x) as_float((uchar4)(0x4b, 0, 0, x))
#endif
INLINE real to_real(stored x, const real excess) { return OF_BYTES(x) - (8388608.0f - excess); }
#else
typedef element stored;
INLINE real to_real(stored x, const real excess) { return (real)x + excess; }
#endif
#if ELEMENT == 0
#define STORED float
#elif ELEMENT == 1
#define STORED double
#elif ELEMENT == 2
#define STORED ushort
#else
#define STORED uchar
#endif

/* Read `count` neighbours from p on, which is a multiple of so many elements; 1, 2, 4 or 8, a constant. */
INLINE void load_vector(real *to, global const element *p, const int count, const real excess)
{
#if ELEMENT == 3
    /* Vectors of bytes were seen to be read byte by byte. */
    if (count >= 4) {
        uint both[2];
        if (count == 4) {
            both[0] = *(global const uint *)p;
        } else {
            const uint2 x = *(global const uint2 *)p;
            both[0] = x.s0;
            both[1] = x.s1;
        }
#pragma unroll
        for (int k = 0; k < count; k += 4) {
            const uchar4 x = as_uchar4(both[k / 4]);
            to[k] = to_real(x.s0, excess);
            to[k + 1] = to_real(x.s1, excess);
            to[k + 2] = to_real(x.s2, excess);
            to[k + 3] = to_real(x.s3, excess);
        }
        return;
    }
#endif
    global const stored *from = (global const stored *)p;
    if (count == 1) {
        to[0] = to_real(*from, excess);
    } else if (count == 2) {
        const PASTE(STORED, 2) x = *(global const PASTE(STORED, 2) *)from;
        to[0] = to_real(x.s0, excess);
        to[1] = to_real(x.s1, excess);
    } else if (count == 4) {
        const PASTE(STORED, 4) x = *(global const PASTE(STORED, 4) *)from;
        to[0] = to_real(x.s0, excess);
        to[1] = to_real(x.s1, excess);
        to[2] = to_real(x.s2, excess);
        to[3] = to_real(x.s3, excess);
    } else {
        const PASTE(STORED, 8) x = *(global const PASTE(STORED, 8) *)from;
        to[0] = to_real(x.s0, excess);
        to[1] = to_real(x.s1, excess);
        to[2] = to_real(x.s2, excess);
        to[3] = to_real(x.s3, excess);
        to[4] = to_real(x.s4, excess);
        to[5] = to_real(x.s5, excess);
        to[6] = to_real(x.s6, excess);
        to[7] = to_real(x.s7, excess);
    }
}

/* The work-item's columns of one row, and zeros where it has none; all with an excess. */
INLINE void load_row(real s[COLUMNS], global const element *p, const place *at, const real excess)
{
#if ALIGNED && !ALONG
    if (at->columns > 0) {
        load_vector(s, p, COLUMNS, excess);
        return;
    }
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        s[v] = excess;
#else
#pragma unroll
    for (int v = 0; v < COLUMNS; ++v)
        s[v] = v < at->columns ? LOAD_ONE(p + v * at->next) + excess : excess;
#endif
}

/* The same of STEP rows of a batch. `aligned`: the first of them is a multiple of STEP time steps from the batch's first
 * one. All loads of a work-item that has all its columns stand together. */
INLINE void load_rows(real s[STEP][COLUMNS], global const element *p, const place *at, bool aligned,
                      const real excess)
{
#if ALIGNED && ALONG
    if (aligned && at->vectors_along && at->columns == COLUMNS) {
        real x[COLUMNS][STEP];
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v)
            load_vector(x[v], p + v * at->next, STEP, excess);
#pragma unroll
        for (int v = 0; v < COLUMNS; ++v)
#pragma unroll
            for (int k = 0; k < STEP; ++k)
                s[k][v] = x[v][k];
        return;
    }
#elif ALIGNED
    if (at->columns > 0) {
#pragma unroll
        for (int k = 0; k < STEP; ++k)
            load_vector(s[k], p + k * at->st, COLUMNS, excess);
    } else {
#pragma unroll
        for (int k = 0; k < STEP; ++k)
#pragma unroll
            for (int v = 0; v < COLUMNS; ++v)
                s[k][v] = excess;
    }
    return;
#else
    if (at->columns == COLUMNS) {
#pragma unroll
        for (int k = 0; k < STEP; ++k)
#pragma unroll
            for (int v = 0; v < COLUMNS; ++v)
                s[k][v] = LOAD_ONE(p + k * at->st + v * at->next) + excess;
        return;
    }
#endif
#pragma unroll
    for (int k = 0; k < STEP; ++k)
        load_row(s[k], p + k * at->st, at, excess);
}
#endif
