"""Outcomes, and the metrics of a replay, against sums done by hand."""

import math

import pytest

from robotrace import EpisodeOutcome
from robotrace.eval_metrics import claimed_outcome, extract_outcome

WHOLE = {"success": True, "reward_total": 1.5, "collision_count": 2, "time_to_goal_s": 3.0}


# --- outcomes


@pytest.mark.parametrize(
    ("metadata", "outcome"),
    [
        ({}, {}),
        (WHOLE, WHOLE),
        ({"outcome": WHOLE}, WHOLE),
        ({"lerobot_episode_outcome": WHOLE}, WHOLE),
        ({"outcome": EpisodeOutcome(success=False)}, {"success": False}),
        ({"outcome": EpisodeOutcome(success=False).to_dict()}, {"success": False}),
        ({"next.success": False, "next.reward_sum": 2}, {"success": False, "reward_total": 2}),
        ({"reward": 4.0}, {"reward_total": 4.0}),
        ({"reward": 4.0, "reward_total": 5.0, "next.reward_sum": 6.0}, {"reward_total": 5.0}),
        # The first hit, for each field on its own.
        (
            {"success": False, "outcome": {"success": True, "reward": 1.0}, "lerobot_episode_outcome": WHOLE},
            {**WHOLE, "success": False, "reward_total": 1.0},
        ),
        # What is no bool and no finite number is no hit, and the search goes on.
        ({"success": 1, "outcome": {"success": False}}, {"success": False}),
        ({"success": "true"}, {}),
        ({"success": None, "next.success": True}, {"success": True}),
        ({"reward_total": math.nan, "outcome": {"reward_total": 1.0}}, {"reward_total": 1.0}),
        ({"reward_total": math.nan}, {}),
        ({"reward_total": math.inf, "collision_count": True, "time_to_goal_s": "3"}, {}),
        ({"reward_total": 10**400}, {}),
        ({"outcome": [True], "lerobot_episode_outcome": None}, {}),
    ],
)
def test_an_outcome_is_the_first_that_is_one(metadata, outcome):
    found = extract_outcome(metadata)
    assert found == outcome
    assert [type(value) for value in found.values()] == [type(outcome[name]) for name in found]


def test_numpys_scalars_are_pythons():
    np = pytest.importorskip("numpy")
    found = extract_outcome(
        {
            "success": np.bool_(True),
            "reward_total": np.float32(0.5),
            "collision_count": np.array(2),
            "time_to_goal_s": 1,
        }
    )
    assert found == {"success": True, "reward_total": 0.5, "collision_count": 2, "time_to_goal_s": 1}
    assert [type(value) for value in found.values()] == [bool, float, int, int]
    assert extract_outcome({"success": np.int64(1), "reward_total": np.bool_(True)}) == {}
    assert extract_outcome({"success": np.array([True]), "reward_total": np.array([1.0])}) == {}


@pytest.mark.parametrize(
    ("action", "outcome"),
    [
        ({}, {}),
        ({"_outcome": WHOLE, "success": False}, WHOLE),
        ({"_outcome": EpisodeOutcome(success=True, reward_total=2.0)}, {"success": True, "reward_total": 2.0}),
        ({"_outcome": {"success": 1, "reward": 3.0, "next.success": True}}, {}),
        ({"_outcome": True}, {}),
        ({"outcome": WHOLE}, {}),
    ],
)
def test_a_claim_is_what_stands_under_its_own_name(action, outcome):
    assert claimed_outcome(action) == outcome


# --- the distance


@pytest.fixture
def np():
    return pytest.importorskip("numpy")


@pytest.fixture
def distance(np):
    from robotrace.evals import metric_action_l2_distance

    def measure(baseline, candidate, **options):
        return metric_action_l2_distance({key: np.asarray(a) for key, a in baseline.items()}, candidate, **options)

    return measure


def test_the_distance_is_over_all_keys_of_a_step_and_the_mean_over_the_steps(distance, np):
    baseline = {"/arm/position": [[0.0, 0.0], [1.0, 1.0]], "/arm/velocity": [0.0, 5.0]}
    candidate = [
        {"/arm/position": [1.0, 2.0], "/arm/velocity": 2.0},  # sqrt(1 + 4 + 4)
        {"/arm/position": np.array([1.0, 1.0]), "/arm/velocity": np.float32(4.0)},  # sqrt(0 + 0 + 1)
    ]
    assert distance(baseline, candidate) == pytest.approx((3.0 + 1.0) / 2)
    assert distance(baseline, candidate, np=np) == pytest.approx(2.0)


def test_integers_are_compared_in_float64(distance, np):
    baseline = {"action/value": np.array([[0, 255]], dtype=np.uint8)}
    assert distance(baseline, [{"action/value": np.array([3, 251], dtype=np.uint8)}]) == pytest.approx(5.0)


def test_a_candidate_is_looked_up_by_the_whole_key_then_by_its_namespace(distance):
    baseline = {"action/value": [[1.0], [1.0], [1.0]]}
    candidate = [{"action/value": [1.0], "action": [9.0]}, {"action": [2.0]}, {"value": [9.0], "action/value": None}]
    assert distance(baseline, candidate) == pytest.approx((0.0 + 1.0) / 2)


@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [
        ({}, [{"action/value": [1.0]}]),
        ({"action/value": [[1.0]]}, []),
        ({"action/value": [[1.0]]}, [{}]),
        ({"action/value": [[1.0]]}, [{"other": [1.0]}]),
        ({"action/value": [[1.0, 2.0]]}, [{"action/value": [1.0]}]),  # no match, rather than broadcast
        ({"action/value": [["left"]]}, [{"action/value": ["left"]}]),
        ({"action/value": [[1.0]]}, [{"action/value": "1.0"}]),
        ({"action/value": [[1.0, 1.0]]}, [{"action/value": [[1.0], [1.0, 2.0]]}]),
        ({"action/value": [[1 + 1j]]}, [{"action/value": [1.0]}]),
        ({"action": [[1.0]]}, [{"action": [1.0]}]),  # no stream and field
        ({"action/_t_ns": [5]}, [{"action/_t_ns": 5}]),
        ({"action/value": 1.0}, [{"action/value": 1.0}]),
    ],
)
def test_without_a_match_there_is_no_distance(distance, baseline, candidate):
    assert distance(baseline, candidate) is None


def test_rows_of_different_lengths_and_what_says_how_they_lie_are_not_compared(distance, np):
    ragged = {"action/value": np.zeros(5), "action/_offsets": np.array([0, 2, 5]), "action/_t_ns": np.arange(2)}
    assert distance(ragged, [{"action/value": np.zeros(2)}] * 2) is None
    sparse = {"action/value": np.zeros((2, 3)), "action/_rows": np.array([0, 4])}
    assert distance(sparse, [{"action/value": np.ones(3), "action/_rows": np.array(7)}] * 2) == pytest.approx(3**0.5)


def test_steps_without_a_match_do_not_count(distance):
    assert distance({"action/value": [[0.0]] * 3}, [{}, {"action/value": [4.0]}, {"x": 1}]) == 4.0


def test_the_shortest_array_and_the_shorter_side_end_it(distance):
    baseline = {"a/value": [[0.0]] * 3, "b/value": [[0.0]] * 2}
    assert distance(baseline, [{"a/value": [1.0]}, {"a/value": [3.0]}, {"a/value": [100.0]}]) == 2.0
    assert distance(baseline, [{"a/value": [1.0]}]) == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e200])
def test_a_step_that_is_not_finite_is_left_out_and_counted(np, bad):
    from robotrace.eval_metrics import ActionDistance

    distance = ActionDistance(np)
    for value in (1.0, bad, 3.0):
        distance.add({"a/value": np.array([0.0]), "b/value": np.array([0.0])}, {"a": [value], "b": [0.0]})
    assert (distance.mean, distance.nonfinite_steps) == (2.0, 1)
    distance.add({"a/value": np.array([math.inf])}, {"a": [math.inf]})
    assert (distance.mean, distance.nonfinite_steps) == (2.0, 2)


class Tensor:
    """Behaves as a torch tensor with a gradient on a GPU does when NumPy asks."""

    def __init__(self, array, *, steps=("detach", "cpu"), dtype="torch.float32"):
        self._array, self._steps, self.dtype = array, steps, dtype

    def _after(self, step):
        return Tensor(self._array, steps=tuple(item for item in self._steps if item != step), dtype=self.dtype)

    def detach(self):
        return self._after("detach")

    def cpu(self):
        return self._after("cpu")

    def float(self):
        return Tensor(self._array, steps=self._steps)

    def __array__(self, dtype=None, copy=None):
        if self._steps or self.dtype == "torch.bfloat16":
            raise TypeError("use detach(), cpu() and float() first")
        return self._array.astype(dtype) if dtype else self._array


@pytest.mark.parametrize("dtype", ["torch.float32", "torch.bfloat16"])
def test_tensors_with_a_gradient_on_a_gpu_are_values(distance, np, dtype):
    tensor = Tensor(np.array([3.0, 4.0], dtype=np.float32), dtype=dtype)
    assert distance({"action/value": [[0.0, 0.0]]}, [{"action/value": tensor}]) == 5.0


# --- out of distribution


@pytest.fixture
def share(np):
    from robotrace.evals import metric_ood_action_share

    def measure(baseline, candidate):
        return metric_ood_action_share({key: np.asarray(array) for key, array in baseline.items()}, candidate)

    return measure


ROWS = [[0.0, 10.0], [2.0, 10.0], [0.0, 10.0], [2.0, 10.0], [1.0, 10.0]]
STD = math.sqrt(4 / 5)  # of the population: four of five rows lie 1 from the mean of 1


@pytest.mark.parametrize(
    ("value", "outside"),
    [
        ([1.0, 10.0], 0.0),
        ([1.0 + 2.999 * STD, 10.0], 0.0),
        ([1.0 + 3.001 * STD, 10.0], 1.0),
        ([1.0 - 3.001 * STD, 10.0], 1.0),
        ([1.0, 12.9], 0.0),  # a component that never changes has a std of 1
        ([1.0, 13.1], 1.0),
        ([math.nan, 10.0], 1.0),
        ([1.0, math.inf], 1.0),
    ],
)
def test_a_step_is_outside_when_any_component_is_beyond_three_std(share, value, outside):
    assert share({"action/value": ROWS}, [{"action/value": value}]) == outside
    assert share({"action/value": ROWS}, [{"action": value}]) == outside


def test_the_share_is_of_the_steps_with_a_known_key(share):
    baseline = {"a/value": ROWS, "b/value": [1.0] * 5}
    inside, outside = {"a/value": [1.0, 10.0]}, {"a/value": [1.0, 10.0], "b/value": 9.0}
    assert share(baseline, [inside, outside, {}, {"c/value": 1.0}, {"a/value": [1.0]}]) == 0.5
    assert share(baseline, [{"c/value": 1.0}]) is None
    assert share(baseline, []) is None
    assert share({}, [inside]) is None


def test_fewer_than_five_rows_say_nothing(share):
    assert share({"action/value": ROWS[:4]}, [{"action/value": [1.0, 10.0]}]) is None


def test_a_broken_row_of_the_baseline_does_not_poison_its_mean(share):
    broken = [*ROWS, [math.nan, 10.0], [math.inf, 10.0]]
    assert share({"action/value": broken}, [{"action/value": [1.0, 10.0]}]) == 0.0
    assert share({"action/value": broken[1:]}, [{"action/value": [1.0, 10.0]}]) is None
