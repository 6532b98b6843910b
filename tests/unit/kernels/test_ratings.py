"""The kernels for ratings against the same written out in numpy, and the sampler's draws against their distribution."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import _kernels

K, D = 3, 16
EMPTY = np.empty(0, np.float32)


def world(seed: int = 0, users: int = 5, items: int = 4) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    rated = chance.random((users, items)) < 0.7
    rated[users - 1] = False
    index = np.nonzero(rated)[1].astype(np.int32)
    ptr = np.append(0, np.cumsum(rated.sum(axis=1))).astype(np.int64)

    def vectors(rows: int) -> np.ndarray:
        out = np.zeros((rows, D), np.float32)
        out[:, : K + 2] = chance.normal(0, 0.5, (rows, K + 2))
        return out

    made = {"user": vectors(users), "item": vectors(items), "implied": vectors(items), "drift": vectors(users)}
    made["drift"][:, K] = made["user"][:, K] = made["item"][:, K + 1] = 0
    made["implied"][:, K:] = 0
    made |= {"ptr": ptr, "index": index, "value": chance.normal(0, 1, len(index)).astype(np.float32)}
    made["since"] = chance.uniform(-1, 1, len(index)).astype(np.float32)
    made["slot"] = (index * 2 + (made["since"] > 0)).astype(np.int32)
    made["slot_bias"] = chance.normal(0, 0.1, items * 2).astype(np.float32)
    made["slot_reg"] = chance.random(items * 2).astype(np.float32)
    return made


def descend(given: dict[str, np.ndarray], order: list[int], rate: float, reg: float, reg_bias: float, reg_drift: float):
    """The epoch written out, with people in this order."""
    user, item, implied, drift, slot_bias = (
        given[name].astype(np.float64) for name in ("user", "item", "implied", "drift", "slot_bias")
    )
    for u in order:
        rows = range(given["ptr"][u], given["ptr"][u + 1])
        mine = given["index"][rows.start : rows.stop]
        if not len(mine):
            continue
        said = implied[mine].sum(axis=0)[:K] / len(mine) ** 0.5
        slope = np.zeros(K)
        for n in rows:
            i, t, s = given["index"][n], float(given["since"][n]), given["slot"][n]
            p, q, a = user[u].copy(), item[i].copy(), drift[u].copy()
            whole = p[:K] + said + t * a[:K]
            error = given["value"][n] - q[K] - p[K + 1] - t * a[K + 1] - slot_bias[s] - whole @ q[:K]
            slope += error * q[:K]
            item[i, :K] += rate * (error * whole - reg * q[:K])
            user[u, :K] += rate * (error * q[:K] - reg * p[:K])
            drift[u, :K] += rate * (error * t * q[:K] - reg_drift * a[:K])
            item[i, K] += rate * (error - reg_bias * q[K])
            user[u, K + 1] += rate * (error - reg_bias * p[K + 1])
            drift[u, K + 1] += rate * (error * t - reg_drift * a[K + 1])
            slot_bias[s] = (slot_bias[s] + rate * error) / (1 + rate * given["slot_reg"][s])
        implied[mine, :K] = (implied[mine, :K] + rate * slope / len(mine) ** 0.5) / (1 + rate * reg * len(mine))
    return user, item, implied, drift, slot_bias


def epoch(given: dict[str, np.ndarray], seed: int = 0, **changed: object) -> tuple[np.ndarray, ...]:
    names = ("user", "item", "implied", "drift", "ptr", "index", "value", "since", "slot", "slot_bias", "slot_reg")
    own = {name: given[name].copy() for name in names} | changed
    _kernels.rating_epoch(*(own[name] for name in names), K, 0.05, 0.1, 0.02, 0.3, seed)
    return tuple(own[name] for name in ("user", "item", "implied", "drift", "slot_bias"))


def test_one_persons_ratings_are_descended_as_written_out():
    whole = world()
    for u in range(5):
        kept = slice(whole["ptr"][u], whole["ptr"][u + 1])
        ptr = np.zeros(6, np.int64)
        ptr[u + 1 :] = kept.stop - kept.start
        alone = whole | {"ptr": ptr} | {name: whole[name][kept] for name in ("index", "value", "since", "slot")}
        for ours, theirs in zip(epoch(alone), descend(alone, [u], 0.05, 0.1, 0.02, 0.3), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_people_come_in_an_order_that_the_seed_decides():
    given, seen = world(), set()
    expected = {order: descend(given, list(order), 0.05, 0.1, 0.02, 0.3) for order in permutations(range(4))}
    for seed in range(8):
        found = epoch(given, seed)
        fits = [
            order
            for order, each in expected.items()
            if all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(found, each, strict=True))
        ]
        assert fits
        seen.add(tuple(fits))  # people who rated nothing in common may change places
        for first, again in zip(found, epoch(given, seed), strict=True):
            np.testing.assert_array_equal(first, again)
    assert len(seen) > 1


def test_parts_that_are_left_out_are_as_if_they_were_zero():
    given = world()
    nothing = np.empty((0, D), np.float32)
    plain = epoch(
        given, implied=nothing, drift=nothing, since=EMPTY, slot=np.empty(0, np.int32), slot_bias=EMPTY, slot_reg=EMPTY
    )
    still = np.zeros_like(given["since"])
    zeros = given | {"implied": np.zeros_like(given["implied"]), "drift": np.zeros_like(given["drift"]), "since": still}
    zeros["slot_bias"] = np.zeros_like(given["slot_bias"])
    zeros["slot_reg"] = np.full_like(given["slot_reg"], 1e9)
    person = [0]
    ptr = np.append(0, np.full(5, given["ptr"][1]))
    first = slice(0, given["ptr"][1])
    one = zeros | {"ptr": ptr} | {name: zeros[name][first] for name in ("index", "value", "since", "slot")}
    alone = epoch(
        one, implied=nothing, drift=nothing, since=EMPTY, slot=np.empty(0, np.int32), slot_bias=EMPTY, slot_reg=EMPTY
    )
    expected = descend(one, person, 0.05, 0.1, 0.02, 0.3)
    for place in (0, 1):
        np.testing.assert_allclose(alone[place], expected[place], rtol=1e-4, atol=1e-6)
    assert np.isfinite(plain[0]).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"value": np.nan}, "ratings must be finite"),
        ({"since": np.inf}, "since must be finite"),
        ({"slot": 99}, "slot must stay inside 0..7"),
        ({"index": 9}, "must stay inside 0..3"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(changed: dict[str, float], message: str):
    given = world()
    for name, value in changed.items():
        given[name] = given[name].copy()
        given[name][0] = value
    with pytest.raises(ValueError, match=message):
        epoch(given)


def sides(seed: int = 1) -> dict[str, np.ndarray]:
    """Ratings of 6 owners by 5 others, and 9 features of owners, of which the last three are shared."""
    chance = np.random.default_rng(seed)
    own, other = (chance.integers(0, size, 30).astype(np.int32) for size in (6, 5))
    design = np.concatenate([np.eye(6), chance.normal(0, 1, (6, 3)) * (chance.random((6, 3)) < 0.6)], axis=1)
    row = [np.flatnonzero(column) for column in design.T]
    weight = chance.normal(0, 1, 9).astype(np.float32)
    return {
        "residual": chance.normal(0, 1, 30).astype(np.float32),
        "own": own,
        "other": other,
        "precision": chance.uniform(0.5, 2, 30).astype(np.float32),
        "x": chance.normal(0, 1, 5).astype(np.float32),
        "ptr": np.append(0, np.cumsum([len(each) for each in row])).astype(np.int64),
        "row": np.concatenate(row).astype(np.int32),
        "value": np.concatenate([design[each, f] for f, each in enumerate(row)]).astype(np.float32),
        "weight": weight,
        "total": (design @ weight).astype(np.float32),
        "prior": chance.normal(0, 1, 9).astype(np.float32),
        "prior_precision": chance.uniform(0.5, 2, 9).astype(np.float32),
        "design": design,
    }


def draw(given: dict[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
    own = {name: array.copy() for name, array in given.items()}
    names = [name for name in given if name != "design"]
    _kernels.gibbs_factor(*(own[name] for name in names), seed)
    return own


def expected(given: dict[str, np.ndarray], next_weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each weight's draw, given those drawn before it (`next_weight`) and those still to come."""
    residual = given["residual"].astype(np.float64)
    weight, mean, variance = given["weight"].astype(np.float64), np.empty(9), np.empty(9)
    x, own, sure = given["x"][given["other"]].astype(np.float64), given["own"], given["precision"].astype(np.float64)
    for f in range(9):
        part = x * given["design"][own, f]
        precision = given["prior_precision"][f] + (sure * part * part).sum()
        without = residual + part * weight[f]
        mean[f] = (given["prior_precision"][f] * given["prior"][f] + (sure * part * without).sum()) / precision
        variance[f] = 1 / precision
        drawn = mean[f] if next_weight is None else float(next_weight[f])
        residual -= part * (drawn - weight[f])
        weight[f] = drawn
    return mean, variance


def test_where_nothing_is_uncertain_weights_are_their_conditional_means():
    given = sides()
    for name in ("precision", "prior_precision"):
        given[name] = given[name] * np.float32(1e10)
    found = draw(given)
    np.testing.assert_allclose(found["weight"], expected(given)[0], rtol=1e-3, atol=1e-4)


@given(st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_residuals_and_totals_follow_the_weights(seed: int, data_seed: int):
    given = sides(data_seed)
    found = draw(given, seed)
    moved = given["design"] @ (found["weight"].astype(np.float64) - given["weight"])
    np.testing.assert_allclose(found["total"], given["total"] + moved, rtol=1e-4, atol=1e-5)
    left = given["residual"] - given["x"][given["other"]] * moved[given["own"]]
    np.testing.assert_allclose(found["residual"], left, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["weight"], draw(given, seed)["weight"])


def test_draws_have_the_mean_and_the_variance_of_their_conditional():
    given, standard = sides(), []
    for seed in range(3000):
        weight = draw(given, seed)["weight"]
        mean, variance = expected(given, weight)
        standard.append((weight - mean) / np.sqrt(variance))
    normal = np.array(standard)
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(normal.var(axis=0), 1, atol=0.12)
    np.testing.assert_allclose(np.corrcoef(normal.T) - np.eye(9), 0, atol=0.08)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("residual", np.nan, "residuals must be finite"),
        ("own", 6, "own must stay inside 0..5"),
        ("other", -1, "other must stay inside 0..4"),
        ("prior_precision", 0, "prior precisions must be above 0"),
    ],
)
def test_a_draw_refuses_what_would_spoil_it(name: str, value: float, message: str):
    given = sides()
    given[name][0] = value
    with pytest.raises(ValueError, match=message):
        draw(given)
