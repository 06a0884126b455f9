# SPDX-License-Identifier: Apache-2.0
"""The criteria by their definitions, in NumPy's doubles."""
import numpy as np


def mean_rates(S):
    return S.astype('f8').mean((0, 1))


def firing_rate(S, metric='l2', target=0.0):
    d = mean_rates(S) - target
    return np.mean(np.abs(d) if metric == 'l1' else d ** 2)


def firing_rate_dist(S, metric='sd', ddof=0):
    mu = mean_rates(S)
    d = mu - mu.mean()
    sd = np.sqrt(np.sum(d ** 2) / (len(mu) - ddof))
    return {'sd': sd, 'cv': sd / mu.mean(), 'mean_ad': np.mean(np.abs(d)), 'max_ad': np.max(np.abs(d))}[metric]


def state_prediction(S, tau=1):
    S = S.astype('f8')
    return np.mean((S[:, tau:] - S[:, :-tau]) ** 2)


def hebbian(S, W, over='batch'):
    S, W = S.astype('f8'), W.astype('f8')
    forms = np.einsum('bti,ij,btj->bt', S, W, S)
    return np.mean(np.abs(forms if over == 'step' else forms.mean(1)))


def entropy(S, reg=10.0, eps=0.0):
    S = S.astype('f8')
    Z = S.sum(-1, keepdims=True)
    p = np.divide(S, Z + eps, out=np.zeros_like(S), where=Z + eps != 0)
    logs = np.log(p + eps, out=np.zeros_like(p), where=p + eps > 0)
    return np.mean(-(p * logs).sum(-1)) + reg * np.mean((S ** 2).sum(-1))


def population_kl(S0, S1, symmetric=True, reg=1e-3, reduction='mean'):
    S0, S1 = S0.astype('f8'), S1.astype('f8')
    m0, m1, v0, v1 = S0.mean((0, 1)), S1.mean((0, 1)), S0.var((0, 1)), S1.var((0, 1))

    def one_sided(m0, v0, m1, v1):
        return 0.5 * (np.log(v1 / v0) + (v0 + (m0 - m1) ** 2) / v1 - 1)

    kl = one_sided(m0, v0, m1, v1)
    if symmetric:
        kl = 0.5 * (kl + one_sided(m1, v1, m0, v0))
    squares = (S0 ** 2).mean((0, 1)) + (S1 ** 2).mean((0, 1))
    if reduction == 'none':
        return kl + reg * squares
    return (kl.mean() if reduction == 'mean' else kl.sum()) + reg * squares.sum()
