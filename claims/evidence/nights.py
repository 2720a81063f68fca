"""Evidence that grows night by night, valid however often one looks at it.

Each fresh pair of networks is a coin: it lies beyond the claim's margin or not.  The
null hypothesis of a place and direction is *at most half of all pairs do*; of a
frequency, whose units are successes, *at most the share that the claim states*.  Where
a claim's premise is not met, or a value lies on the margin, the coin is beyond it in
neither direction.  Nothing is assumed of the values' distribution, and nothing of what
a year of t-tests would compound.

The bet is a mixture over shares above the null's: see `log_e`.  By Ville's inequality
the chance that such an e-process ever reaches ``1 / alpha`` under its null is at most
alpha, whenever and however often one looks [1]_.  So

* a place and direction is *decided* once its e-process has reached `DECIDED`;
* a list over places is made by e-BH [2]_ from what stands tonight, anew each night: its
  false discovery rate is at most `LIST_RATE`, whatever the places share;
* a statement about any place at all takes `any_place`, Bonferroni over all places and
  both directions, and is wrong in at most `FAMILY` of all histories.

What speaks of shares of pairs is no statement about means: of skewed values most may
lie below a margin that the mean lies above.

References
----------
.. [1] A. Ramdas, P. Gruenwald, V. Vovk, G. Shafer, "Game-theoretic statistics and safe
   anytime-valid inference", *Statistical Science* 38(4), p. 576-601, 2023.
.. [2] R. Wang, A. Ramdas, "False discovery rate control with e-values", *Journal of the
   Royal Statistical Society B* 84(3), p. 822-852, 2022.
.. [3] S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, "Time-uniform, nonparametric,
   nonasymptotic confidence sequences", *Annals of Statistics* 49(2), p. 1055-1080,
   2021, proposition 7.
"""

from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from claims.evidence.family import FAMILY
from claims.evidence.rules import ALPHA, Rule

DECIDED = 1 / ALPHA
"""The e-value at which a place is decided in a direction."""

LIST_RATE = 0.05
"""Bound on the false discovery rate of a night's list."""

DIRECTIONS = ("for", "against")
"""Of a claim, in the order of all arrays with an axis of two."""

HALF = 0.5

Floats = NDArray[np.float64]


def null_shares(rule: Rule, margin: float) -> tuple[float, float]:
    """Return which share of units lies beyond the margin at most, for and against.

    Examples
    --------
    >>> from claims.evidence import frequency, superiority
    >>> null_shares(superiority(), 2.0), null_shares(frequency(at_least=0.75), 0.75)
    ((0.5, 0.5), (0.75, 0.25))
    """
    return (margin, 1 - margin) if rule.name == "frequency" else (HALF, HALF)


def beyond(values: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.bool_]:
    """Return whether each unit lies beyond the margin, for the claim and against it.

    Parameters
    ----------
    values : array_like, shape (n,)
        One for each independent unit, as they enter the rule.
    low, high : array_like, broadcast to (n,)
        The rule's region: between which bounds the claim is right.

    Returns
    -------
    ndarray of bool, shape (n, 2)
        By `DIRECTIONS`; a value on a bound is beyond it in neither.

    Examples
    --------
    >>> beyond([0.5, -3.0, 1.0], -1.0, 1.0).tolist()
    [[True, False], [False, True], [False, False]]
    """
    units = np.asarray(values, dtype=float)
    inside = (low < units) & (units < high)
    return np.stack([inside, (units < low) | (units > high)], axis=-1)


def log_e(hits: ArrayLike, n: ArrayLike, share: ArrayLike = HALF) -> NDArray:
    """Return the logarithm of the e-process of *at most this share of coins is a hit*.

    Before a coin the bet on a share ``t`` multiplies by ``t / s`` if it is a hit and by
    ``(1 - t) / (1 - s)`` if not, where ``s`` is the null's share.  Let ``p``, at most
    ``s``, be the chance of a hit, whatever came before.  The factor's expectation,
    ``p t / s + (1 - p)(1 - t) / (1 - s)``, is 1 at ``p = s`` and rises with ``p``, as
    ``t`` is above ``s``: it is at most 1.  So each bet's product is a nonnegative
    supermartingale that begins at 1, and so is their mixture over ``t``, uniform
    between ``s`` and 1, for which Ville's inequality holds.  With ``k`` hits of ``n``
    the mixture is ::

        integral from s to 1 of (t / s)^k ((1 - t) / (1 - s))^(n - k) dt / (1 - s)
        = B(k + 1, n - k + 1) (1 - I_s(k + 1, n - k + 1)) / ((1 - s) s^k (1 - s)^(n-k))

    with the beta function and its regularized incomplete one: the one-sided
    beta-binomial mixture [3]_ with a uniform prior.

    Parameters
    ----------
    hits, n : array_like of int
        How many coins were hits, and how many there were.
    share : array_like of float
        Of the null, above 0 and below 1.

    Examples
    --------
    Nine hits of ten; none yet.

    >>> log_e([9, 0], [10, 0]).round(3).tolist()
    [2.918, 0.0]
    """
    coins = np.array(np.broadcast_arrays(hits, n, share), dtype=float)
    value = np.empty(coins.shape[1:])
    # Many places have like coins, and the incomplete beta function takes its time.
    coins = coins.reshape(3, -1)
    order = np.lexsort(coins)
    coins = coins[:, order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (coins[:, 1:] != coins[:, :-1]).any(axis=0)
    value.flat[order] = _log_mixture(*coins[:, first])[np.cumsum(first) - 1]
    return value


def _log_mixture(k: Floats, n: Floats, s: Floats) -> Floats:
    misses = n - k
    upper = special.betaincc(k + 1, misses + 1, s)
    with np.errstate(divide="ignore"):  # of hardly any hit there is no bet left
        value: Floats = (
            special.betaln(k + 1, misses + 1)
            + np.log(upper)
            - k * np.log(s)
            - (misses + 1) * np.log1p(-s)
        )
    return value


def listed(log_values: ArrayLike, rate: float = LIST_RATE) -> NDArray[np.bool_]:
    """Return which of some hypotheses e-BH rejects at a false discovery rate.

    The k largest, for the largest k with the k-th e-value at least ``m / (k rate)``;
    under any dependence.

    Parameters
    ----------
    log_values : array_like, shape (m,)
        Logarithms of the e-values of all m hypotheses, those never looked at (0) too.
    rate : float
        Bound on the false discovery rate.

    Examples
    --------
    >>> listed(np.log([50, 29, 1])).tolist(), listed(np.log([50, 30, 1])).tolist()
    ([False, False, False], [True, True, False])
    """
    values = np.asarray(log_values, dtype=float)
    m = len(values)
    order = np.argsort(-values, kind="stable")
    reached = values[order] >= np.log(m / (rate * np.arange(1, m + 1)))
    chosen = np.zeros(m, dtype=bool)
    if reached.any():
        chosen[order[: np.flatnonzero(reached)[-1] + 1]] = True
    return chosen


def any_place(places: int) -> float:
    """Return the log e-value for a statement about any of so many places at all.

    Examples
    --------
    >>> round(any_place(400), 2)  # 2 x 400 / 0.01
    11.29
    """
    return log(2 * places / FAMILY)
