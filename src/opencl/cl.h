/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenCL path's own types. */
#ifndef RATECL_SRC_OPENCL_CL_H
#define RATECL_SRC_OPENCL_CL_H

#include <pthread.h>
#include <ratecl/opencl.h>

#include "cache.h"
#include "path.h"
#include "program.h"
#include "tuning.h"
#include "workers.h"

/* Hand up a failed OpenCL call: the message names the call and its code. */
#define CL_TRY(call)                         \
    do {                                     \
        const cl_int code_ = (call);         \
        if (code_ != CL_SUCCESS)             \
            return rc_cl_fail(#call, code_); \
    } while (0)
#define rc_cl_fail(call, code) (rc_cl_message((call), (code)), rc_cl_status(code))
void rc_cl_message(const char *call, cl_int code);

static inline ratecl_status rc_cl_status(cl_int code)
{
    const bool memory = code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_HOST_MEMORY ||
                        code == CL_OUT_OF_RESOURCES || code == CL_INVALID_BUFFER_SIZE;
    return memory ? RATECL_ERROR_MEMORY : RATECL_ERROR_DEVICE;
}

typedef struct rc_cl_context {
    cl_context context;
    cl_device_id device;
    cl_command_queue queue;
    bool out_of_order;       /* the queue: events chain what depends on one another */
    bool shares_host_memory; /* host memory can be read in place */
    bool fp64;
    uint64_t staging_limit; /* bytes */
    ratecl_device_info info;
    rc_device_limits limits;
    ratecl_log_function log;
    void *log_user;
    rc_cl_cache cache;
    char tuned[2][RC_TUNING_BYTES]; /* by precision: parameters found on this device, or "" */
    pthread_mutex_t lock;           /* of `workers` and `programs` */
    rc_workers *workers;            /* that copy host memory, made when first needed */
    rc_cl_program *programs;        /* a list that only grows */
} rc_cl_context;

enum { RC_NO_INPUT = -1 };

/* One kernel of an evaluation. One that reads an input has it in the arguments 0 to 4 (memory, offset, three
 * strides); one that writes a gradient has it in those from `gradient_argument` on. Both are cut into units
 * of rows, which can be taken piece by piece. */
typedef struct rc_cl_step {
    cl_kernel kernel;
    size_t lanes;
    int64_t groups;            /* of the whole, or of one unit */
    int input;                 /* that is read, or RC_NO_INPUT */
    int gradient;              /* the input of which the gradient is written, or RC_NO_INPUT */
    cl_uint gradient_argument; /* the first of the five */
    cl_uint first_unit;        /* the argument of that name; 0 where all is one unit */
    cl_uint end_unit;          /* the argument of that name; 0 where there is none */
    int64_t units;             /* 0: a step that is not cut */
    int64_t unit_rows;         /* at most */
    int64_t units_per_batch;   /* 0: units go on over the rows of all batches */
    int64_t most_units;        /* in one launch; 0: any number */
    int64_t before, after;     /* rows that are read beyond a unit's own */
    int windows;  /* one for each lag's later rows, in the gradient also one for its earlier ones (staging.h)
                   */
    cl_uint taus; /* the argument of that name, where there are windows */
    cl_mem whole_taus, cut_taus; /* that the argument takes; cut_taus NULL: the former alone */
} rc_cl_step;

/* Device memory that a piece of an array lies in. */
typedef struct rc_cl_slot {
    cl_mem memory;
    cl_event host_done, device_done; /* the last commands of each side that use it, or NULL */
} rc_cl_slot;

/* Page-locked host memory, mapped for as long as the plan lives, which the device reads and writes at the
 * speed of its bus. */
typedef struct rc_cl_pinned {
    cl_mem memory;
    char *host;
    cl_event done; /* the last transfer that uses it, or NULL */
} rc_cl_pinned;

/* How an array in host memory that the device has no room for goes through it: in pieces of rows, which are
 * copied side by side into the slots unless the device can have them where they lie. */
typedef struct rc_cl_staging {
    int64_t rows;        /* that a piece holds at most; 0: the array is not cut */
    bool in_place;       /* the device shares the host's memory */
    int64_t window_rows; /* that a window holds; 0: there are none */
    int64_t slot_rows;   /* with the windows */
    /* By the step's windows: where in a slot they begin; 0: the lag is within the piece. */
    int64_t *window_at;
    rc_cl_slot slots[2];
    int turn; /* the slot that was used last */
} rc_cl_staging;

/* A gradient in device memory, which goes back to host memory when it is done. */
typedef struct rc_cl_result {
    cl_mem memory;
    rc_view view; /* how it lies there: as in host memory unless there are gaps, and then in C order */
    bool wanted, has_gaps;
} rc_cl_result;

typedef struct rc_cl_plan {
    rc_cl_context *context;
    const rc_spec *spec;  /* lives as long as the plan */
    const rc_spec *model; /* compile-time options follow this one: the same, but for a warm-up (prepare.c) */
    cl_command_queue queue; /* receives the launches: the context's, or `transfers` for a warm-up */
    bool out_of_order;      /* that queue: events chain what depends on one another */
    rc_tuning tuning;
    bool shares_host_memory; /* host memory is read in place: not by kernels that want aligned vectors */
    size_t real_bytes;
    size_t group_lanes; /* the largest work-group that all kernels so far can have */

    rc_cl_step *steps; /* in the order in which they are enqueued */
    size_t step_count;
    cl_mem *buffers; /* scratch that the steps hold */
    size_t buffer_count;

    cl_mem results; /* value_count + 1 reals, and from skipped_offset on term_count + 1 longs, as of
                       rc_evaluation: one transfer brings all */
    size_t results_bytes, skipped_offset;
    char *host_results;

    cl_mem statistics[2]; /* of the states and the reference: scratch that finish reads */

    cl_kernel coefficients; /* NULL where there is no gradient; its first arguments change */
    cl_mem cotangents;      /* (cotangent_count, N) reals, for those from host memory */
    void *host_cotangents;

    /* The plan's own queue, in order, for what must not wait behind later commands of the caller. */
    cl_command_queue transfers;

    /* For arrays in host memory, made when first needed: */
    cl_mem copies[RC_INPUT_COUNT]; /* inputs that are not cut */
    rc_cl_result gradients[RC_INPUT_COUNT];
    rc_cl_staging staging[RC_INPUT_COUNT], gradient_staging[RC_INPUT_COUNT];
    rc_cl_pinned pinned[2];
    size_t pinned_bytes; /* of each */
    int pinned_turn;     /* the one that was used last */

    bool unsettled;                /* an evaluation failed, and so did waiting for what it had enqueued */
    cl_mem inputs[RC_INPUT_COUNT]; /* of the evaluation in flight, retained */
    cl_event last;                 /* of the last command that was enqueued: the next evaluation follows it */
} rc_cl_plan;

/* ---- devices.c ---- */
/* Describe a device that has this place among all. It is usable if it is available and has a compiler. */
ratecl_status rc_cl_device_describe(cl_device_id device, int platform, int index, ratecl_device_info *info,
                                    bool *usable);
ratecl_status rc_cl_device_find(const char *id, cl_device_id *device);
/* Find the place of a device; that of the first one where it has none, as sub-devices do not. */
void rc_cl_device_place(cl_device_id device, int *platform, int *index);

/* ---- context.c ---- */

/* True unless this process was made by fork() after the library used OpenCL: the objects cannot be used then,
 * and drivers hang. */
bool rc_cl_is_usable_here(void);
/* Refuse to use OpenCL in such a process. Errors: UNSUPPORTED. */
ratecl_status rc_cl_check_process(void);
ratecl_status rc_cl_context_adopt(cl_context context, cl_device_id device, cl_command_queue queue,
                                  const ratecl_context_options *options, void **context_state);

/* ---- tuned.c ---- */

/* What was kept for the device, where it is of use. */
void rc_cl_tuned_read(rc_cl_context *context);
ratecl_status rc_cl_tuned_keep(const rc_cl_context *context, ratecl_precision precision, const char *all,
                               char *file, size_t file_bytes);

/* ---- tune.c ---- */
extern const rc_tuner rc_cl_tuner;

/* ---- plan.c ---- */
ratecl_status rc_cl_plan_create(void *context_state, const rc_spec *spec, void **plan_state);
void rc_cl_plan_release(void *plan_state);

/* Make a plan of `spec`, with the compile-time options that `model` has, in work-groups of at most *lanes.
 * Where that was too many for a kernel, *lanes becomes what it allows and the status is UNSUPPORTED. */
ratecl_status rc_cl_plan_make(rc_cl_context *context, const rc_spec *spec, const rc_spec *model,
                              size_t *lanes, rc_cl_plan **made);

/* ---- prepare.c ---- */

/* Evaluate a small plan with the programs of `plan`, since drivers leave part of the compiling to the first
 * launch. */
ratecl_status rc_cl_prepare(const rc_cl_plan *plan);

/* ---- evaluate.c ---- */

/* Where the rows of an input come from, or those of a gradient go: device memory that holds all of it, laid
 * out as the plan says, or, where `host` is set, host memory that goes through the plan's staging. */
typedef struct rc_cl_source {
    cl_mem memory;
    const void *host;
} rc_cl_source;

typedef struct rc_cl_sink {
    cl_mem memory;
    const rc_view *view; /* how the memory is laid out, where not as the plan says; else NULL */
    void *host;
} rc_cl_sink;

/* All that an evaluation reads and writes. `values`, `scale` and `cotangents` may be NULL. */
typedef struct rc_cl_exchange {
    rc_cl_source inputs[RC_INPUT_COUNT];
    rc_cl_sink gradients[RC_INPUT_COUNT];
    cl_mem values;
    double scale_value; /* counts where `scale` is NULL */
    cl_mem scale, cotangents;
} rc_cl_exchange;

/* Release the buffers that an exchange holds. */
void rc_cl_exchange_release(const rc_cl_exchange *exchange);
/* Release those that are there, and leave NULL. */
void rc_cl_release_inputs(cl_mem inputs[RC_INPUT_COUNT]);

/* Enqueue all steps after the events of `wait_list`, and return without waiting, whatever happens.
 * `plan->last` is complete when all of it is done. After a failure the plan is as good as before. */
ratecl_status rc_cl_plan_enqueue(rc_cl_plan *plan, const rc_cl_exchange *exchange, cl_uint wait_count,
                                 const cl_event *wait_list);

/* Wait until nothing that an evaluation has enqueued uses the caller's memory any more. Where that cannot be
 * known, the plan is unsettled. */
void rc_cl_plan_settle(rc_cl_plan *plan);
/* Refuse a plan of which commands may still be running that no later one is ordered behind. Errors: DEVICE.
 */
ratecl_status rc_cl_plan_check_settled(const rc_cl_plan *plan);

/* Wait for that, and for nothing that was enqueued later; give the results. */
ratecl_status rc_cl_plan_wait(rc_cl_plan *plan, double *values, int64_t *skipped);

ratecl_status rc_cl_plan_evaluate(void *plan_state, const rc_evaluation *evaluation);

/* ---- finish.c ---- */

ratecl_status rc_cl_read_moments(void *plan_state, int input, int64_t first, int64_t count, double *mean,
                                 double *deviation);

/* Set the arguments of coefficients that differ from one evaluation to the next. */
ratecl_status rc_cl_set_coefficients(const rc_cl_plan *plan, const rc_cl_exchange *exchange);

#endif
