# SPDX-License-Identifier: Apache-2.0
"""Terms: a criterion, its parameters and its weight."""
from __future__ import annotations

import typing

import numpy

from ._library import check, ffi, lib, new, text


def _written(value: typing.Any) -> str:
    """Return a parameter as the library reads it."""
    if isinstance(value, (bool, numpy.bool_)):
        return 'true' if value else 'false'
    if isinstance(value, (str, int, numpy.integer)):
        return str(value)
    return repr(float(value))


class Term:
    """A term of a plan: `Term('entropy', reg=0, weight=2)`, or as the command has it, `Term('entropy:reg=0,weight=2')`.

    The criteria and their parameters (default first):

    - firing_rate: metric 'l2', 'l1'; target 0
    - firing_rate_dist: metric 'sd', 'cv', 'mean_ad', 'max_ad'; ddof 0
    - state_prediction: tau 1
    - hebbian: over 'batch', 'step' (needs weights)
    - entropy: reg 10; eps 0
    - population_kl: symmetric True; reg 1e-3; reduction 'mean', 'sum', 'none'; log 'variance', 'sigma'; var_floor 0;
      degenerate 'error', 'skip' (needs a reference)

    and each has a `weight`, 1, its factor in the total.

    Raises ArgumentError where a name or a value is none.
    """

    def __init__(self, criterion: str, **parameters: typing.Any) -> None:
        joined = ','.join(f'{key}={_written(value)}' for key, value in parameters.items() if value is not None)
        written = criterion + (',' if ':' in criterion else ':') * bool(joined) + joined
        self._struct = new('ratecl_term')
        check(lib.ratecl_term_parse_sized(self._struct, ffi.sizeof('ratecl_term'), written.encode()))

    @property
    def criterion(self) -> str:
        """The criterion's name."""
        return text(lib.ratecl_criterion_name(self._struct.criterion))

    @property
    def weight(self) -> float:
        """The term's factor in the total."""
        return self._struct.weight

    @property
    def is_vector(self) -> bool:
        """Whether the term gives a number for each neuron, which take no part in the total."""
        return (self._struct.criterion == lib.RATECL_POPULATION_KL
                and self._struct.reduction == lib.RATECL_REDUCTION_NONE)

    @property
    def parameters(self) -> dict[str, typing.Any]:
        """All parameters, defaults included, weight last."""
        found: dict[str, typing.Any] = {}
        parameter = new('ratecl_parameter')
        while lib.ratecl_term_parameter(self._struct, len(found), parameter) == lib.RATECL_OK:
            if parameter.choice:
                value: typing.Any = text(parameter.choice)
                value = {'true': True, 'false': False}.get(value, value)
            else:
                value = int(parameter.number) if parameter.is_integer else parameter.number
            found[text(parameter.name)] = value
        return found

    def __str__(self) -> str:
        """The term as the command takes it, all parameters written out: equal terms have equal texts."""
        return f'{self.criterion}:' + ','.join(f'{k}={_written(v)}' for k, v in self.parameters.items())

    def __repr__(self) -> str:
        return f'Term({str(self)!r})'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Term) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self):
        return Term, (str(self),)


TermLike = typing.Union[Term, str]


def terms_of(terms: typing.Union[TermLike, typing.Iterable[TermLike]]) -> list[Term]:
    """Return a list of terms: one, several, or their texts."""
    given = [terms] if isinstance(terms, (Term, str)) else list(terms)
    return [term if isinstance(term, Term) else Term(term) for term in given]


def array_of(terms: typing.Sequence[Term]):
    """Return the terms as a C array."""
    made = ffi.new('ratecl_term[]', len(terms))
    for k, term in enumerate(terms):
        made[k] = term._struct[0]
    return made
