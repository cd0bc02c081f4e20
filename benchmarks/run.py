"""Measure recording against the bare loop and against the peers: ``python benchmarks/run.py``.

Everything is measured in turn, round after round, so that a busy minute falls on all alike; a figure is a median of
rounds, set against the bare loop of the same round, process and Python. Peers come from PyPI into environments of
their own; one that cannot be installed or fails is named with the reason.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from catalogue import CASES, ENVIRONMENTS
from figures import judge, summarise
from machine import commit, load, machine
from peers import PeerMissing, describe, provide
from plan import BARE, Case, Contestant, Environment
from workers import Worker, count_instructions, no_counts_because

__all__ = ["merged"]

_ENVIRONMENTS = {environment.name: environment for environment in ENVIRONMENTS}


class _Pythons:
    """The environments that are there, each looked for once."""

    def __init__(self, home: Path, make: bool) -> None:
        self._home, self._make = home, make
        self._found: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        if name not in self._found and name not in self.missing:
            click.echo(f"environment {name} …", err=True)
            try:
                self._found[name] = provide(_ENVIRONMENTS[name], self._home, make=self._make)
            except PeerMissing as exc:
                self.missing[name] = str(exc)
                click.echo(f"  not there: {exc}", err=True)
        return self._found.get(name)

    def told(self) -> dict[str, Any]:
        here = {name: describe(python, with_ours=_ENVIRONMENTS[name].with_ours) for name, python in self._found.items()}
        return here | {name: {"missing": reason} for name, reason in self.missing.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--only", "names", multiple=True, metavar="NAME", help="A case, or the beginning of its name. Repeatable."
)
@click.option("--quick", is_flag=True, help="Tiny sizes, few rounds: shows that all runs, proves no figure.")
@click.option("--out", default="results.json", show_default=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--peers/--no-peers", default=True, help="Make environments for the peers; else use those there are.")
@click.option(
    "--peers-in",
    default=Path(__file__).parent / ".peers",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the peers' environments.  [default: benchmarks/.peers]",
)
@click.option(
    "--into",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Results of an earlier run, in which the cases measured now take their places.",
)
@click.option("--list", "listing", is_flag=True, help="Name the cases and leave.")
def main(
    names: tuple[str, ...], quick: bool, out: Path, peers: bool, peers_in: Path, into: Path | None, listing: bool
) -> None:
    """Measure recording: microseconds a step, milliseconds a frame, megabytes, losses; against bare and peers."""
    if listing:
        for case in CASES:
            click.echo(f"{case.name:20} {case.title}")
        return
    cases = [case for case in CASES if not names or any(case.name.startswith(name) for name in names)]
    for name in names:
        if not any(case.name.startswith(name) for case in CASES):
            raise click.BadParameter(f"there is no case {name!r}; --list names them", param_hint="--only")
    pythons = _Pythons(peers_in, peers)
    no_counts = no_counts_because()
    results: dict[str, Any] = {
        "schema": 1,
        "quick": quick,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        **commit(),
        "instructions": f"not counted: {no_counts}" if no_counts else "user space, by perf stat",
        "environments": {},
        "cases": [],
    }
    for number, case in enumerate(cases, 1):
        click.echo(f"[{number}/{len(cases)}] {case.name}: {case.title}", err=True)
        results["cases"].append(_run_case(case, pythons, quick=quick, counting=no_counts is None))
        results["environments"] = pythons.told()
        _write(results, out)
    if into is not None:
        _write(merged(json.loads(into.read_text(encoding="utf-8")), results), into)
    met = [target["met"] for case in results["cases"] for target in case["targets"]]
    click.echo(
        f"{out}: {met.count(True)} targets met, {met.count(False)} missed, {met.count(None)} not measured"
        + (" (a quick run proves no figure)" if quick else ""),
        err=True,
    )


def merged(earlier: dict[str, Any], results: dict[str, Any]) -> dict[str, Any]:
    """Earlier results with the cases of newer ones, each of which says when and of what it was measured."""
    apart = {name: results[name] for name in ("made", "commit", "changed", "machine")}
    cases = {case["name"]: case for case in earlier["cases"]}
    cases |= {case["name"]: {**case, "apart": apart} for case in results["cases"]}
    return {**earlier, "cases": [cases[case.name] for case in CASES if case.name in cases]}


def _run_case(case: Case, pythons: _Pythons, *, quick: bool, counting: bool) -> dict[str, Any]:
    began, busy = time.monotonic(), load()
    size = dict(case.quick if quick else case.size)
    rounds_wanted = case.quick_rounds if quick else case.rounds
    present = [c for c in case.contestants if c.absent is None and pythons.get(c.environment) is not None]
    answers: dict[tuple[str, str], list[dict[str, Any] | None]] = {(c.environment, c.name): [] for c in present}
    for contestant in case.contestants:
        if contestant.absent is None and contestant not in present:
            reason = pythons.missing[contestant.environment]
            answers[contestant.environment, contestant.name] = [{"error": reason}]
    running = list(present)
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        first = 0 if case.fresh else -1  # a round to warm up, which does not count
        for number in range(first, rounds_wanted):
            turn = number % len(running) if running else 0
            for contestant in running[turn:] + running[:turn]:
                if contestant.rounds is not None and not 0 <= number < contestant.rounds:
                    continue
                answer = _measure(case, contestant, size, workers, pythons, stack)
                _tell(case, contestant, number, rounds_wanted, answer)
                kept = answers[contestant.environment, contestant.name]
                if "error" in answer:
                    kept.append(answer)
                    running = [other for other in running if other is not contestant]
                elif number >= 0:
                    kept.append(answer)
    rows = [summarise(case, contestant, answers) for contestant in case.contestants]
    if case.counts and counting:
        _count(case, present, size, pythons, rows)
    return {
        "name": case.name,
        "title": case.title,
        "figure": case.figure,
        "beside": list(case.beside),
        "size": size,
        "rounds": rounds_wanted,
        "notes": list(case.notes),
        "load_before": busy,
        "load_after": load(),
        "took_s": round(time.monotonic() - began, 1),
        "contestants": rows,
        "targets": [judge(target, rows) for target in case.targets],
    }


def _measure(
    case: Case,
    contestant: Contestant,
    size: dict[str, Any],
    workers: dict[str, Worker],
    pythons: _Pythons,
    stack: contextlib.ExitStack,
) -> dict[str, Any]:
    size = {**size, case.scales: max(1, round(size[case.scales] * contestant.share))}
    environment, python = _ENVIRONMENTS[contestant.environment], pythons.get(contestant.environment)
    assert python is not None
    if case.fresh:
        with Worker(environment, python) as worker:
            return worker.measure(case.module, contestant.name, size, case.timeout_s)
    present = workers.get(environment.name)
    if present is None or not present.alive:
        present = workers[environment.name] = stack.enter_context(Worker(environment, python))
    return present.measure(case.module, contestant.name, size, case.timeout_s)


def _tell(case: Case, contestant: Contestant, number: int, rounds: int, answer: dict[str, Any]) -> None:
    name = case.figure.partition(".")[0]
    said = answer["error"] if "error" in answer else f"{name} {answer['figures'][name]:.4g}"
    where = "warm-up" if number < 0 else f"{number + 1}/{rounds}"
    click.echo(f"  {where:8} {contestant.environment}/{contestant.name}: {said}", err=True)


def _count(
    case: Case, present: list[Contestant], size: dict[str, Any], pythons: _Pythons, rows: list[dict[str, Any]]
) -> None:
    """Instructions a step: of two processes with different numbers of steps, so that starting one is no part of it."""
    steps = size[case.scales]
    bare: dict[str, float] = {}
    for contestant in sorted(present, key=lambda contestant: contestant.name != BARE):
        environment: Environment = _ENVIRONMENTS[contestant.environment]
        python = pythons.get(contestant.environment)
        assert python is not None
        totals = []
        for factor in (1, 3):
            asked = {**size, case.scales: steps * factor}
            request = {"module": case.module, "contestant": contestant.name, "size": asked}
            totals.append(count_instructions(environment, python, request))
        if totals[0] is None or totals[1] is None:
            continue
        each = (totals[1] - totals[0]) / (2 * steps)
        row = next(r for r in rows if (r["environment"], r["name"]) == (contestant.environment, contestant.name))
        row["instructions"] = {"a_step": round(each)}
        if contestant.name == BARE:
            bare[environment.name] = each
        elif environment.name in bare:
            row["instructions"]["over_bare"] = round(each - bare[environment.name])


def _write(results: dict[str, Any], out: Path) -> None:
    part = out.with_name(out.name + ".part")
    text = json.dumps(results, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-+.\de,\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(out)


if __name__ == "__main__":
    sys.exit(main())
