"""The filters of the list as its address has them."""

from robotrace.serve.list_filters import chips, list_url, query_of, read_filters, typed_filters


def test_of_an_address_the_filters_are_taken_and_nothing_else():
    params = {"seed": " 7 ", "robot": "", "cursor": "abc", "bulk": "archive.1.0.0", "made_up": "x", "status": "failed"}
    assert typed_filters(params) == {"status": "failed", "seed": "7"}


def test_the_same_filters_are_the_same_address_whatever_their_order():
    assert (
        query_of({"seed": "7", "status": "failed"})
        == query_of({"status": "failed", "seed": "7"})
        == "status=failed&seed=7"
    )
    assert list_url({}) == "/portal/episodes"
    assert list_url({"robot": "arm & hand"}, cursor="x=") == "/portal/episodes?robot=arm+%26+hand&cursor=x%3D"


def test_what_is_no_filter_is_left_out_and_said():
    filters, kept, error = read_filters({"seed": "seven", "success": "maybe", "robot": "arm"})
    assert (filters.seed, filters.success, filters.robot) == (None, None, "arm")
    assert kept == {"robot": "arm"}
    assert error == "seed: not an integer; success: true or false. It was left out."


def test_each_chip_names_its_filter_and_leads_to_the_list_without_it():
    first, second = chips({"success": "false", "created_after": "24h"})
    assert (first.label, first.value, first.without_url) == ("outcome", "failure", "/portal/episodes?created_after=24h")
    assert (second.label, second.value, second.without_url) == (
        "since",
        "last 24 hours",
        "/portal/episodes?success=false",
    )
