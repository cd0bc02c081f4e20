"""Metadata as a tree."""

from __future__ import annotations

from typing import Any

from robotrace.serve.portal_metadata import MetadataNode, metadata_tree


def flat(nodes: list[MetadataNode], above: str = "") -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for node in nodes:
        if node.kind == "block":
            found |= flat(node.children, f"{above}{node.key}.")
        else:
            found[above + node.key] = node.value
    return found


def test_values_come_first_then_blocks_in_the_order_people_ask_for_them() -> None:
    tree = metadata_tree({"mine": {"a": 1}, "git": {"sha": "4f1c", "dirty": True}, "task": "lift", "outcome": {"x": 1}})
    assert [(node.key, node.value) for node in tree.values] == [("task", "lift")]
    assert [(node.key, node.label, node.short) for node in tree.blocks] == [
        ("outcome", "Outcome", "x 1"),
        ("git", "Git", "sha 4f1c · dirty"),
        ("mine", "mine", "a 1"),
    ]
    assert (tree.count, tree.cut) == (5, 0)


def test_every_value_is_there_as_json_says_it() -> None:
    values: dict[str, Any] = {
        "none": None,
        "no": False,
        "half": 0.1,
        "big": 2**63,
        "nothing": {},
        "list": [1, "two", None],
        "deep": {"a": [{"b": "c"}, []]},
    }
    tree = metadata_tree(values)
    assert flat(tree.values) | flat(tree.blocks) == {
        "none": "null",
        "no": "false",
        "half": "0.1",
        "big": "9223372036854775808",
        "nothing": "{}",
        "list": '[1, "two", null]',
        "deep.a.0.b": "c",
        "deep.a.1": "[]",
    }
    assert tree.count == 8


def test_more_than_a_page_should_have_is_counted_and_cut() -> None:
    tree = metadata_tree({"many": {str(number): number for number in range(5000)}, "last": {"x": 1}})
    assert len(flat(tree.blocks)) < 2001
    assert len(flat(tree.blocks)) + tree.cut == tree.count == 5001


def test_what_lies_too_deep_is_a_line_of_json() -> None:
    deep: Any = "bottom"
    for _ in range(40):
        deep = {"a": deep}
    tree = metadata_tree({"top": deep})
    ((key, text),) = flat(tree.blocks).items()
    assert key == "top" + ".a" * 12
    assert text is not None
    assert text.startswith('{"a": {"a"')
    assert (tree.count, tree.cut) == (1, 0)


def test_a_block_says_in_a_line_what_is_in_it() -> None:
    tree = metadata_tree({"long": {"text": "word " * 50}, "list": [{"a": 1}, {"a": 2}], "blocks": {"a": {"b": 1}}})
    short = {node.key: node.short for node in tree.blocks}
    assert short["long"].endswith("…")
    assert len(short["long"]) <= 72
    assert (short["list"], short["blocks"]) == ("2 items", "1 entry")
