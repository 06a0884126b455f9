# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules, named as those of nn4n's criterion module.

    loss = ratecl.torch.FiringRateLoss(metric='l2')(states)
    loss.backward()

States are (B, T, N) or (T, N), weights (N, N). A module gives its gradients together with its value, in one evaluation;
several criteria of the same states belong into one CompositeLoss, which reads them once. f64 tensors are evaluated in
f64 where the device has it, others in f32; bf16 is converted. Second derivatives are refused. Modules work inside
torch.compile. Tensors on other devices are copied to the host and their gradients back.

`compat='nn4n'` sets the parameters with which nn4n 1.2.0 computes; see docs/nn4n.md.
"""
from __future__ import annotations

import functools
import typing
import warnings

import numpy
import torch
from torch import Tensor
from torch.library import custom_op

from . import _plans, _terms

INPUTS = _plans.INPUTS


# ---- The operator ----


@functools.lru_cache(maxsize=64)
def _plan(terms: str, gradients: tuple[str, ...]) -> _plans.Plan:
    """Return the plan of terms, one a line, and gradients; it keeps what it has compiled for each shape."""
    return _plans.Plan(terms.splitlines(), gradients=gradients)


@functools.lru_cache(maxsize=None)
def _say_once(device: str) -> None:
    warnings.warn(f'ratecl: tensors on {device} are copied to the host, evaluated there, and their gradients copied back',
                  stacklevel=2)


def _host(tensor: Tensor) -> numpy.ndarray:
    """Return a tensor's memory, or a copy of it where NumPy cannot see it."""
    if tensor.device.type != 'cpu':
        _say_once(tensor.device.type)
        tensor = tensor.cpu()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return tensor.detach().numpy()


def _empty_gradient(tensor: Tensor) -> Tensor:
    """Return a tensor for a gradient: one for each element, in the order of its memory."""
    return torch.empty_like(tensor)


def _real_type(states: Tensor) -> torch.dtype:
    """Return the type of values: the states', but f32 for counts."""
    return states.dtype if states.is_floating_point() else torch.float32


def _given(states: Tensor, reference: typing.Optional[Tensor], weights: typing.Optional[Tensor]) -> dict[str, Tensor]:
    tensors = {'states': states, 'reference': reference, 'weights': weights}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _evaluate(terms: str, given: dict[str, Tensor], wanted: tuple[str, ...],
              cotangents: typing.Optional[Tensor] = None) -> tuple[_plans.Result, list[Tensor]]:
    """Evaluate, and return the gradients of the inputs in `wanted` as tensors of their type and device."""
    gradients = {name: _empty_gradient(given[name]) for name in wanted}
    # The library writes f32 and f64; other types receive a copy.
    arrays: dict[str, typing.Any] = {name: _host(tensor) for name, tensor in given.items()}
    direct = {name: g for name, g in gradients.items() if g.device.type == 'cpu' and g.dtype in (torch.float32, torch.float64)}
    result = _plan(terms, wanted)(**arrays, cotangents=None if cotangents is None else _host(cotangents.double()),
                                  out={name: g.numpy() for name, g in direct.items()})
    for name, gradient in gradients.items():
        if name not in direct:
            gradient.copy_(torch.from_numpy(result.gradients[name]))
    return result, [gradients[name] if name in wanted else given['states'].new_empty(0) for name in INPUTS]


def _names(wanted: str) -> tuple[str, ...]:
    return tuple(wanted.split())


@custom_op('ratecl::total', mutates_args=())
def _total(states: Tensor, reference: typing.Optional[Tensor], weights: typing.Optional[Tensor], terms: str,
           wanted: str) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the total, the terms' values, and a gradient for each input, which is empty unless `wanted` names it."""
    result, gradients = _evaluate(terms, _given(states, reference, weights), _names(wanted))
    total = states.new_tensor(result.total, dtype=_real_type(states))
    values = states.new_tensor(result.values, dtype=_real_type(states))
    return total, values, gradients[0], gradients[1], gradients[2]


@_total.register_fake
def _(states, reference, weights, terms, wanted):
    given, names = _given(states, reference, weights), _names(wanted)
    gradients = [_empty_gradient(given[name]) if name in names else states.new_empty(0) for name in INPUTS]
    real = _real_type(states)
    return states.new_empty((), dtype=real), states.new_empty(len(terms.splitlines()), dtype=real), *gradients


@custom_op('ratecl::scaled', mutates_args=())
def _scaled(gradient: Tensor, upstream: Tensor, source: Tensor) -> Tensor:
    """Return gradient times upstream. It depends on `source`, so that whoever differentiates it is refused."""
    return gradient * upstream


@_scaled.register_fake
def _(gradient, upstream, source):
    return torch.empty_like(gradient)


def _refuse(ctx, *upstream):
    raise RuntimeError('ratecl gives first derivatives only: a gradient of its gradient was asked for')


_scaled.register_autograd(_refuse)


def _keep_gradients(ctx, inputs, output):
    ctx.wanted = _names(inputs[4])
    ctx.sources = [k for k, name in enumerate(INPUTS) if name in ctx.wanted]
    ctx.save_for_backward(*(output[2 + k] for k in ctx.sources), *(inputs[k] for k in ctx.sources))
    ctx.mark_non_differentiable(*output[1:])


def _pass_gradients(ctx, upstream, *others):
    count = len(ctx.sources)
    result: list[typing.Optional[Tensor]] = [None] * 5
    for k, gradient, source in zip(ctx.sources, ctx.saved_tensors[:count], ctx.saved_tensors[count:]):
        result[k] = _scaled(gradient, upstream, source)
    return tuple(result)


_total.register_autograd(_pass_gradients, setup_context=_keep_gradients)


# A term that gives a number for each neuron: its gradient needs their weights, which backward is told.


@custom_op('ratecl::vector', mutates_args=())
def _vector(states: Tensor, reference: Tensor, term: str) -> Tensor:
    """Return the term's values, (N,)."""
    result, _ = _evaluate(term, _given(states, reference, None), ())
    return torch.from_numpy(result.values[0]).to(states.device, _real_type(states))


@_vector.register_fake
def _(states, reference, term):
    return states.new_empty(states.shape[-1], dtype=_real_type(states))


@custom_op('ratecl::vector_gradients', mutates_args=())
def _vector_gradients(upstream: Tensor, states: Tensor, reference: Tensor, term: str) -> tuple[Tensor, Tensor]:
    """Return the gradients of sum_i upstream_i value_i to states and reference."""
    _, gradients = _evaluate(term, _given(states, reference, None), ('states', 'reference'), upstream)
    return gradients[0], gradients[1]


@_vector_gradients.register_fake
def _(upstream, states, reference, term):
    return _empty_gradient(states), _empty_gradient(reference)


_vector_gradients.register_autograd(_refuse)


def _keep_inputs(ctx, inputs, output):
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.term = inputs[2]


def _pass_vector_gradients(ctx, upstream):
    return *_vector_gradients(upstream, *ctx.saved_tensors, ctx.term), None


_vector.register_autograd(_pass_vector_gradients, setup_context=_keep_inputs)


def _evaluate_texts(texts: list[str], states: Tensor, reference: typing.Optional[Tensor] = None,
                    weights: typing.Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
    """Return total and values of terms that are texts already: torch.compile cannot follow calls of the C library."""
    given = _given(states, reference, weights)
    wanted = [name for name, tensor in given.items() if tensor.requires_grad and torch.is_grad_enabled()]
    total, values, *_ = _total(states, reference, weights, '\n'.join(texts), ' '.join(wanted))
    return total, values


def evaluate(terms: typing.Union[_terms.TermLike, typing.Iterable[_terms.TermLike]], states: Tensor,
             reference: typing.Optional[Tensor] = None, weights: typing.Optional[Tensor] = None) -> tuple[Tensor, Tensor]:
    """Return the weighted total of the terms, which can be differentiated, and their values, which cannot.

    All terms share one read of the states. Terms with reduction none are refused with ValueError."""
    made = _terms.terms_of(terms)
    if any(term.is_vector for term in made):
        raise ValueError('a term has reduction none: expected terms that give one number')
    return _evaluate_texts([str(term) for term in made], states, reference, weights)


# ---- Modules ----


def _states_of(positional, named) -> Tensor:
    """Return the one tensor of states, however it was given: nn4n's versions call it `states` and `state`."""
    tensors = [tensor for tensor in (*positional, named.pop('states', None), named.pop('state', None)) if tensor is not None]
    if len(tensors) != 1:
        raise TypeError(f'expected one tensor of states, as the first argument, `states` or `state`: got {len(tensors)}')
    return tensors[0]


def _refuse_unknown(named: typing.Mapping[str, typing.Any]) -> None:
    if named:
        raise TypeError(f'unknown arguments: {", ".join(named)}')


class _Loss(torch.nn.Module):
    """A criterion as a module. Subclasses name its parameters, and those that nn4n computes with."""

    criterion: str
    nn4n: dict[str, typing.Any] = {}

    def __init__(self, compat: typing.Optional[str] = None, batch_first: bool = True, **parameters: typing.Any) -> None:
        super().__init__()
        if compat not in (None, 'nn4n'):
            raise ValueError(f'compat is {compat!r}: expected "nn4n" or None')
        self.compat, self.batch_first = compat, batch_first
        given = {name: value for name, value in parameters.items() if value is not None}
        self.term = _terms.Term(self.criterion, **{**(self.nn4n if compat else {}), **given})
        self._text, self._weight, self.is_vector = str(self.term), self.term.weight, self.term.is_vector

    def inputs(self, *positional: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """Return the tensors by the library's names."""
        states = _states_of(positional, named)
        _refuse_unknown(named)
        return {'states': states}

    def forward(self, *positional: Tensor, **named: Tensor) -> Tensor:
        """Return the loss, of the states' type."""
        return _evaluate_texts([self._text], **self.inputs(*positional, **named))[0]

    def extra_repr(self) -> str:
        return self._text


class FiringRateLoss(_Loss):
    """The mean over neurons of (mu_i - target)^2, or of its magnitude with metric 'l1'. Takes the states."""

    criterion = 'firing_rate'

    def __init__(self, metric: str = 'l2', target: float = 0.0, **options: typing.Any) -> None:
        super().__init__(metric=metric, target=target, **options)


class FiringRateDistLoss(_Loss):
    """The spread of the mean rates: metric 'sd', 'cv', 'mean_ad' or 'max_ad'. Takes the states."""

    criterion = 'firing_rate_dist'
    nn4n = {'ddof': 1}

    def __init__(self, metric: str = 'sd', ddof: typing.Optional[int] = None, **options: typing.Any) -> None:
        if options.get('compat') and metric in ('mean_ad', 'max_ad'):
            ddof = ddof or 0  # which these do not use, and with N = 1 refuse
        super().__init__(metric=metric, ddof=ddof, **options)


class StatePredictionLoss(_Loss):
    """The mean squared change of the states over tau time steps. Takes the states.

    With compat='nn4n' the lag is along the first axis, or with batch_first=False along the second, whatever it holds."""

    criterion = 'state_prediction'

    def __init__(self, tau: int = 1, **options: typing.Any) -> None:
        super().__init__(tau=tau, **options)

    def inputs(self, *positional: Tensor, **named: Tensor) -> dict[str, Tensor]:
        states = super().inputs(*positional, **named)['states']
        if self.compat:
            lagged = states if self.batch_first else states.transpose(0, 1)
            states = lagged.reshape(lagged.shape[0], -1)
        return {'states': states}


class HebbianLoss(_Loss):
    """The mean over trials, or steps with over='step', of |sum_ij W_ij C_ij|. Takes the states and `weights`, (N, N)."""

    criterion = 'hebbian'
    nn4n = {'over': 'step'}

    def __init__(self, over: typing.Optional[str] = None, **options: typing.Any) -> None:
        super().__init__(over=over, **options)

    def inputs(self, *positional: Tensor, **named: Tensor) -> dict[str, Tensor]:
        weights = named.pop('weights', None)
        if weights is None and len(positional) + len(named.keys() & {'states', 'state'}) == 2:
            positional, weights = positional[:-1], positional[-1]
        if weights is None:
            raise TypeError('expected the states and the weights, as the first arguments, or `states` and `weights`')
        return {**super().inputs(*positional, **named), 'weights': weights}


class EntropyLoss(_Loss):
    """The mean entropy of a step's rates, plus reg times their mean sum of squares. Takes the states."""

    criterion = 'entropy'
    nn4n = {'eps': 1e-8}

    def __init__(self, reg: float = 1e1, eps: typing.Optional[float] = None, **options: typing.Any) -> None:
        super().__init__(reg=reg, eps=eps, **options)


class PopulationKL(_Loss):
    """The Gaussian divergence of each neuron's rates in states_0 from those in states_1. Takes both.

    reduction 'none' gives a tensor of N; other parameters are those of ratecl.population_kl."""

    criterion = 'population_kl'

    def __init__(self, symmetric: bool = True, reg: float = 1e-3, reduction: str = 'mean', **options: typing.Any) -> None:
        super().__init__(symmetric=symmetric, reg=reg, reduction=reduction, **options)

    def inputs(self, *positional: Tensor, **named: Tensor) -> dict[str, Tensor]:
        tensors = list(positional)
        tensors += [named.pop(name) for name in ('states_0', 'states_1') if name in named]
        _refuse_unknown(named)
        if len(tensors) != 2:
            raise TypeError(f'expected two tensors, as the first arguments, `states_0` and `states_1`: got {len(tensors)}')
        return {'states': tensors[0], 'reference': tensors[1]}

    def forward(self, *positional: Tensor, **named: Tensor) -> Tensor:
        """Return the loss, of the states' type."""
        inputs = self.inputs(*positional, **named)
        if self.is_vector:
            return _vector(inputs['states'], inputs['reference'], self._text) * self._weight
        return _evaluate_texts([self._text], **inputs)[0]


_TYPES = {'fr': FiringRateLoss, 'fr_dist': FiringRateDistLoss, 'state_pred': StatePredictionLoss, 'entropy': EntropyLoss,
          'hebbian': HebbianLoss, 'population_kl': PopulationKL, 'mse': torch.nn.MSELoss}


def _weighted(term: _terms.Term, factor: float) -> tuple[str, float]:
    """Return a term's text with its weight times a factor, and that weight."""
    parameters = term.parameters
    parameters['weight'] *= factor
    return str(_terms.Term(term.criterion, **parameters)), parameters['weight']


class CompositeLoss(torch.nn.Module):
    """A weighted sum of losses, by name, as nn4n's:

        loss = CompositeLoss({'rate': {'type': 'fr', 'params': {'metric': 'l2'}, 'lambda': 0.5},
                              'spread': {'type': 'fr_dist'}})
        total, parts = loss({'rate': {'states': states}, 'spread': {'states': states}})

    Types are 'fr', 'fr_dist', 'state_pred', 'entropy', 'hebbian', 'population_kl', and 'mse', PyTorch's (`input`,
    `target`). A module in place of the type's name is taken as it is. `parts` has each loss times its lambda, for
    inspection: the total is what has gradients. Losses of the same tensors are evaluated together, in one read of them.
    """

    def __init__(self, loss_cfg: typing.Mapping[str, typing.Mapping[str, typing.Any]],
                 compat: typing.Optional[str] = None) -> None:
        super().__init__()
        if not loss_cfg:
            raise ValueError('loss_cfg has no loss: expected at least one')
        self.losses = torch.nn.ModuleDict()
        self.lambdas: dict[str, float] = {}
        self._weighted: dict[str, tuple[str, float]] = {}
        for name, spec in loss_cfg.items():
            kind = spec['type']
            if isinstance(kind, str) and kind not in _TYPES:
                raise ValueError(f'loss {name!r} is of type {kind!r}: expected one of {", ".join(_TYPES)}')
            options = dict(spec.get('params', {}))
            if isinstance(kind, str) and issubclass(_TYPES[kind], _Loss):
                options.setdefault('compat', compat)
            module = _TYPES[kind](**options) if isinstance(kind, str) else kind
            self.losses[name] = module
            self.lambdas[name] = float(spec.get('lambda', 1.0))
            if isinstance(module, _Loss):
                self._weighted[name] = _weighted(module.term, self.lambdas[name])

    def forward(self, inputs: typing.Mapping[str, typing.Mapping[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total and its parts. `inputs` has the tensors of each loss by its name."""
        groups: list[tuple[dict[str, Tensor], list[str]]] = []
        totals: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        for name, module in self.losses.items():
            if name not in inputs:
                raise KeyError(f'the inputs of loss {name!r} are missing')
            if not isinstance(module, _Loss) or module.is_vector:
                parts[name] = self.lambdas[name] * module(**inputs[name])
                totals.append(parts[name])
                continue
            tensors = module.inputs(**inputs[name])
            self._join(groups, tensors, name)
        for tensors, names in groups:
            total, values = _evaluate_texts([self._weighted[name][0] for name in names], **tensors)
            totals.append(total)
            parts.update((name, self._weighted[name][1] * values[k]) for k, name in enumerate(names))
        return sum(totals[1:], totals[0]), {name: parts[name] for name in self.losses}

    @staticmethod
    def _join(groups, tensors: dict[str, Tensor], name: str) -> None:
        """Add a loss to the group that has its states, and no other tensor in another's place."""
        for known, names in groups:
            if all(known.get(key, tensor) is tensor for key, tensor in tensors.items()) and known['states'] is tensors['states']:
                known.update(tensors)
                names.append(name)
                return
        groups.append((dict(tensors), [name]))
