/* SPDX-License-Identifier: Apache-2.0 */
/* An evaluation on host memory: what is given, checked and handed to the path, and the values that come back.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "context.h"

void ratecl_inputs_init_sized(ratecl_inputs *inputs, size_t size)
{
    const ratecl_inputs defaults = RATECL_INPUTS_INIT;
    rc_struct_init(inputs, size, &defaults, sizeof defaults);
}

void ratecl_outputs_init_sized(ratecl_outputs *outputs, size_t size)
{
    const ratecl_outputs defaults = RATECL_OUTPUTS_INIT;
    rc_struct_init(outputs, size, &defaults, sizeof defaults);
}

/* `name` is that of the struct's field, "inputs.states". */
static ratecl_status check_memory(const rc_view *view, const char *name, const void *memory, uint64_t bytes)
{
    const size_t element = rc_element_bytes(view->element);
    if (!memory)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s is NULL: expected memory, as the plan has it", name);
    if ((uintptr_t)memory % element != 0)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s is %p: expected an address that is a multiple of %zu", name,
                       memory, element);
    if (bytes && bytes < (uint64_t)view->extent * element)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "%s_bytes is %" PRIu64 ": expected at least %" PRIu64 ", as the layout says", name,
                       bytes, (uint64_t)view->extent * element);
    return RATECL_OK;
}

ratecl_status rc_outputs_check(const ratecl_plan *plan, const ratecl_outputs *given, ratecl_outputs *outputs)
{
    *outputs = (ratecl_outputs)RATECL_OUTPUTS_INIT;
    RC_TRY(RC_OPTIONS(outputs, given, "outputs"));
    if (outputs->values && outputs->value_count < plan->spec.value_count)
        return rc_fail(RATECL_ERROR_ARGUMENT, "outputs.value_count is %zu: expected at least %zu",
                       outputs->value_count, plan->spec.value_count);
    if (outputs->skipped && outputs->skipped_count < plan->spec.term_count)
        return rc_fail(RATECL_ERROR_ARGUMENT, "outputs.skipped_count is %zu: expected at least %zu",
                       outputs->skipped_count, plan->spec.term_count);
    return RATECL_OK;
}

/* On every path a value is one of the plan's precision. */
static void keep_in_range(const ratecl_plan *plan)
{
    for (size_t v = 0; v < plan->spec.value_count && plan->spec.precision == RATECL_PRECISION_F32; ++v)
        if (fabs(plan->values[v]) > (double)FLT_MAX)
            plan->values[v] = plan->values[v] > 0 ? (double)INFINITY : -(double)INFINITY;
}

/* Where every neuron was skipped there is no divergence: that is not 0, which says that nothing differs. */
static void spoil_empty_divergences(const ratecl_plan *plan)
{
    const rc_spec *spec = &plan->spec;
    for (size_t k = 0; k < spec->term_count; ++k)
        for (size_t v = 0; v < rc_values_of(spec, &spec->terms[k]) && rc_skips_all(plan, k); ++v)
            plan->values[spec->terms[k].value + v] = (double)NAN;
}

bool rc_outputs_write(const ratecl_plan *plan, const ratecl_outputs *outputs)
{
    const rc_spec *spec = &plan->spec;
    double total = 0;
    bool finite = true;
    spoil_empty_divergences(plan);
    keep_in_range(plan);
    for (size_t k = 0; k < spec->term_count; ++k) {
        const rc_term *term = &spec->terms[k];
        const size_t count = rc_values_of(spec, term);
        for (size_t v = 0; v < count; ++v)
            finite = finite && isfinite(plan->values[term->value + v]);
        if (!rc_is_vector(term))
            total += term->options.weight * plan->values[term->value];
    }
    finite = finite && isfinite(total) && !rc_is_gradient_spoiled(plan);
    if (outputs->values)
        memcpy(outputs->values, plan->values, spec->value_count * sizeof *plan->values);
    if (outputs->total)
        *outputs->total = total;
    if (outputs->skipped)
        memcpy(outputs->skipped, plan->skipped, spec->term_count * sizeof *plan->skipped);
    return finite;
}

static ratecl_status take_inputs(const rc_spec *spec, const ratecl_inputs *inputs, rc_evaluation *evaluation)
{
    static const char *const names[RC_INPUT_COUNT] = { "inputs.states", "inputs.reference",
                                                       "inputs.weights" };
    const void *const memory[RC_INPUT_COUNT] = { inputs->states, inputs->reference, inputs->weights };
    const uint64_t bytes[RC_INPUT_COUNT] = { inputs->states_bytes, inputs->reference_bytes,
                                             inputs->weights_bytes };
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        if (spec->uses[k]) {
            RC_TRY(check_memory(&spec->inputs[k], names[k], memory[k], bytes[k]));
            evaluation->inputs[k] = memory[k];
        }
    const size_t wanted = spec->cotangent_count * (size_t)spec->inputs[RC_STATES].shape[2];
    if (inputs->cotangents && inputs->cotangent_count != wanted)
        return rc_fail(RATECL_ERROR_ARGUMENT,
                       "inputs.cotangent_count is %zu: expected %zu, N for each term with reduction none",
                       inputs->cotangent_count, wanted);
    evaluation->cotangents = inputs->cotangents;
    evaluation->scale = inputs->scale ? *inputs->scale : 1;
    return RATECL_OK;
}

static ratecl_status take_gradients(const rc_spec *spec, const ratecl_outputs *outputs,
                                    rc_evaluation *evaluation)
{
    static const char *const names[RC_INPUT_COUNT] = { "outputs.gradient_states",
                                                       "outputs.gradient_reference",
                                                       "outputs.gradient_weights" };
    void *const memory[RC_INPUT_COUNT] = { outputs->gradient_states, outputs->gradient_reference,
                                           outputs->gradient_weights };
    const uint64_t bytes[RC_INPUT_COUNT] = { outputs->gradient_states_bytes,
                                             outputs->gradient_reference_bytes,
                                             outputs->gradient_weights_bytes };
    for (int k = 0; k < RC_INPUT_COUNT; ++k)
        if (spec->gradients[k].wanted) {
            RC_TRY(check_memory(&spec->gradients[k].view, names[k], memory[k], bytes[k]));
            evaluation->gradients[k] = memory[k];
        }
    return RATECL_OK;
}

ratecl_status ratecl_evaluate(ratecl_plan *plan, const ratecl_inputs *given,
                              const ratecl_outputs *given_outputs)
{
    RC_REFUSE_NULL(plan);
    if (!given || !given_outputs)
        return rc_fail(RATECL_ERROR_ARGUMENT, "%s is NULL: expected a pointer", given ? "outputs" : "inputs");
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    RC_TRY(RC_OPTIONS(&inputs, given, "inputs"));
    ratecl_outputs outputs;
    RC_TRY(rc_outputs_check(plan, given_outputs, &outputs));
    rc_evaluation evaluation = { .values = plan->values, .skipped = plan->skipped };
    RC_TRY(take_inputs(&plan->spec, &inputs, &evaluation));
    RC_TRY(take_gradients(&plan->spec, &outputs, &evaluation));
    RC_TRY(plan->context->path->evaluate(plan->state, &evaluation));
    return rc_outputs_write(plan, &outputs) ? RATECL_OK
                                            : rc_diagnose(plan, evaluation.inputs, evaluation.gradients);
}
