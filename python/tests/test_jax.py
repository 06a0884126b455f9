# SPDX-License-Identifier: Apache-2.0
"""The loss for JAX under jit, grad and vmap."""
import numpy as np
import pytest

jax = pytest.importorskip('jax')
import jax.numpy as jnp  # noqa: E402

import definitions  # noqa: E402
import ratecl  # noqa: E402
import ratecl.jax  # noqa: E402


def formula(S):
    p = S / S.sum(-1, keepdims=True)
    return -(p * jnp.log(p)).sum(-1).mean() + (S.mean((0, 1)) ** 2).mean()


@pytest.mark.parametrize('wrap', [lambda f: f, jax.jit])
def test_value_and_gradient(context, random, wrap):
    states = jnp.asarray(random.random((2, 30, 5)), 'float32')
    loss = ratecl.jax.loss(['firing_rate', 'entropy:reg=0'], context=context)
    value, gradient = wrap(jax.value_and_grad(loss))(states)
    expected, derivative = jax.value_and_grad(formula)(states)
    assert value.dtype == jnp.float32 and float(value) == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_allclose(gradient, derivative, rtol=1e-3, atol=1e-6)


def test_weights_and_reference(context, random):
    states, reference = random.random((2, 30, 5)).astype('f4'), random.random((2, 30, 5)).astype('f4')
    weights = random.standard_normal((5, 5)).astype('f4')
    loss = ratecl.jax.loss(['hebbian', 'population_kl'], context=context)
    expected = definitions.hebbian(states, weights) + definitions.population_kl(states, reference)
    assert float(loss(states, reference, weights)) == pytest.approx(expected, rel=1e-5)
    gradients = jax.grad(loss, argnums=(0, 1, 2))(states, reference, weights)
    plan = ratecl.Plan(['hebbian', 'population_kl'], gradients=('states', 'reference', 'weights'), context=context)
    result = plan(states, reference, weights)
    for gradient, name in zip(gradients, plan.gradients):
        np.testing.assert_array_equal(gradient, result.gradients[name])
    alone = jax.grad(loss, argnums=2)(states, reference, weights)
    np.testing.assert_allclose(alone, gradients[2], rtol=1e-5)


def test_vmap_and_counts(context, random):
    batch = random.random((4, 2, 30, 5)).astype('f4')
    loss = ratecl.jax.loss('firing_rate', context=context)
    np.testing.assert_allclose(jax.vmap(loss)(batch), [definitions.firing_rate(S) for S in batch], rtol=1e-5)
    counts = (9 * batch[0]).astype('u1')
    assert float(loss(counts)) == pytest.approx(definitions.firing_rate(counts), rel=1e-5)


def test_refusals(context, random):
    with pytest.raises(ValueError, match='reduction none'):
        ratecl.jax.loss('population_kl:reduction=none')
    loss = ratecl.jax.loss('state_prediction', context=context)
    with pytest.raises(Exception, match='JVP'):
        jax.hessian(loss)(jnp.ones((3, 2)))
    with pytest.raises(Exception, match='elements are negative'):
        jax.block_until_ready(ratecl.jax.loss('entropy', context=context)(-jnp.ones((3, 2))))
