/* SPDX-License-Identifier: Apache-2.0 */
/* Six functions for one number: a plan of one term, made, evaluated and released. */
#include "status.h"

static ratecl_status one_value(ratecl_context *context, const ratecl_plan_options *options,
                               const ratecl_inputs *inputs, double *value)
{
    RC_REFUSE_NULL(value);
    ratecl_plan *plan;
    RC_TRY(ratecl_plan_create(context, options, &plan));
    ratecl_outputs outputs = RATECL_OUTPUTS_INIT;
    outputs.values = value;
    outputs.value_count = 1;
    const ratecl_status status = ratecl_evaluate(plan, inputs, &outputs);
    ratecl_plan_release(plan);
    return status;
}

/* A term of the states alone. */
static ratecl_status states_value(ratecl_context *context, const ratecl_layout *layout, const void *states,
                                  const ratecl_term *term, double *value)
{
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = layout;
    options.terms = term;
    options.term_count = 1;
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    inputs.states = states;
    return one_value(context, &options, &inputs, value);
}

ratecl_status ratecl_firing_rate_loss(ratecl_context *context, const ratecl_layout *layout,
                                      const void *states, ratecl_metric metric, double target, double *value)
{
    ratecl_term term = RATECL_TERM_INIT(RATECL_FIRING_RATE);
    term.metric = metric;
    term.target = target;
    return states_value(context, layout, states, &term, value);
}

ratecl_status ratecl_firing_rate_dist_loss(ratecl_context *context, const ratecl_layout *layout,
                                           const void *states, ratecl_metric metric, double *value)
{
    ratecl_term term = RATECL_TERM_INIT(RATECL_FIRING_RATE_DIST);
    term.metric = metric;
    return states_value(context, layout, states, &term, value);
}

ratecl_status ratecl_state_prediction_loss(ratecl_context *context, const ratecl_layout *layout,
                                           const void *states, int64_t tau, double *value)
{
    ratecl_term term = RATECL_TERM_INIT(RATECL_STATE_PREDICTION);
    term.tau = tau;
    return states_value(context, layout, states, &term, value);
}

ratecl_status ratecl_entropy_loss(ratecl_context *context, const ratecl_layout *layout, const void *states,
                                  double reg, double *value)
{
    ratecl_term term = RATECL_TERM_INIT(RATECL_ENTROPY);
    term.reg = reg;
    return states_value(context, layout, states, &term, value);
}

ratecl_status ratecl_hebbian_loss(ratecl_context *context, const ratecl_layout *layout, const void *states,
                                  const ratecl_layout *weights_layout, const void *weights, double *value)
{
    const ratecl_term term = RATECL_TERM_INIT(RATECL_HEBBIAN);
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = layout;
    options.weights = weights_layout;
    options.terms = &term;
    options.term_count = 1;
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    inputs.states = states;
    inputs.weights = weights;
    return one_value(context, &options, &inputs, value);
}

ratecl_status ratecl_population_kl_loss(ratecl_context *context, const ratecl_layout *layout,
                                        const void *states, const ratecl_layout *reference_layout,
                                        const void *reference, double *value)
{
    const ratecl_term term = RATECL_TERM_INIT(RATECL_POPULATION_KL);
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = layout;
    options.reference = reference_layout;
    options.terms = &term;
    options.term_count = 1;
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    inputs.states = states;
    inputs.reference = reference;
    return one_value(context, &options, &inputs, value);
}
