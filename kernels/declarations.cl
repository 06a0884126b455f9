/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of OpenCL C that the kernels call, for compilers that would else read a header with all of them
 * before each program. It stands before prelude.cl there, and changes nothing but the time that takes. */
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define OF_VALUES __attribute__((overloadable, const))
#define OF_MEMORY __attribute__((overloadable))

OF_VALUES size_t get_group_id(uint);
OF_VALUES size_t get_local_id(uint);
void __attribute__((overloadable, convergent)) barrier(cl_mem_fence_flags);

OF_VALUES int min(int, int);
OF_VALUES int max(int, int);
OF_VALUES long min(long, long);
OF_VALUES long max(long, long);

#define ARITHMETIC(T, integer) \
    OF_VALUES T fma(T, T, T); \
    OF_VALUES T fmin(T, T); \
    OF_VALUES T fmax(T, T); \
    OF_VALUES T fabs(T); \
    OF_VALUES T sqrt(T); \
    OF_VALUES T log1p(T); \
    OF_VALUES T copysign(T, T); \
    OF_VALUES T sign(T); \
    OF_VALUES T mad(T, T, T); \
    OF_VALUES T select(T, T, integer);

#define PREDICATES(T) \
    OF_VALUES int isfinite(T); \
    OF_VALUES int isnan(T); \
    OF_VALUES int ilogb(T);

#define PREFETCH(T) OF_MEMORY void prefetch(const global T *, size_t);

#define LOADS(T, V, space) \
    OF_MEMORY V JOIN(vload, VECTOR)(size_t, const space T *);

#define STORES(T, V, space) \
    LOADS(T, V, space) \
    OF_MEMORY void JOIN(vstore, VECTOR)(V, size_t, space T *);

#define OF_TYPE(T, V, integer, integerV) \
    ARITHMETIC(T, integer) \
    ARITHMETIC(V, integerV) \
    PREDICATES(T) \
    PREFETCH(T) \
    OF_VALUES int any(integerV); \
    STORES(T, V, global) \
    STORES(T, V, local) \
    OF_VALUES V JOIN(convert_, V)(V); \
    OF_VALUES V JOIN(convert_, V)(integerV); \
    OF_VALUES V JOIN(convert_, V)(JOIN(uchar, VECTOR));

OF_TYPE(float, JOIN(float, VECTOR), int, JOIN(int, VECTOR))
#if PRECISION == 64 || ELEMENT == 1 || OUTPUT == 1
OF_TYPE(double, JOIN(double, VECTOR), long, JOIN(long, VECTOR))
OF_VALUES JOIN(float, VECTOR) JOIN(convert_float, VECTOR)(JOIN(double, VECTOR));
OF_VALUES JOIN(double, VECTOR) JOIN(convert_double, VECTOR)(JOIN(float, VECTOR));
#endif
PREFETCH(uchar)
LOADS(uchar, JOIN(uchar, VECTOR), global)
OF_MEMORY float vload_half(size_t, const global half *);
OF_MEMORY float vload_half(size_t, const half *);
