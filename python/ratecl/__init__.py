# SPDX-License-Identifier: Apache-2.0
"""Constraints on firing rates, and their gradients, on any OpenCL device and on the CPU.

States S[b,t,i] have the shape (B, T, N), batch (trial), time step and neuron, or (T, N). One function for each
criterion gives one number:

    ratecl.firing_rate(states)                    ratecl.hebbian(states, weights)
    ratecl.firing_rate_dist(states)               ratecl.entropy(states)
    ratecl.state_prediction(states)               ratecl.population_kl(states, reference)

`Plan` evaluates several together in one read of the states, with gradients. `ratecl.torch` has PyTorch modules,
`ratecl.jax` a differentiable function, `ratecl.opencl` evaluates in the buffers of PyOpenCL. The formulas stand in the
documentation of each function, mu_i being the mean rate of neuron i over trials and steps, mubar their mean.
"""
from __future__ import annotations

import functools
import typing

import numpy

from ._arrays import ArrayLike
from ._library import (ArgumentError, BuildError, DeviceError, DomainError, Error, NoDeviceError, OutOfMemoryError,
                       UnsupportedError, lib, text)
from ._plans import Context, Device, Plan, Result, default_context, devices
from ._terms import Term

__version__ = text(lib.ratecl_version())

__all__ = ['ArgumentError', 'BuildError', 'Context', 'Device', 'DeviceError', 'DomainError', 'Error', 'NoDeviceError',
           'OutOfMemoryError', 'Plan', 'Result', 'Term', 'UnsupportedError', 'default_context', 'devices', 'entropy',
           'firing_rate', 'firing_rate_dist', 'hebbian', 'population_kl', 'state_prediction']


@functools.lru_cache(maxsize=64)
def _plan(term: Term) -> Plan:
    """Return the plan of one term, which is kept."""
    return Plan(term)


def _value(term: Term, states: ArrayLike, **inputs: ArrayLike) -> typing.Any:
    return _plan(term)(states, **inputs).values[0]


def firing_rate(states: ArrayLike, metric: str = 'l2', target: float = 0.0) -> float:
    """Return the mean over neurons of (mu_i - target)^2, or of |mu_i - target| with metric 'l1'.

    states: (B, T, N) or (T, N). Raises DomainError where a state is not finite."""
    return _value(Term('firing_rate', metric=metric, target=target), states)


def firing_rate_dist(states: ArrayLike, metric: str = 'sd', ddof: int = 0) -> float:
    """Return the spread of the mean rates about their mean.

    metric: 'sd', sqrt(sum_i (mu_i - mubar)^2 / (N - ddof)); 'cv', sd / mubar; 'mean_ad', the mean of |mu_i - mubar|;
    'max_ad', their maximum. Raises DomainError where mubar is 0 for cv."""
    return _value(Term('firing_rate_dist', metric=metric, ddof=ddof), states)


def state_prediction(states: ArrayLike, tau: int = 1) -> float:
    """Return the mean of (S[b,t,i] - S[b,t+tau,i])^2 over trials, steps t < T - tau and neurons; 1 <= tau < T."""
    return _value(Term('state_prediction', tau=tau), states)


def hebbian(states: ArrayLike, weights: ArrayLike, over: str = 'batch') -> float:
    """Return the mean over trials of |sum_ij W[i,j] C_b[i,j]|, C_b[i,j] the mean over steps of S[b,t,i] S[b,t,j].

    weights: (N, N). over: 'step' takes the mean over trials and steps of |sum_ij W[i,j] S[b,t,i] S[b,t,j]|."""
    return _value(Term('hebbian', over=over), states, weights=weights)


def entropy(states: ArrayLike, reg: float = 10.0, eps: float = 0.0) -> float:
    """Return the mean entropy of a step's rates, plus reg times the mean of their sum of squares.

    p_i = S_i / (Z + eps) with Z the sum of the step, H = -sum_i p_i log(p_i + eps), 0 where Z is 0. Raises DomainError
    where a state is negative."""
    return _value(Term('entropy', reg=reg, eps=eps), states)


def population_kl(states: ArrayLike, reference: ArrayLike, symmetric: bool = True, reg: float = 1e-3,
                  reduction: str = 'mean', log: str = 'variance', var_floor: float = 0.0,
                  degenerate: str = 'error') -> typing.Union[float, numpy.ndarray]:
    """Return the Gaussian divergence of each neuron's rates from the reference's, averaged or summed over neurons, plus
    reg times the mean sum of squares of a step of both.

    KL(0||1) = 1/2 (log(v1/v0) + (v0 + (m0 - m1)^2) / v1 - 1) from means and variances over trials and steps; symmetric:
    half of KL(0||1) + KL(1||0). reduction: 'mean', 'sum', or 'none' for an array of N. var_floor: smaller variances are
    raised to it. degenerate: 'skip' leaves out neurons of variance 0, which raise DomainError otherwise. log: 'sigma'
    halves the logarithm, a formula in circulation that is no divergence."""
    term = Term('population_kl', symmetric=symmetric, reg=reg, reduction=reduction, log=log, var_floor=var_floor,
                degenerate=degenerate)
    return _value(term, states, reference=reference)
