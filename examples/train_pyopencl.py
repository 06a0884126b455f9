#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Train a layer of rate neurons in PyOpenCL by ratecl's gradients: states, gradients and weights stay on the device.

    states = sigmoid(inputs W^T + bias)        (B, T, N)
    loss   = (mean rate - 0.2)^2 of each neuron + 0.1 x their spread + 0.5 x the mean squared change in a step
"""
import numpy
import pyopencl as cl
import pyopencl.array

import ratecl
import ratecl.opencl

B, T, M, N = 8, 100, 20, 64
KERNELS = """
kernel void forward(global const float *inputs, global const float *weights, global const float *bias,
                    global float *states)
{
    const size_t row = get_global_id(1), i = get_global_id(0);
    float drive = bias[i];
    for (int j = 0; j < M; ++j)
        drive += weights[i * M + j] * inputs[row * M + j];
    states[row * N + i] = 1 / (1 + exp(-drive));
}

/* One work-item a weight, the bias being weight M: adds up d loss / d weight over all rows and takes a step. */
kernel void learn(global const float *inputs, global const float *states, global const float *gradient,
                  global float *weights, global float *bias, float rate)
{
    const size_t i = get_global_id(0), j = get_global_id(1);
    float sum = 0;
    for (size_t row = 0; row < ROWS; ++row) {
        const float s = states[row * N + i];
        sum += gradient[row * N + i] * s * (1 - s) * (j < M ? inputs[row * M + j] : 1);
    }
    if (j < M)
        weights[i * M + j] -= rate * sum;
    else
        bias[i] -= rate * sum;
}
"""


def main() -> None:
    random = numpy.random.default_rng(0)
    context = cl.create_some_context(interactive=False)
    queue = cl.CommandQueue(context)
    program = cl.Program(context, KERNELS).build(f'-DM={M} -DN={N} -DROWS={B * T}')
    forward, learn = cl.Kernel(program, 'forward'), cl.Kernel(program, 'learn')

    def on_device(*shape):
        return cl.array.to_device(queue, random.standard_normal(shape).astype('f4'))

    inputs, weights, bias = on_device(B, T, M), on_device(N, M), on_device(N)
    states, gradient = (cl.array.empty(queue, (B, T, N), 'f4') for _ in range(2))
    plan = ratecl.Plan(['firing_rate:target=0.2', 'firing_rate_dist:weight=0.1', 'state_prediction:weight=0.5'],
                       gradients='states', context=ratecl.opencl.context(queue))
    print(f'{"step":>4}  {"loss":>9}  {"mean rate":>9}')
    for step in range(201):
        forward(queue, (N, B * T), None, inputs.data, weights.data, bias.data, states.data)
        pending = ratecl.opencl.enqueue(plan, states, gradients={'states': gradient})
        learn(queue, (N, M + 1), None, inputs.data, states.data, gradient.data, weights.data, bias.data,
              numpy.float32(100))
        if step % 40 == 0:  # the only time that anything waits
            print(f'{step:4}  {pending.wait().total:9.6f}  {states.get().mean():9.6f}')


if __name__ == '__main__':
    main()
