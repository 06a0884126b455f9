# SPDX-License-Identifier: Apache-2.0
"""Every test that evaluates runs on the OpenMP path and on each OpenCL device that is no simulator."""
import os

import numpy
import pytest

os.environ.setdefault('RATECL_CACHE', '')

import ratecl  # noqa: E402


def _names():
    return [device.id for device in ratecl.devices() if device.kind != 'software']


@pytest.fixture(scope='session', params=_names())
def context(request):
    return ratecl.Context(request.param)


@pytest.fixture
def default(context, monkeypatch):
    """The context, as what calls take that name none."""
    from ratecl import _plans
    monkeypatch.setattr(_plans, '_default', context)
    return context


@pytest.fixture
def random():
    return numpy.random.default_rng(5)
