"""The tables of ``docs/benchmarks.md``, made from ``benchmarks/results.json``: ``python benchmarks/table.py``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "RESULTS", "render", "rewrite"]

_HERE = Path(__file__).parent
RESULTS = _HERE / "results.json"
PAGE = _HERE.parent / "docs" / "benchmarks.md"
_BEGIN = "<!-- made by benchmarks/table.py: begin -->"
_END = "<!-- made by benchmarks/table.py: end -->"


def render(results: Mapping[str, Any]) -> str:
    """Everything between the marks of the page."""
    parts = [
        _circumstances(results),
        "## Targets\n\n" + _targets(results["cases"], results["quick"]),
        "## Case by case",
    ]
    parts += [_case(case) for case in results["cases"]]
    parts.append("## Python environments\n\n" + _environments(results["environments"]))
    return "\n\n".join(parts)


def rewrite(page: str, results: Mapping[str, Any]) -> str:
    """The page with its tables made anew.

    Raises:
        ValueError: The page has not both marks.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("the page has lost the marks between which its tables stand")
    return f"{before}{_BEGIN}\n\n{render(results)}\n\n{_END}{after}"


def _circumstances(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    lines = [
        f"Measured {results['made'][:10]}, commit `{(results['commit'] or 'unknown')[:12]}`"
        + (" with uncommitted changes" if results["changed"] else "")
        + f": {machine['processor'] or 'unknown processor'}, {machine['cores']} cores, {machine['memory'] or '?'}, "
        f"{machine['system']}, {machine['python']}. Instructions: {results['instructions']}.",
    ]
    loads = [case["load_before"][0] for case in results["cases"] if case["load_before"]]
    if loads:
        lines.append(f"Load before a case: {min(loads)} to {max(loads)}.")
    if results["quick"]:
        lines.append(
            "**A quick run: tiny sizes and a busy machine. It shows that everything runs; its figures prove nothing.**"
        )
    return "\n".join(lines)


def _targets(cases: Sequence[Mapping[str, Any]], quick: bool) -> str:
    rows = []
    for case in cases:
        for target in case["targets"]:
            met = {True: "yes", False: "**no**", None: "not measured"}[target["met"]]
            if quick and target["met"] is not None:
                met = "quick run"  # a "yes" out of noise would be as untrue as a "no"
            rows.append((case["name"], target["text"], _bound(target), _value(target), met))
    return _table(("case", "target", "bound", "median", "met"), rows)


def _bound(target: Mapping[str, Any]) -> str:
    if target["sense"] == "same":
        return "bit-equal"
    times = " ×" if target["figure"].endswith(".ratio") else ""
    return f"{'≤' if target['sense'] == 'at most' else '≥'} {_number(target['limit'])}{times}"


def _value(target: Mapping[str, Any]) -> str:
    if target["value"] is None:
        return ""
    if target["sense"] == "same":
        return "equal" if target["value"] else "different"
    return _number(target["value"])


def _case(case: Mapping[str, Any]) -> str:
    name = case["figure"]
    counted = any("instructions" in row for row in case["contestants"])
    base = name.partition(".")[0]
    beside = [*([base] if name != base else []), *case["beside"]]
    header = ["", f"{name} (median)", "p10", "p90", *beside]
    rows = []
    for row in case["contestants"]:
        label = f"{row['label']} ({row['environment']})" if row["name"] == "bare" else row["label"]
        if row["status"] != "run":
            rows.append([label, f"not run: {row['reason']}", *[""] * (len(header) - 2 + counted)])
            continue
        kinds = [(name, "median"), (name, "p10"), (name, "p90"), *((figure, "median") for figure in beside)]
        spreads = row["figures"]
        cells = [label, *(_number(spreads[figure][kind]) if figure in spreads else "" for figure, kind in kinds)]
        if counted:
            cells.append(str(row.get("instructions", {}).get("over_bare", "")))
        rows.append(cells)
    if counted:
        header.append("instructions a step over bare")
    times = "once" if case["rounds"] == 1 else f"{case['rounds']} rounds"
    notes = "".join(f" Note: {note}." for note in case["notes"])
    apart = case.get("apart")
    if apart is not None:
        notes += (
            f" Measured apart from the others, {apart['made'][:10]}, commit `{(apart['commit'] or 'unknown')[:12]}`"
            f"{' with uncommitted changes' if apart['changed'] else ''}, {apart['machine']['system']}."
        )
    return f"### {case['name']}\n\n{case['title']}; {times}.{notes}\n\n{_table(header, rows)}"


def _environments(environments: Mapping[str, Any]) -> str:
    rows = []
    for name, found in environments.items():
        if "missing" in found:
            rows.append((name, "", f"not there: {found['missing']}"))
        else:
            packages = ", ".join(f"{package} {version}" for package, version in sorted(found["packages"].items()))
            rows.append((name, found["python"], packages))
    return _table(("environment", "Python", "packages"), rows)


def _number(value: float) -> str:
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    made = rewrite(PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8")))
    PAGE.write_text(made, encoding="utf-8")
