"""The formulas of the summary, on numbers one can check by hand."""

import json

import pytest

from robotrace.serve.eval_summary import ResultValues, summarize


def complete(**metrics):
    return ResultValues("complete", metrics)


def outcome(baseline, candidate, **metrics):
    return complete(success_baseline=baseline, success_candidate=candidate, **metrics)


GOOD = outcome(True, True)


def values(metric):
    return metric.baseline, metric.candidate, metric.delta, metric.delta_is_better, metric.pairs


def test_success_rate_is_the_share_of_successes():
    summary = summarize([outcome(True, True), outcome(False, True), outcome(False, False), outcome(False, True)])
    assert values(summary.success_rate) == (0.25, 0.75, 0.5, True, 4)


def test_reward_mean_is_the_mean_of_the_returns():
    rows = [
        complete(reward_total_baseline=1.0, reward_total_candidate=2.0),
        complete(reward_total_baseline=5, reward_total_candidate=1),
    ]
    assert values(summarize(rows).reward_mean) == (3.0, 1.5, -1.5, False, 2)


def test_collision_rate_is_the_share_of_episodes_with_a_collision_however_many():
    rows = [
        complete(collision_count_baseline=0, collision_count_candidate=7),
        complete(collision_count_baseline=1, collision_count_candidate=0),
        complete(collision_count_baseline=3, collision_count_candidate=0),
        complete(collision_count_baseline=0, collision_count_candidate=0),
    ]
    assert values(summarize(rows).collision_rate) == (0.5, 0.25, -0.25, True, 4)


def test_time_to_goal_is_a_mean_and_shorter_is_better():
    rows = [
        complete(time_to_goal_s_baseline=4.0, time_to_goal_s_candidate=3.0),
        complete(time_to_goal_s_baseline=2.0, time_to_goal_s_candidate=2.5),
    ]
    assert values(summarize(rows).time_to_goal_s) == (3.0, 2.75, -0.25, True, 2)


def test_ood_action_share_compares_the_same_formula_on_both_sides():
    rows = [
        complete(ood_action_share_baseline=0.0, ood_action_share=0.5),
        complete(ood_action_share_baseline=0.25, ood_action_share=0.25),
    ]
    assert values(summarize(rows).ood_action_share) == (0.125, 0.375, 0.25, False, 2)


def test_without_any_baseline_side_the_candidates_ood_action_share_is_still_shown():
    rows = [complete(ood_action_share=0.5), complete(ood_action_share=0.25), complete(ood_action_share=None)]
    summary = summarize(rows)
    assert values(summary.ood_action_share) == (None, 0.375, None, None, 0)
    assert summary.metric_total == 0


def test_only_pairs_count_so_that_the_delta_is_of_the_same_episodes():
    rows = [
        complete(reward_total_baseline=1.0, reward_total_candidate=2.0),
        complete(reward_total_baseline=100.0, reward_total_candidate=None),
        complete(reward_total_candidate=-100.0),
    ]
    assert values(summarize(rows).reward_mean) == (1.0, 2.0, 1.0, True, 1)


def test_what_no_pair_tells_is_unknown_not_zero():
    summary = summarize([complete(reward_total_candidate=3.0), complete(success_baseline=True)])
    for name in ("success_rate", "reward_mean", "collision_rate", "time_to_goal_s", "ood_action_share"):
        assert values(getattr(summary, name)) == (None, None, None, None, 0), name


def test_failed_and_pending_results_do_not_count():
    metrics = {"reward_total_baseline": 0.0, "reward_total_candidate": 9.0}
    rows = [ResultValues("failed", metrics), ResultValues("pending", metrics), complete(**metrics)]
    assert summarize(rows).reward_mean.pairs == 1


@pytest.mark.parametrize("value", ["1", [1], {}, True, float("nan"), float("inf"), 10**400])
def test_a_figure_of_another_kind_is_unknown(value):
    row = complete(reward_total_baseline=1.0, reward_total_candidate=value, collision_count_candidate=value)
    assert summarize([row]).reward_mean.pairs == 0


@pytest.mark.parametrize("value", [1, 1.0, "true", None])
def test_a_success_that_is_no_bool_is_unknown(value):
    summary = summarize([outcome(True, value)])
    assert summary.success_rate.pairs == 0
    assert summary.recommend == "hold"


@pytest.mark.parametrize(("delta", "better"), [(2e-9, True), (1e-9, None), (0.0, None), (-1e-9, None), (-2e-9, False)])
def test_better_is_strict_beyond_rounding(delta, better):
    summary = summarize([complete(reward_total_baseline=0.0, reward_total_candidate=delta)])
    assert summary.reward_mean.delta_is_better is better


def test_figures_at_the_ends_of_float64_stay_json():
    rows = [complete(reward_total_baseline=-1.7e308, reward_total_candidate=1.7e308)] * 3
    metric = summarize(rows).reward_mean
    assert (metric.baseline, metric.candidate) == (pytest.approx(-1.7e308), pytest.approx(1.7e308))
    assert (metric.delta, metric.delta_is_better) == (None, None)
    json.dumps(summarize(rows).model_dump(), allow_nan=False)


def test_the_counts_are_of_metrics_with_a_delta():
    row = outcome(
        False,
        True,
        reward_total_baseline=1.0,
        reward_total_candidate=0.0,
        time_to_goal_s_baseline=1.0,
        time_to_goal_s_candidate=1.0,
        ood_action_share=0.1,
    )
    summary = summarize([row])
    assert (summary.better_count, summary.metric_total) == (1, 3)


def test_as_good_is_good_enough_to_ship():
    summary = summarize([GOOD, outcome(False, False)])
    assert (summary.recommend, summary.reasons) == ("ship", [])


def test_a_lower_return_alone_does_not_hold():
    """What a reward means is the user's; success and collisions are what a release hangs on."""
    assert summarize([outcome(True, True, reward_total_baseline=9.0, reward_total_candidate=1.0)]).recommend == "ship"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([GOOD, outcome(True, False)], "succeeds on 1 of 2 baselines, the baselines themselves on 2"),
        ([GOOD, outcome(True, None)], "no outcome of its own on 1 of 2 baselines"),
        ([GOOD, ResultValues("failed", {})], "replay of 1 of 2 baselines failed"),
        ([GOOD, ResultValues("pending", {})], "1 of 2 baselines have no result"),
        (
            [outcome(True, True, collision_count_baseline=0, collision_count_candidate=1)],
            "collides on 1 of 1 baselines, the baselines themselves on 0",
        ),
        ([complete()], "no outcome of its own on 1 of 1 baselines"),
    ],
)
def test_each_reason_to_hold_is_said(rows, reason):
    summary = summarize(rows)
    assert summary.recommend == "hold"
    assert len(summary.reasons) == 1
    assert reason in summary.reasons[0]


def test_a_failure_where_the_baselines_outcome_is_unknown_may_be_worse_and_holds():
    """The pairs alone say 1 of 1 against 1 of 1."""
    summary = summarize([GOOD, outcome(None, False), outcome(None, False)])
    assert values(summary.success_rate) == (1.0, 1.0, 0.0, None, 1)
    assert summary.recommend == "hold"
    assert "of 2 that is not known" in summary.reasons[0]


def test_a_candidate_that_always_succeeds_is_not_worse_than_an_unknown_baseline():
    assert summarize([outcome(None, True), outcome(None, True)]).recommend == "ship"


def test_a_collision_where_the_baselines_are_unknown_may_be_worse_and_holds():
    assert summarize([outcome(True, True, collision_count_candidate=1)]).recommend == "hold"
    assert summarize([outcome(True, True, collision_count_candidate=0)]).recommend == "ship"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_run_that_did_not_come_to_its_end_is_never_a_recommendation(status):
    summary = summarize([GOOD], run_status=status)
    assert (summary.recommend, summary.reasons) == ("hold", [f"The run was ended as {status}."])


def test_outcomes_that_the_policy_claims_are_counted():
    rows = [outcome(True, True, outcome_candidate="claimed"), outcome(True, True, outcome_candidate=None), GOOD]
    assert summarize(rows).claimed == 1
