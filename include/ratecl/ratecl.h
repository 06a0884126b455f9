/* SPDX-License-Identifier: Apache-2.0 */
/**
 * ratecl: constraints on firing rates, evaluated where the states are.
 *
 * States S[b,t,i] have the shape (B, T, N): batch (trial), time step, neuron. R = B T is the number of
 * rows, mu_i the mean of neuron i over all rows, mubar the mean of mu_i, Z the sum of one row.
 *
 * Errors         Every function that can fail returns a ratecl_status; ratecl_last_error() holds the
 *                message of the calling thread's last failure. A refused argument changes nothing of
 *                the caller's. The library never prints, exits or aborts.
 * Threads        A context may be used by many threads at once, a plan by one thread at a time.
 * Fork           In a child that fork() made of a process that had used the library, contexts and plans of
 *                the CPU path work, inherited and new ones; once the parent has evaluated on several
 *                threads, evaluations in the child run on one. OpenCL devices do not survive fork(): if
 *                the parent had used or listed them through the library, calls that need one fail in the
 *                child with UNSUPPORTED (NO_DEVICE for a new context), and a context without a name is one
 *                of the CPU path. Inherited contexts and plans may be released. After exec() all is as in
 *                a new process.
 * Structs        Start each one with its *_init function or its *_INIT macro: `size` tells the library
 *                which fields the caller knows. See "Versions" below.
 * Determinism    The same device, library, tuning, plan and input give the same bits, whatever the number
 *                of threads and whatever else runs.
 *
 * Versions
 *
 * The version follows semantic versioning (semver.org). From 1.0.0 on, a program that was compiled and
 * linked with one version runs with every later one of the same major version. While the major version is
 * 0, this holds within a minor version only: 0.2.1 can replace 0.2.0, and 0.3.0 may change anything. The
 * name of the shared library says so to the loader: libratecl.so.0.2 for 0.2.x, libratecl.so.1 for 1.x.y.
 *
 * Such later versions may add functions, enumerators and fields of structs. A field is added behind the
 * last byte of its struct, padding included, and 0 always means its default. Nothing is removed, moved,
 * renumbered or given another meaning; in particular, the numbers of ratecl_status never change.
 *
 * Every struct begins with its size in bytes, as the caller was compiled. The library neither reads nor
 * writes behind that. If the caller's struct is shorter than the library's, since its header is older, the
 * missing options take their defaults and the missing results are left out. If it is longer, since its
 * header is newer, init functions and results set the rest to 0, and options and inputs whose rest is not 0
 * are refused (ARGUMENT), so that no option is ignored.
 *
 * A function whose name ends in _sized takes that size as an argument. In C and C++ the macro of the same
 * name without the ending passes it; bindings for other languages call the function.
 */
#ifndef RATECL_RATECL_H
#define RATECL_RATECL_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define RATECL_EXPORT
#else
#define RATECL_EXPORT __attribute__((visibility("default")))
#endif

#define RATECL_VERSION_MAJOR 0
#define RATECL_VERSION_MINOR 2
#define RATECL_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status ---------------------------------------------------------------------------------- */

/** The outcome of a call. The numbers never change. */
typedef enum ratecl_status {
    RATECL_OK = 0,
    RATECL_ERROR_ARGUMENT = 1,    /**< refused before any work; the message names argument and value */
    RATECL_ERROR_DOMAIN = 2,      /**< a value is not finite; the message says which input, and where */
    RATECL_ERROR_NO_DEVICE = 3,   /**< no such device; the message lists those that were found */
    RATECL_ERROR_UNSUPPORTED = 4, /**< the device, or this build, lacks something the plan needs */
    RATECL_ERROR_MEMORY = 5,      /**< host or device memory ran out */
    RATECL_ERROR_BUILD = 6,       /**< a kernel did not compile; the message ends with the build log */
    RATECL_ERROR_DEVICE = 7       /**< an OpenCL call failed; the message names the call and the code */
} ratecl_status;

/** The name of a status, such as "RATECL_ERROR_DOMAIN"; "unknown status" for a number that is none. */
RATECL_EXPORT const char *ratecl_status_name(ratecl_status status);

/** The message of the calling thread's last failed call; empty before the first. Valid until that
 *  thread's next call. */
RATECL_EXPORT const char *ratecl_last_error(void);

/** The library's version, "major.minor.patch". */
RATECL_EXPORT const char *ratecl_version(void);

/* ---- Devices and contexts -------------------------------------------------------------------- */

/** In the order of preference; a context made without a name takes the first that is there. */
typedef enum ratecl_device_kind {
    RATECL_DEVICE_GPU = 1,
    RATECL_DEVICE_ACCELERATOR = 2,
    RATECL_DEVICE_CPU = 3,      /**< an OpenCL CPU device */
    RATECL_DEVICE_SOFTWARE = 4, /**< a simulator or a software rasteriser */
    RATECL_DEVICE_OPENMP = 5    /**< the library's own CPU path, always there */
} ratecl_device_kind;

typedef struct ratecl_device_info {
    size_t size;
    char id[32]; /**< "cpu" or "opencl:P.D", as ratecl_context_options.device takes it */
    char name[128];
    char platform[128];
    char version[128]; /**< of the device, as its driver states it */
    ratecl_device_kind kind;
    int32_t fp64;   /**< 1 where f64 states and f64 arithmetic work */
    int32_t chosen; /**< 1 for the one that a context made without a name takes */
    int32_t compute_units;
    uint64_t memory;         /**< bytes; 0 where unknown */
    uint64_t largest_buffer; /**< bytes; 0 where unlimited */
    char note[512];          /**< of the OpenMP path, and of contexts made without a name: which OpenCL driver
                                  failed, and how, so that its devices are missing or not used; else empty */
} ratecl_device_info;

/** Start a description: the size, and zeros. */
RATECL_EXPORT void ratecl_device_info_init_sized(ratecl_device_info *info, size_t size);
#define ratecl_device_info_init(info) ratecl_device_info_init_sized((info), sizeof(ratecl_device_info))

/** How many devices there are; at least 1, the OpenMP path. */
RATECL_EXPORT size_t ratecl_device_count(void);

/** Describe device `index` < ratecl_device_count(). The OpenMP path comes last. */
RATECL_EXPORT ratecl_status ratecl_device_get(size_t index, ratecl_device_info *info);

/** 1 when this build can use OpenCL, else 0. */
RATECL_EXPORT int ratecl_has_opencl(void);

/** Receives one line about a rare event (a device chosen, a program compiled or loaded). Called from the
 * thread that is inside the library, which holds no lock then. */
typedef void (*ratecl_log_function)(const char *message, void *user);

/**
 * Whether compiled programs are kept on disk: in the folder that the environment's RATECL_CACHE names, else
 * in ratecl in XDG_CACHE_HOME, else in .cache/ratecl in HOME. An empty RATECL_CACHE means that nothing is
 * kept there. Any number of processes may share the folder. Its programs are bounded to 64 MiB, those not
 * used for longest going first; a program whose file is damaged, or was made by another version of the
 * library or of the driver, is compiled again. So is each program where the folder or a file belongs to
 * neither the user nor root, can be written by others, or is a symbolic link: such a folder is left as it is.
 */
typedef enum ratecl_program_cache {
    RATECL_PROGRAM_CACHE_DEFAULT =
        0, /**< on, but where the OpenCL platform does that itself: PoCL, NVIDIA, Mesa */
    RATECL_PROGRAM_CACHE_ON = 1,
    RATECL_PROGRAM_CACHE_OFF = 2
} ratecl_program_cache;

typedef struct ratecl_context_options {
    size_t size;
    /** "cpu" (the OpenMP path), "opencl" (the best device), "opencl:TEXT" (the first whose name or
     *  platform contains TEXT, whatever its case), "opencl:P.D" (platform P, device D). NULL: the
     *  environment's RATECL_DEVICE if set, else the best OpenCL device, else "cpu". */
    const char *device;
    int32_t threads;         /**< of the OpenMP path; 0: what OpenMP gives */
    uint64_t staging_limit;  /**< bytes of device memory for states that come from host memory; what
                                  is larger is evaluated in pieces, of one block of rows at least.
                                  0: the device's largest buffer. Devices that do not share the
                                  host's memory get theirs through page-locked memory of up to
                                  16 MiB a plan; RATECL_HOST_MEMORY=staged in the environment lets
                                  every OpenCL device do so, for tests */
    ratecl_log_function log; /**< NULL: none */
    void *log_user;
    ratecl_program_cache program_cache; /**< of an OpenCL device */
} ratecl_context_options;

#define RATECL_CONTEXT_OPTIONS_INIT                                                          \
    {                                                                                        \
        sizeof(ratecl_context_options), NULL, 0, 0, NULL, NULL, RATECL_PROGRAM_CACHE_DEFAULT \
    }
RATECL_EXPORT void ratecl_context_options_init_sized(ratecl_context_options *options, size_t size);
#define ratecl_context_options_init(options) \
    ratecl_context_options_init_sized((options), sizeof(ratecl_context_options))

/** A device, its queue and its compiled programs. */
typedef struct ratecl_context ratecl_context;

/** Make a context; `options` NULL means the defaults. The caller releases it. Without a name, in options and
 *  environment, a device whose driver fails gives way to the CPU path, and the context's device has a note
 *  of it.
 *  Errors: NO_DEVICE (the message lists what was found), ARGUMENT, MEMORY, DEVICE. */
RATECL_EXPORT ratecl_status ratecl_context_create(const ratecl_context_options *options,
                                                  ratecl_context **context);

/** Release a context; NULL is allowed. Plans keep what they need of it until they are released too. */
RATECL_EXPORT void ratecl_context_release(ratecl_context *context);

/** Describe the context's device (`chosen` is 0). */
RATECL_EXPORT ratecl_status ratecl_context_device(const ratecl_context *context, ratecl_device_info *info);

/* ---- Arrays ---------------------------------------------------------------------------------- */

typedef enum ratecl_element {
    RATECL_F32 = 0,
    RATECL_F64 = 1,
    RATECL_F16 = 2, /**< IEEE half precision, for storage; needs no device extension */
    RATECL_U8 = 3   /**< spike counts */
} ratecl_element;

/** Where the elements of an array lie. Element (b,t,i) is at
 *      offset bytes + (b strides[0] + t strides[1] + i strides[2]) elements
 *  from the start of the memory that is given at evaluation. */
typedef struct ratecl_layout {
    size_t size;
    ratecl_element element;
    int64_t shape[3];   /**< B, T, N, each at least 1 */
    int64_t strides[3]; /**< in elements, of any order, 0 and negative ones too; all 0: C order */
    int64_t offset;     /**< in bytes, a multiple of the element's size; no element lies before the start */
} ratecl_layout;

#define RATECL_LAYOUT_INIT(element_, B_, T_, N_)                                \
    {                                                                           \
        sizeof(ratecl_layout), (element_), { (B_), (T_), (N_) }, { 0, 0, 0 }, 0 \
    }
RATECL_EXPORT void ratecl_layout_init_sized(ratecl_layout *layout, size_t size, ratecl_element element,
                                            int64_t B, int64_t T, int64_t N);
#define ratecl_layout_init(layout, element, B, T, N) \
    ratecl_layout_init_sized((layout), sizeof(ratecl_layout), (element), (B), (T), (N))

/** Bytes from the start of the memory to the end of the element that lies last; 0 for a bad layout. */
RATECL_EXPORT uint64_t ratecl_layout_bytes(const ratecl_layout *layout);

/* ---- Terms ----------------------------------------------------------------------------------- */

/**
 * The six criteria. The formulas follow the criterion module of the PyTorch package nn4n; where they
 * differ from it, the difference is named.
 *
 * FIRING_RATE       l1: (1/N) sum_i |mu_i - target|          l2: (1/N) sum_i (mu_i - target)^2
 * FIRING_RATE_DIST  sd: sqrt(sum_i (mu_i - mubar)^2 / (N - ddof))        cv: sd / mubar
 *                   mean_ad: (1/N) sum_i |mu_i - mubar|     max_ad: max_i |mu_i - mubar|
 *                   ARGUMENT unless N - ddof > 0 (in every metric); DOMAIN for cv where mubar = 0.
 *                   nn4n has ddof = 1.
 * STATE_PREDICTION  mean over b, t < T - tau and i of (S[b,t,i] - S[b,t+tau,i])^2.
 *                   ARGUMENT unless 1 <= tau < T. nn4n lags its first axis, whichever that is: pass
 *                   the same memory as (1, B, T N) for that.
 * HEBBIAN           C_b[i,j] = (1/T) sum_t S[b,t,i] S[b,t,j];  needs weights W (N, N), diagonal and
 *                   asymmetry included.
 *                   over batch: (1/B) sum_b |sum_ij W[i,j] C_b[i,j]|
 *                   over step (nn4n): (1/R) sum_bt |sum_ij W[i,j] S[b,t,i] S[b,t,j]|
 *                   Time: R N^2 / 2 multiply-adds. Memory: N^2 for W's folded triangle, no product. With
 *                   gradients see below.
 * ENTROPY           p_i = S_i / (Z + eps), H = -sum_i p_i log(p_i + eps) in each row, 0 log 0 = 0, H = 0
 *                   where Z = 0; mean over rows of H, plus reg times the mean over rows of sum_i S_i^2.
 *                   DOMAIN where a state is negative. eps > 0 reads the states once more.
 *                   nn4n has eps = 1e-8.
 * POPULATION_KL     needs a reference S1 of the same N. Per neuron, means m and variances v (1/R):
 *                   KL(0||1) = 1/2 (log(v1/v0) + (v0 + (m0 - m1)^2) / v1 - 1); symmetric: half of
 *                   KL(0||1) + KL(1||0). Mean or sum over neurons, plus reg times the mean over rows of
 *                   sum_i S0_i^2 and the same of S1; reduction none gives N values, KL_i + reg times the
 *                   mean over rows of S0_i^2 and the same of S1.
 *                   log sigma replaces log(v1/v0) by its half: a formula in circulation, here for
 *                   comparison only; it is no divergence and may be negative. It changes nothing in
 *                   the symmetric form, where the logarithms cancel.
 *                   DOMAIN where a variance is 0 after var_floor, unless degenerate is skip, and where
 *                   skip leaves out every neuron (with reduction none, too): nothing was compared.
 */
typedef enum ratecl_criterion {
    RATECL_FIRING_RATE = 1,
    RATECL_FIRING_RATE_DIST = 2,
    RATECL_STATE_PREDICTION = 3,
    RATECL_HEBBIAN = 4,
    RATECL_ENTROPY = 5,
    RATECL_POPULATION_KL = 6
} ratecl_criterion;

typedef enum ratecl_metric {
    RATECL_METRIC_DEFAULT = 0, /**< firing_rate: l2; firing_rate_dist: sd */
    RATECL_METRIC_L2 = 1,
    RATECL_METRIC_L1 = 2,
    RATECL_METRIC_SD = 3,
    RATECL_METRIC_CV = 4,
    RATECL_METRIC_MEAN_AD = 5,
    RATECL_METRIC_MAX_AD = 6
} ratecl_metric;

typedef enum ratecl_over { RATECL_OVER_BATCH = 0, RATECL_OVER_STEP = 1 } ratecl_over;

typedef enum ratecl_reduction {
    RATECL_REDUCTION_MEAN = 0,
    RATECL_REDUCTION_SUM = 1,
    RATECL_REDUCTION_NONE = 2 /**< N values, which take no part in the total */
} ratecl_reduction;

typedef enum ratecl_kl_log { RATECL_LOG_VARIANCE = 0, RATECL_LOG_SIGMA = 1 } ratecl_kl_log;

typedef enum ratecl_degenerate {
    RATECL_DEGENERATE_ERROR = 0,
    RATECL_DEGENERATE_SKIP = 1 /**< leave such neurons' divergences out, of the mean's count too, and
                                    count them. reg's part stays, with reduction none as well */
} ratecl_degenerate;

/** One term of a plan: a criterion and its parameters. Fields of other criteria are not read. */
typedef struct ratecl_term {
    size_t size;
    ratecl_criterion criterion;
    ratecl_metric metric;         /**< firing_rate, firing_rate_dist */
    double weight;                /**< factor in the total; finite */
    double target;                /**< firing_rate; finite */
    int64_t ddof;                 /**< firing_rate_dist */
    int64_t tau;                  /**< state_prediction, in time steps */
    ratecl_over over;             /**< hebbian */
    double reg;                   /**< entropy, population_kl; finite */
    double eps;                   /**< entropy; finite and not negative */
    int32_t symmetric;            /**< population_kl; 0 or 1 */
    ratecl_reduction reduction;   /**< population_kl */
    ratecl_kl_log log;            /**< population_kl */
    double var_floor;             /**< population_kl; finite and not negative */
    ratecl_degenerate degenerate; /**< population_kl */
} ratecl_term;

/* Defaults: weight 1, target 0, ddof 0, tau 1, reg 10 (entropy) or 1e-3 (population_kl), eps 0,
 * symmetric 1, var_floor 0; the first of each enumeration. */
#define RATECL_TERM_INIT(criterion_)                                                                 \
    {                                                                                                \
        sizeof(ratecl_term), (criterion_), RATECL_METRIC_DEFAULT, 1.0, 0.0, 0, 1, RATECL_OVER_BATCH, \
            (criterion_) == RATECL_ENTROPY ? 10.0 : 1e-3, 0.0, 1, RATECL_REDUCTION_MEAN,             \
            RATECL_LOG_VARIANCE, 0.0, RATECL_DEGENERATE_ERROR                                        \
    }
RATECL_EXPORT void ratecl_term_init_sized(ratecl_term *term, size_t size, ratecl_criterion criterion);
#define ratecl_term_init(term, criterion) ratecl_term_init_sized((term), sizeof(ratecl_term), (criterion))

/** Read "NAME[:key=value,...]", such as "population_kl:reg=0,reduction=none". Errors: ARGUMENT, also for
 *  a key that has no field in a term of this size. */
RATECL_EXPORT ratecl_status ratecl_term_parse_sized(ratecl_term *term, size_t size, const char *text);
#define ratecl_term_parse(term, text) ratecl_term_parse_sized((term), sizeof(ratecl_term), (text))

/** The criterion's name as terms are written, "firing_rate"; NULL for a number that is none. */
RATECL_EXPORT const char *ratecl_criterion_name(ratecl_criterion criterion);

typedef struct ratecl_parameter {
    size_t size;
    const char *name;   /**< "metric", "weight", ... ; static storage, as is choice */
    const char *choice; /**< the name of the choice; NULL where the parameter is a number */
    double number;      /**< the number; that of the enumeration for a choice */
    int32_t is_integer; /**< 1 where only whole numbers are allowed */
    int32_t is_default;
} ratecl_parameter;

/** Start a description: the size, and zeros. */
RATECL_EXPORT void ratecl_parameter_init_sized(ratecl_parameter *parameter, size_t size);
#define ratecl_parameter_init(parameter) ratecl_parameter_init_sized((parameter), sizeof(ratecl_parameter))

/** Describe parameter `index` of a term, counted from 0 in a fixed order with weight last.
 *  ARGUMENT past the last one. */
RATECL_EXPORT ratecl_status ratecl_term_parameter(const ratecl_term *term, size_t index,
                                                  ratecl_parameter *parameter);

/* ---- Plans ----------------------------------------------------------------------------------- */

/** The arithmetic of a plan. In f32 the quotients (cv, population_kl, and their gradients) do not depend on
 * the unit of the states: states may be scaled by any power of two from 2^-120 to 2^100, and neurons apart
 * from one another. A value or an element of a gradient that is beyond f32's range is a DOMAIN error that
 * names the remedy, f64. A parameter whose magnitude is above f32's largest number is refused (ARGUMENT), and
 * so is a var_floor above 0 but below the square of f32's smallest normal number. An eps below that number is
 * raised to it. */
typedef enum ratecl_precision {
    RATECL_PRECISION_F32 = 0,
    RATECL_PRECISION_F64 = 1 /**< UNSUPPORTED where the device has no fp64 */
} ratecl_precision;

/* Gradients
 *
 * The gradients of
 *     scale * (total + sum over the terms with reduction none of weight sum_i u_i value_i),
 * where the total is the sum of weight x value over all other terms, are exact derivatives of the
 * definitions above with respect to S (every criterion), to S1 (population_kl) and to W (hebbian). Where
 * there is no derivative:
 *   |x| (l1, mean_ad, hebbian): its derivative at 0 is 0.
 *   sd: its gradient is 0 where sd is 0, in cv as well.
 *   max_ad: the neurons that reach the maximum share its gradient equally.
 *   entropy: where S = 0 with eps = 0, and in a row with Z = 0, the gradient is that of reg's part alone.
 *   population_kl: a variance that var_floor raised passes no gradient, while the mean does; a skipped neuron
 *     passes that of reg's part alone.
 *
 * Time     All terms but hebbian: one more read of the states, none where they are firing_rate and
 *          firing_rate_dist alone, and one write of the gradient, however many terms there are.
 *          hebbian, to S: R N^2 multiply-adds for the product S (W + W^T), of which the value is a
 *          by-product (so not R N^2 / 2 more). To W: R N^2 / 2 more, for the triangle i <= j of
 *          sum over rows of sign S_i S_j.
 * Memory   A real is a number of the plan's precision. hebbian, to S: R N reals for the product. To W: the
 *          N^2 / 2 sums of the triangle, in two reals or a double each, once for each of the workers that
 *          share the rows, as many as it takes to fill the device: at N = 1024 about 4 N^2 doubles on the
 *          CPU path, at a small N more. Entropy: two reals (doubles on the CPU path) a row for each eps,
 *          and its value about as much for each thousand neurons: more than the states, where there are few.
 */

/** What an evaluation gives: the values, and the gradients that are joined to them by |. */
enum {
    RATECL_OUTPUT_VALUES = 1,
    RATECL_OUTPUT_GRADIENT_STATES = 2,
    RATECL_OUTPUT_GRADIENT_REFERENCE = 4, /**< the plan has a population_kl term */
    RATECL_OUTPUT_GRADIENT_WEIGHTS = 8    /**< the plan has a hebbian term */
};

typedef struct ratecl_plan_options {
    size_t size;
    ratecl_precision precision;     /**< of the arithmetic */
    uint32_t outputs;               /**< RATECL_OUTPUT_VALUES, or that and gradients */
    const ratecl_layout *states;    /**< required */
    const ratecl_layout *reference; /**< required by population_kl: same N, own B and T; else not used */
    const ratecl_layout *weights;   /**< required by hebbian: shape (1, N, N); else not used */
    const ratecl_term *terms;       /**< an array of term_count terms, all with the size of the first */
    size_t term_count;              /**< at least 1 */
    /* Where the gradients go: the shape of the input, RATECL_F32 or RATECL_F64, no two elements in the same
     * place. NULL: C order, in the precision's element. */
    const ratecl_layout *gradient_states;
    const ratecl_layout *gradient_reference;
    const ratecl_layout *gradient_weights;
    uint32_t accumulate; /**< those gradients, of `outputs`, that are added to what is there */
} ratecl_plan_options;

#define RATECL_PLAN_OPTIONS_INIT                                                                            \
    {                                                                                                       \
        sizeof(ratecl_plan_options), RATECL_PRECISION_F32, RATECL_OUTPUT_VALUES, NULL, NULL, NULL, NULL, 0, \
            NULL, NULL, NULL, 0                                                                             \
    }
RATECL_EXPORT void ratecl_plan_options_init_sized(ratecl_plan_options *options, size_t size);
#define ratecl_plan_options_init(options) \
    ratecl_plan_options_init_sized((options), sizeof(ratecl_plan_options))

/** Terms, shape, layout and element type, compiled for a context. It owns its kernels and scratch:
 *  evaluation allocates nothing. */
typedef struct ratecl_plan ratecl_plan;

/** Make a plan. The options, layouts and terms are copied. The caller releases it.
 *  Errors: ARGUMENT, UNSUPPORTED, MEMORY, BUILD, DEVICE. */
RATECL_EXPORT ratecl_status ratecl_plan_create(ratecl_context *context, const ratecl_plan_options *options,
                                               ratecl_plan **plan);

/** Release a plan, after waiting for what it has enqueued; NULL is allowed. */
RATECL_EXPORT void ratecl_plan_release(ratecl_plan *plan);

/** Doubles that an evaluation gives: one for each term, N for one with reduction none. 0 for NULL. */
RATECL_EXPORT size_t ratecl_plan_value_count(const ratecl_plan *plan);

/** Where term `term`'s first value lies among them; the count itself past the last term. */
RATECL_EXPORT size_t ratecl_plan_value_index(const ratecl_plan *plan, size_t term);

/** Host memory that an evaluation reads. It stays the caller's, and unchanged during the call. */
typedef struct ratecl_inputs {
    size_t size;
    const void *states;
    uint64_t states_bytes; /**< how much memory there is, to be checked; 0: not known */
    const void *reference; /**< needed where the plan has a population_kl term */
    uint64_t reference_bytes;
    const void *weights; /**< needed where the plan has a hebbian term */
    uint64_t weights_bytes;
    const double *scale;      /**< factor of every gradient, such as the upstream one; NULL: 1 */
    const double *cotangents; /**< (n, N): the u_i of the n terms with reduction none, in their order.
                                   NULL: these terms take no part in the gradients */
    size_t cotangent_count;   /**< how many doubles there are, n N; 0 for NULL */
} ratecl_inputs;

#define RATECL_INPUTS_INIT                                              \
    {                                                                   \
        sizeof(ratecl_inputs), NULL, 0, NULL, 0, NULL, 0, NULL, NULL, 0 \
    }
RATECL_EXPORT void ratecl_inputs_init_sized(ratecl_inputs *inputs, size_t size);
#define ratecl_inputs_init(inputs) ratecl_inputs_init_sized((inputs), sizeof(ratecl_inputs))

/** Host memory that an evaluation writes. Each pointer may be NULL, but for the gradients that the plan
 *  gives. A gradient must not overlap an input or another gradient. */
typedef struct ratecl_outputs {
    size_t size;
    double *values;     /**< ratecl_plan_value_count() unweighted values, in the order of the terms */
    size_t value_count; /**< how many doubles there is room for */
    double *total;      /**< sum of weight x value over the terms that have one value */
    int64_t *skipped;   /**< for each term the neurons that degenerate = skip left out */
    size_t skipped_count;
    void *gradient_states; /**< written, or added to, as the plan's options say; gaps stay as they are */
    uint64_t gradient_states_bytes; /**< how much memory there is, to be checked; 0: not known */
    void *gradient_reference;
    uint64_t gradient_reference_bytes;
    void *gradient_weights;
    uint64_t gradient_weights_bytes;
} ratecl_outputs;

#define RATECL_OUTPUTS_INIT                                                       \
    {                                                                             \
        sizeof(ratecl_outputs), NULL, 0, NULL, NULL, 0, NULL, 0, NULL, 0, NULL, 0 \
    }
RATECL_EXPORT void ratecl_outputs_init_sized(ratecl_outputs *outputs, size_t size);
#define ratecl_outputs_init(outputs) ratecl_outputs_init_sized((outputs), sizeof(ratecl_outputs))

/** Evaluate a plan on host memory, on the context's device, and wait for the result. An OpenCL CPU
 *  device reads it in place; for another one the plan's first call of this function allocates what it
 *  needs on the device, which the plan keeps. What is too large for that goes there in pieces, while the
 *  device works on those before.
 *  Errors: ARGUMENT (nothing is written), DOMAIN (the outputs are written; a value, or an element of a
 *  gradient, is not finite, and the gradients must not be used; of one that is accumulated, what is added
 *  counts), DEVICE, MEMORY. The plan stays usable after each of them. The message names the input and the
 *  first element or neuron at fault, where there is one. Where a driver fails to wait, too, the message says
 *  that the device may still use the memory that was given: it no longer does once an evaluation of the plan
 *  has succeeded. */
RATECL_EXPORT ratecl_status ratecl_evaluate(ratecl_plan *plan, const ratecl_inputs *inputs,
                                            const ratecl_outputs *outputs);

/* ---- One number -------------------------------------------------------------------------------- */

/* A plan of one term, with f32 arithmetic, made, evaluated and released: for a caller who wants one
 * number once. `states` is host memory as `layout` says. Everything else has its default. */

RATECL_EXPORT ratecl_status ratecl_firing_rate_loss(ratecl_context *context, const ratecl_layout *layout,
                                                    const void *states, ratecl_metric metric, double target,
                                                    double *value);
RATECL_EXPORT ratecl_status ratecl_firing_rate_dist_loss(ratecl_context *context, const ratecl_layout *layout,
                                                         const void *states, ratecl_metric metric,
                                                         double *value);
RATECL_EXPORT ratecl_status ratecl_state_prediction_loss(ratecl_context *context, const ratecl_layout *layout,
                                                         const void *states, int64_t tau, double *value);
RATECL_EXPORT ratecl_status ratecl_hebbian_loss(ratecl_context *context, const ratecl_layout *layout,
                                                const void *states, const ratecl_layout *weights_layout,
                                                const void *weights, double *value);
RATECL_EXPORT ratecl_status ratecl_entropy_loss(ratecl_context *context, const ratecl_layout *layout,
                                                const void *states, double reg, double *value);
RATECL_EXPORT ratecl_status ratecl_population_kl_loss(ratecl_context *context, const ratecl_layout *layout,
                                                      const void *states,
                                                      const ratecl_layout *reference_layout,
                                                      const void *reference, double *value);

/* ---- Tuning ---------------------------------------------------------------------------------- */

/** What is timed: the values of all terms but hebbian; these with the gradient to the states; the value of
 *  hebbian; that with the gradients to the states and to the weights. */
enum {
    RATECL_TUNE_SWEEP = 0,
    RATECL_TUNE_GRADIENT = 1,
    RATECL_TUNE_CORRELATION = 2,
    RATECL_TUNE_CORRELATION_GRADIENT = 3,
    RATECL_TUNE_COUNT = 4
};

typedef struct ratecl_tune_options {
    size_t size;
    ratecl_precision precision;
    double budget; /**< seconds, compiling included; what is being compiled at the end is finished */
    int32_t keep;  /**< 1: later contexts use what was found; 0: it is only told */
    /** Called now and then with the part of the budget that is spent, 0 to 1, and what is tried. NULL: none
     */
    void (*progress)(double fraction, const char *message, void *user);
    void *progress_user;
} ratecl_tune_options;

#define RATECL_TUNE_OPTIONS_INIT                                               \
    {                                                                          \
        sizeof(ratecl_tune_options), RATECL_PRECISION_F32, 60.0, 1, NULL, NULL \
    }
RATECL_EXPORT void ratecl_tune_options_init_sized(ratecl_tune_options *options, size_t size);
#define ratecl_tune_options_init(options) \
    ratecl_tune_options_init_sized((options), sizeof(ratecl_tune_options))

typedef struct ratecl_tune_result {
    size_t size;
    double before[RATECL_TUNE_COUNT]; /**< seconds with the device's defaults */
    double after[RATECL_TUNE_COUNT];  /**< seconds with what was found */
    int64_t tried, failed;            /**< choices; those that did not compile, or gave other results */
    char parameters[1024];            /**< "name=number,...", as RATECL_TUNING takes them */
    char file[1024];                  /**< where they were kept; empty where they were not */
} ratecl_tune_result;

/** Start a result: the size, and zeros. */
RATECL_EXPORT void ratecl_tune_result_init_sized(ratecl_tune_result *result, size_t size);
#define ratecl_tune_result_init(result) ratecl_tune_result_init_sized((result), sizeof(ratecl_tune_result))

/**
 * Search the compile-time parameters of the kernels on the context's device, and keep what is faster than the
 * defaults in tuning.txt, in the folder where programs are kept (ratecl_program_cache), for the device and
 * its driver. Contexts that are made afterwards use it and say so to their log; a line that is damaged, and a
 * file that others could have written, is ignored. The environment's RATECL_TUNING still sets single
 * parameters.
 *
 * A choice wins only if its results agree with the defaults' within the bounds that are promised; the bits
 * may differ. Use a context of its own: plans that are made with it meanwhile get what is being tried, and
 * those made later what was found. Errors: UNSUPPORTED on the CPU path, where there is nothing to tune;
 * ARGUMENT, also where the file cannot be written; those of plans.
 */
RATECL_EXPORT ratecl_status ratecl_tune(ratecl_context *context, const ratecl_tune_options *options,
                                        ratecl_tune_result *result);

#ifdef __cplusplus
}
#endif

#endif
