# SPDX-License-Identifier: Apache-2.0
"""A differentiable loss for JAX, evaluated on the host by a callback.

    loss = ratecl.jax.loss(['firing_rate', 'entropy:reg=0'])
    value, gradient = jax.value_and_grad(loss)(states)

It works under jit, grad and vmap, which evaluates one element of the batch after another.
"""
from __future__ import annotations

import typing

import jax
import jax.numpy
import numpy

from . import _plans, _terms


def loss(terms: typing.Union[_terms.TermLike, typing.Iterable[_terms.TermLike]], *,
         context: typing.Optional[_plans.Context] = None) -> typing.Callable[..., jax.Array]:
    """Return the function (states, reference=None, weights=None) -> total of the terms, weighted.

    states, reference: (B, T, N) or (T, N); weights: (N, N). The total has the states' type, and each gradient, which is
    exact, its input's; integers are taken as f32. f64 states are evaluated in f64 where the device has it. Second
    derivatives are refused by JAX: a callback has none. Terms with reduction none have no part in a total, and raise
    ValueError; what an evaluation raises, such as DomainError, JAX passes on in an exception of its own.
    """
    made = _terms.terms_of(terms)
    if any(term.is_vector for term in made):
        raise ValueError('a term has reduction none: expected terms that give one number')
    plans: dict[tuple[str, ...], _plans.Plan] = {}

    def evaluate_on_host(names, wanted, *arrays):
        """Return the total, and the gradients of the inputs in `wanted`."""
        given = dict(zip(names, map(numpy.asarray, arrays)))
        plan = plans.setdefault(wanted, _plans.Plan(made, gradients=wanted, context=context))
        result = plan(**given)
        return (given['states'].dtype.type(result.total),
                *(result.gradients[name].astype(given[name].dtype, copy=False) for name in wanted))

    def call(inputs, wanted):
        names, arrays = tuple(inputs), tuple(inputs.values())
        results = (jax.ShapeDtypeStruct((), inputs['states'].dtype),
                   *(jax.ShapeDtypeStruct(inputs[name].shape, inputs[name].dtype) for name in wanted))
        return jax.pure_callback(lambda *given: evaluate_on_host(names, wanted, *given), results, *arrays,
                                 vmap_method='sequential')

    @jax.custom_vjp
    def total(inputs):
        return call(inputs, ())[0]

    def forward(primals):
        inputs = {name: primal.value for name, primal in primals.items()}
        wanted = tuple(name for name, primal in primals.items() if primal.perturbed)
        value, *gradients = call(inputs, wanted)
        return value, (dict(zip(wanted, gradients)), inputs)

    def backward(kept, upstream):
        gradients, inputs = kept
        if isinstance(upstream, jax.custom_derivatives.SymbolicZero):
            gradients = {}
        return ({name: upstream.astype(array.dtype) * gradients[name] if name in gradients else jax.numpy.zeros_like(array)
                 for name, array in inputs.items()},)

    total.defvjp(forward, backward, symbolic_zeros=True)

    def evaluate(states, reference=None, weights=None):
        given = {'states': states, 'reference': reference, 'weights': weights}
        arrays = {name: jax.numpy.asarray(array) for name, array in given.items() if array is not None}
        return total({name: array if jax.numpy.issubdtype(array.dtype, jax.numpy.floating) else array.astype('float32')
                      for name, array in arrays.items()})

    return evaluate
