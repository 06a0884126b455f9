// SPDX-License-Identifier: Apache-2.0
// A C++ program that uses the macros of the headers, and prints 0.1000.
#include <ratecl/ratecl.h>
#ifdef WITH_OPENCL
#include <ratecl/opencl.h>
#endif

#include <cstdio>

int main()
{
    const float states[] = { 0.1f, 0.4f, 0.3f, 0.2f, 0.2f, 0.6f };
    ratecl_layout layout;
    ratecl_layout_init(&layout, RATECL_F32, 1, 3, 2);
    ratecl_term terms[2] = { RATECL_TERM_INIT(RATECL_FIRING_RATE), RATECL_TERM_INIT(RATECL_ENTROPY) };
    ratecl_term_init(&terms[0], RATECL_FIRING_RATE);
    ratecl_plan_options options = RATECL_PLAN_OPTIONS_INIT;
    options.states = &layout;
    options.terms = terms;
    options.term_count = 2;
    double values[2] = { 0, 0 };
    ratecl_inputs inputs = RATECL_INPUTS_INIT;
    ratecl_outputs outputs;
    ratecl_outputs_init(&outputs);
    inputs.states = states;
    outputs.values = values;
    outputs.value_count = 2;
#ifdef WITH_OPENCL
    ratecl_cl_inputs buffers;
    ratecl_cl_inputs_init(&buffers);
    if (buffers.size != sizeof buffers || buffers.states)
        return 1;
#endif
    ratecl_context *context = NULL;
    ratecl_plan *plan = NULL;
    if (ratecl_term_parse(&terms[1], "entropy:reg=0") != RATECL_OK ||
        ratecl_context_create(NULL, &context) != RATECL_OK ||
        ratecl_plan_create(context, &options, &plan) != RATECL_OK ||
        ratecl_evaluate(plan, &inputs, &outputs) != RATECL_OK) {
        std::fprintf(stderr, "%s\n", ratecl_last_error());
        return 1;
    }
    std::printf("%.4f\n", values[0]);
    ratecl_plan_release(plan);
    ratecl_context_release(context);
    return 0;
}
