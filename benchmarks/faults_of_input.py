"""Faults planted in the input: detected, named with the right reason, and false alarms on sound recordings.

    python benchmarks/faults_of_input.py [--only views recordings inputs sound] [--views 4 8 50] [--kinds KIND...]
        [--draws 20] [--recordings STORE...] [--seed 100] [--json FILE]

views: rigs and detections are simulated, and one view has a fault. recordings: the same faults in the detections of
computed sessions, at the command line. inputs: faults of clips, units, times and files; a reason counts as right only
if the remedy that is given works. sound: 20 recordings in which nothing is wrong. Thresholds were set on seeds 0 to 9;
the default starts at 100.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from _faults_inputs import planted_inputs, sound_inputs
from _faults_recordings import SOUND, Recording, complaints, run, sound
from _faults_views import KINDS, Outcome, draw, planted_in
from _report import Figure, report
from rich.console import Console
from rich.progress import track
from rich.table import Table

PARTS = ("views", "recordings", "inputs", "sound")
EACH = 6
"""Faults of each kind in a recording."""


def views(sizes: list[int], kinds: list[str], draws: int, seed: int) -> dict[str, list[Outcome]]:
    """Simulated rigs of some sizes."""
    cases = [(size, kind, seed + i) for size in sizes for kind in kinds for i in range(draws)]
    found = defaultdict(list)
    for size, kind, each in track(cases, "views", console=Console(stderr=True)):
        found[f"{size} views: {kind}"].append(Outcome(kind, *draw(kind, size, each), ""))
    return found


def recordings(stores: list[str], seed: int) -> dict[str, list[Outcome]]:
    """Detections of real or rendered clips."""
    cases = [
        (store, kind, seed + i) for store in stores for kind in KINDS for i in range(1 if kind == "none" else EACH)
    ]
    found = defaultdict(list)
    for store, kind, each in track(cases, "recordings", console=Console(stderr=True)):
        found[f"{Path(store).parent.name}: {kind}"].append(planted_in(Recording.of_store(store), kind, each))
    return found


def inputs(seed: int) -> dict[str, list[Outcome]]:
    """Clips, units, times, files and boards; a remedy that is given must work."""
    found = defaultdict(list)
    for each in track(planted_inputs(seed), "inputs", total=None, console=Console(stderr=True)):
        right = each.right_reason and each.remedy != "wrong"
        said = f"{each.name}: {each.said}" + (" (the remedy does not work)" if each.remedy == "wrong" else "")
        found[f"inputs: {each.kind}"].append(Outcome(each.kind, each.detected, right, 0, said))
    for name, complaint in sound_inputs(seed):
        found[f"sound: {name}"].append(Outcome("none", False, False, int(bool(complaint)), complaint))
    return found


def sound_recordings(seed: int) -> dict[str, list[Outcome]]:
    """Recordings in which nothing is wrong."""
    found = {}
    for i, each in enumerate(track(SOUND, "sound", console=Console(stderr=True))):
        said = complaints(run(sound(each, seed + i)))
        found[f"sound: {each.name}"] = [Outcome("none", False, False, len(said), "; ".join(said))]
    return found


def show(found: dict[str, list[Outcome]]) -> None:
    table = Table(title="planted faults", title_justify="left")
    for column in ("where: fault", "draws", "detected", "right reason", "false alarms"):
        table.add_column(column, justify="left" if column.startswith("where") else "right")
    for name, outcomes in found.items():
        faulty = outcomes[0].kind != "none"
        shown = [str(sum(getattr(each, what) for each in outcomes)) if faulty else "" for what in ("detected", "right")]
        table.add_row(name, str(len(outcomes)), *shown, str(sum(each.accused for each in outcomes)))
    console = Console(width=110)
    console.print(table)
    for name, outcomes in found.items():
        for each in outcomes:
            if each.said and (each.accused or (each.kind != "none" and not each.right)):
                console.print(f"{name}: {each.said}", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--views", type=int, nargs="+", default=[4, 8, 50], help="sizes of the simulated rigs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of fault in simulated rigs")
    parser.add_argument("--draws", type=int, default=20, help="simulated recordings for each kind of fault")
    parser.add_argument("--recordings", nargs="+", default=[], help="stores of computed sessions")
    parser.add_argument("--seed", type=int, default=100, help="of the first recording")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    found: dict[str, list[Outcome]] = {}
    if "views" in options.only:
        found |= views(options.views, options.kinds, options.draws, options.seed)
    if "recordings" in options.only:
        found |= recordings(options.recordings, options.seed)
    if "inputs" in options.only:
        found |= inputs(options.seed)
    if "sound" in options.only:
        found |= sound_recordings(options.seed)
    show(found)
    faults = [each for outcomes in found.values() for each in outcomes if each.kind != "none"]
    healthy = [each for outcomes in found.values() for each in outcomes if each.kind == "none"]
    rows = [Figure("sound recordings", len(healthy), ""), Figure("planted faults", len(faults), "")]
    if faults:
        rows += [
            Figure("faults detected", 100 * sum(each.detected for each in faults) / len(faults), "%", 95, "higher"),
            Figure("with the right reason", 100 * sum(each.right for each in faults) / len(faults), "%", 85, "higher"),
            Figure("sound views accused beside a faulty one", sum(each.accused for each in faults), "views"),
        ]
    rows.append(Figure("false alarms in sound recordings", sum(each.accused for each in healthy), "", 0))
    report("faults of the input", rows, options.json)


if __name__ == "__main__":
    main()
