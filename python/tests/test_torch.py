# SPDX-License-Identifier: Apache-2.0
"""PyTorch modules: values and gradients against the definitions in PyTorch, f32 and f64."""
import copy
import pickle
import shutil

import numpy as np
import pytest

torch = pytest.importorskip('torch')
from torch.library import opcheck  # noqa: E402

import ratecl  # noqa: E402
import ratecl.torch as rt  # noqa: E402

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


# ---- The definitions, which autograd differentiates ----


def rates(S):
    return S.mean((0, 1))


def kl_of(S0, S1, symmetric):
    m0, m1, v0, v1 = rates(S0), rates(S1), S0.var((0, 1), correction=0), S1.var((0, 1), correction=0)
    forward = 0.5 * (torch.log(v1 / v0) + (v0 + (m0 - m1) ** 2) / v1 - 1)
    backward = 0.5 * (torch.log(v0 / v1) + (v1 + (m0 - m1) ** 2) / v0 - 1)
    return 0.5 * (forward + backward) if symmetric else forward


def squares(S):
    return (S ** 2).sum(-1).mean()


def entropy_of(S, reg, eps):
    p = S / (S.sum(-1, keepdim=True) + eps)
    return -(p * torch.log(p + eps)).sum(-1).mean() + reg * squares(S)


CASES = {
    'rate l2': (rt.FiringRateLoss(metric='l2'), lambda S: (rates(S) ** 2).mean(), 1),
    'rate l1': (rt.FiringRateLoss('l1'), lambda S: rates(S).abs().mean(), 1),
    'sd': (rt.FiringRateDistLoss(metric='sd'), lambda S: rates(S).std(correction=0), 1),
    'cv': (rt.FiringRateDistLoss('cv'), lambda S: rates(S).std(correction=0) / rates(S).mean(), 1),
    'mean_ad': (rt.FiringRateDistLoss('mean_ad'), lambda S: (rates(S) - rates(S).mean()).abs().mean(), 1),
    'max_ad': (rt.FiringRateDistLoss('max_ad'), lambda S: (rates(S) - rates(S).mean()).abs().max(), 1),
    'prediction': (rt.StatePredictionLoss(tau=2), lambda S: ((S[:, 2:] - S[:, :-2]) ** 2).mean(), 1),
    'entropy': (rt.EntropyLoss(reg=1e1), lambda S: entropy_of(S, 10, 0), 1),
    'hebbian': (rt.HebbianLoss(), lambda S, W: torch.einsum('bti,ij,btj->b', S, W, S).div(S.shape[1]).abs().mean(), 'W'),
    'kl': (rt.PopulationKL(), lambda S, R: kl_of(S, R, True).mean() + 1e-3 * (squares(S) + squares(R)), 2),
    'kl sum': (rt.PopulationKL(symmetric=False, reg=0.1, reduction='sum'),
               lambda S, R: kl_of(S, R, False).sum() + 0.1 * (squares(S) + squares(R)), 2),
    # What nn4n computes
    'nn4n sd': (rt.FiringRateDistLoss('sd', compat='nn4n'), lambda S: rates(S).std(), 1),
    'nn4n cv': (rt.FiringRateDistLoss('cv', compat='nn4n'), lambda S: rates(S).std() / rates(S).mean(), 1),
    'nn4n prediction': (rt.StatePredictionLoss(tau=1, compat='nn4n'), lambda S: ((S[1:] - S[:-1]) ** 2).mean(), 1),
    'nn4n time first': (rt.StatePredictionLoss(tau=3, compat='nn4n', batch_first=False),
                        lambda S: ((S[:, 3:] - S[:, :-3]) ** 2).mean(), 1),
    'nn4n entropy': (rt.EntropyLoss(compat='nn4n'), lambda S: entropy_of(S, 10, 1e-8), 1),
    'nn4n hebbian': (rt.HebbianLoss(compat='nn4n'),
                     lambda S, W: torch.einsum('bti,ij,btj->bt', S, W, S).abs().mean(), 'W'),
}


def tensors(kind, dtype):
    generator = torch.Generator().manual_seed(3)
    def draw(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64).add_(0.01).to(dtype).requires_grad_()
    states = draw(3, 20, 6)
    return [states] if kind == 1 else [states, draw(6, 6) if kind == 'W' else draw(2, 30, 6)]


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('name', CASES)
def test_against_definitions(default, name, dtype):
    module, formula, kind = CASES[name]
    ours, theirs = tensors(kind, dtype), tensors(kind, torch.float64)
    value, expected = module(*ours), formula(*theirs)
    assert value.dtype == dtype and value.shape == ()
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
    (3 * value).backward()
    (3 * expected).backward()
    for a, b in zip(ours, theirs):
        assert a.grad.dtype == dtype
        difference = (a.grad.double() - b.grad).norm() / b.grad.norm()
        assert difference < 10 * tolerance, f'{name}: {difference}'


@pytest.mark.parametrize('name', CASES)
def test_gradcheck(default, name):
    module, _, kind = CASES[name]
    given = [tensor.detach()[..., :4].clone().requires_grad_() for tensor in tensors(kind, torch.float64)]
    if kind == 'W':
        given[1] = given[1].detach()[:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(module, tuple(given))


def test_reduction_none(default):
    S, R = tensors(2, torch.float64)
    module = rt.PopulationKL(reduction='none')
    values = module(S, R)
    reg = 1e-3 * ((S ** 2).mean((0, 1)) + (R ** 2).mean((0, 1)))
    torch.testing.assert_close(values, kl_of(S, R, True) + reg, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(module, (S, R))


def test_how_arguments_are_given(default):
    S, R = tensors(2, torch.float32)
    W = torch.rand(6, 6)
    rate, heb, kl = rt.FiringRateLoss(), rt.HebbianLoss(), rt.PopulationKL()
    assert rate(S) == rate(states=S) == rate(state=S)
    assert heb(S, W) == heb(states=S, weights=W) == heb(S, weights=W) == heb(state=S, weights=W)
    assert kl(S, R) == kl(states_0=S, states_1=R) == kl(S, states_1=R)
    for call, words in ((lambda: rate(), 'one tensor of states'), (lambda: rate(S, S), 'one tensor'),
                        (lambda: rate(S, stats=1), 'unknown arguments: stats'), (lambda: heb(S), 'weights'),
                        (lambda: kl(S), 'two tensors')):
        with pytest.raises(TypeError, match=words):
            call()


def test_composite(default):
    S, R = tensors(2, torch.float64)
    W = torch.rand(6, 6, dtype=torch.float64, requires_grad=True)
    config = {'rate': {'type': 'fr', 'params': {'metric': 'l2'}, 'lambda': 0.5}, 'spread': {'type': 'fr_dist'},
              'next': {'type': 'state_pred', 'params': {'tau': 2}}, 'heb': {'type': 'hebbian', 'lambda': 2.0},
              'ent': {'type': 'entropy', 'lambda': 0.1}, 'kl': {'type': 'population_kl'}, 'mse': {'type': 'mse'}}
    inputs = {name: {'states': S} for name in ('rate', 'spread', 'next', 'ent')}
    inputs.update(heb={'states': S, 'weights': W}, kl={'states_0': S, 'states_1': R}, mse={'input': S[:2], 'target': R[:, :20]})
    total, parts = rt.CompositeLoss(config)(inputs)
    single = {'rate': 0.5 * rt.FiringRateLoss()(S), 'spread': rt.FiringRateDistLoss()(S),
              'next': rt.StatePredictionLoss(tau=2)(S), 'heb': 2 * rt.HebbianLoss()(S, W), 'ent': 0.1 * rt.EntropyLoss()(S),
              'kl': rt.PopulationKL()(S, R), 'mse': ((S[:2] - R[:, :20]) ** 2).mean()}
    assert list(parts) == list(config)
    for name in config:
        torch.testing.assert_close(parts[name], single[name], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(total, sum(single.values()), rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(total, (S, R, W))
    theirs = torch.autograd.grad(sum(single.values()), (S, R, W))
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_composite_reads_once(default, monkeypatch):
    """Losses of the same states are one evaluation."""
    S, R = tensors(2, torch.float32)
    calls = []
    evaluate = rt._evaluate
    monkeypatch.setattr(rt, '_evaluate', lambda *given: calls.append(given[0]) or evaluate(*given))
    loss = rt.CompositeLoss({'rate': {'type': 'fr'}, 'kl': {'type': 'population_kl'}, 'other': {'type': 'fr'}})
    loss({'rate': {'states': S}, 'kl': {'states_0': S, 'states_1': R}, 'other': {'states': R}})
    assert len(calls) == 2


def test_copies(default):
    S, = tensors(1, torch.float32)
    loss = rt.CompositeLoss({'rate': {'type': 'fr', 'lambda': 2.0}, 'ent': {'type': 'entropy'}})
    inputs = {'rate': {'states': S}, 'ent': {'states': S}}
    for copied in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert copied(inputs)[0] == loss(inputs)[0]


def test_composite_refusals():
    with pytest.raises(ValueError, match="of type 'frr': expected one of fr, fr_dist"):
        rt.CompositeLoss({'a': {'type': 'frr'}})
    with pytest.raises(KeyError, match="loss 'a'"):
        rt.CompositeLoss({'a': {'type': 'fr'}})({})
    with pytest.raises(ValueError, match='at least one'):
        rt.CompositeLoss({})


def test_first_derivatives_only(default):
    S, R = tensors(2, torch.float64)
    for value in (rt.FiringRateLoss()(S), rt.PopulationKL(reduction='none')(S, R).sum()):
        gradient, = torch.autograd.grad(value, S, create_graph=True)
        with pytest.raises(RuntimeError, match='first derivatives only'):
            gradient.sum().backward()


def test_backward_twice(default):
    S, = tensors(1, torch.float32)
    value = rt.EntropyLoss()(S)
    value.backward(retain_graph=True)
    once = S.grad.clone()
    value.backward()
    torch.testing.assert_close(S.grad, 2 * once)


def test_other_tensors(default):
    S, = tensors(1, torch.float32)
    expected = rt.FiringRateLoss()(S.detach())
    for made in (S.half(), S.bfloat16(), S.transpose(0, 1).contiguous().transpose(0, 1), S[:, :, ::2]):
        given = made.detach().requires_grad_()
        value = rt.FiringRateLoss()(given)
        value.backward()
        assert value.dtype == given.dtype and given.grad.dtype == given.dtype and given.grad.shape == given.shape
        if made.shape == S.shape:
            torch.testing.assert_close(value.float(), expected, rtol=2e-2, atol=1e-3)
    counts = (9 * S.detach()).to(torch.uint8)
    torch.testing.assert_close(rt.FiringRateLoss()(counts), (counts.float().mean((0, 1)) ** 2).mean())
    assert not rt.FiringRateLoss()(S.detach()).requires_grad
    with torch.no_grad():
        assert not rt.FiringRateLoss()(S).requires_grad


def test_only_what_is_needed(default, monkeypatch):
    S, R = tensors(2, torch.float32)
    wanted = []
    evaluate = rt._evaluate
    monkeypatch.setattr(rt, '_evaluate', lambda *given: wanted.append(given[2]) or evaluate(*given))
    rt.PopulationKL()(S, R.detach())
    with torch.no_grad():
        rt.PopulationKL()(S, R)
    assert wanted == [('states',), ()]


def test_domain_error(default):
    with pytest.raises(ratecl.DomainError, match=r'the first at \[0,0,0\]'):
        rt.EntropyLoss()(torch.full((2, 3), -1.0))


@pytest.mark.parametrize('backend', ['aot_eager', pytest.param('inductor', marks=pytest.mark.skipif(
    not (shutil.which('g++') or shutil.which('c++')), reason='inductor needs a C++ compiler'))])
def test_compile(default, backend):
    """A network and its loss are compiled together, without a break between them."""
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Sigmoid())
    loss = rt.CompositeLoss({'rate': {'type': 'fr', 'lambda': 2.0}, 'ent': {'type': 'entropy'}})
    x = torch.rand(3, 20, 4)

    def step():
        states = network(x)
        return loss({'rate': {'states': states}, 'ent': {'states': states}})[0]

    step().backward()
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    value = torch.compile(step, backend=backend, fullgraph=True)()
    value.backward()
    torch.testing.assert_close(value, step())
    for p, gradient in zip(network.parameters(), expected):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-6)


def test_operators_are_well_behaved(default):
    S, R = tensors(2, torch.float64)
    opcheck(rt._total, (S, R, None, 'firing_rate\npopulation_kl', 'states reference'),
            test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'))
    opcheck(rt._vector, (S, R, 'population_kl:reduction=none'),
            test_utils=('test_schema', 'test_faketensor', 'test_autograd_registration'))


def test_training(default):
    """A training loop compiles one plan, and brings the rates to their target."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Sigmoid())
    optimiser = torch.optim.Adam(network.parameters(), 0.05)
    loss, x = rt.FiringRateLoss(target=0.2), torch.rand(8, 50, 4)
    rt._plan.cache_clear()
    for _ in range(100):
        optimiser.zero_grad()
        value = loss(network(x))
        value.backward()
        optimiser.step()
    assert value < 1e-4
    plan = rt._plan(str(loss.term), ('states',))
    assert len(plan._compiled) == 1
    assert np.abs(network(x).detach().numpy().mean((0, 1)) - 0.2).max() < 0.05
