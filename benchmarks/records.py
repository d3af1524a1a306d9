"""Records of measurements: one file per section and kind of machine, and what got slower since.

A row with a `reference` is a comparison: the keys before it say what was measured, `speed_up` how
many times as fast that is as the reference, in turns with it in one process. Ratios of one kind of
machine can be held against each other; times cannot, as they depend on what else runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any

from centernet_d2.atomic_write import write_json
from centernet_d2.benchmark.sections import BenchmarkOptions, Row, describe_machine, run_sections

# The share that a ratio may fall, beyond what the spreads explain, without being told: equal code
# measured twice, 112 ratios of five sections on two virtual cores, had one that fell by more.
TOLERANCE = 0.15
MEASURED = ("reference", "ms", "ms_per_image")  # the first of them ends what was measured
# Of rows without a reference: their share of the rate of one large product of matrices.
IN_FLOPS = ("float32 GEMM", "of_gemm", "uncertainty")


def check_records(
    names: Sequence[str], options: BenchmarkOptions, compared: str, recorded: str
) -> None:
    """Look at the records that sections will be held against, before they are measured.

    Raises:
        ValueError: one is no record, or was measured with other options; or none of this kind of
            machine is there, and none will be written.
    """
    kind = kind_of(describe_machine(options.device))
    files = [Path(compared, f"{name}-{kind}.json") for name in names]
    for file in (found := [file for file in files if file.is_file()]):
        compare({"ratios": {}, "options": asdict(options)}, file)
    if not found and not recorded:
        raise ValueError(f"'{compared}' has no such record of {kind}: --record makes it")


def compare_and_record(result: Mapping[str, Any], compared: str, recorded: str) -> int:
    """Say what got slower than the records in a folder, write new ones; 1 if something did.

    What seems to have got slower is measured a second time, and told if it is slower then too. Its
    record stays as it is.

    Args:
        result: what `run_sections` returns.
        compared: folder of records, "" or None for none.
        recorded: folder to write to, "" or None for none.
    """
    slower, known = list[str](), 0
    for name, record in records_of(result):
        found, file = list[str](), Path(compared or "", name)
        if compared and file.is_file():
            known += 1
            if found := compare(record, file):
                print(f"{len(found)} ratio(s) of {record['section']} fell; measuring it again")
                options = BenchmarkOptions(**record["options"])
                [(_, record)] = records_of(run_sections([record["section"]], options))
                found = compare(record, file)
                slower += found
        if recorded and not found:
            options = dict(record["options"])
            if images := options.get("images"):  # without folders of this machine
                options["images"] = [Path(image).name for image in images]
            write_json(Path(recorded, name), {**record, "options": options}, indent=1)
            print(f"{Path(recorded, name)} written")
    if not compared:
        return 0
    print("\n".join([f"{len(slower)} ratio(s) fell since the last of {known} record(s)", *slower]))
    if slower and recorded:
        print("Their records stay; --record without --compare takes these numbers.")
    return 1 if slower else 0


def kind_of(machine: Mapping[str, Any]) -> str:
    """The processor and its threads, or the GPU, as part of a file's name."""
    told = machine.get("gpu") or "{cpu} {cpu_capability} {threads} threads".format(**machine)
    return re.sub(r"\W+", "_", told).strip("_").lower()


def records_of(result: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """File names and records, one of each section of what `run_sections` returns."""
    shared = {key: result[key] for key in ("date", "machine", "options")}
    for name, rows in result["sections"].items():
        record = {"section": name, **shared, "ratios": ratios(rows), "rows": rows}
        yield f"{name}-{kind_of(result['machine'])}.json", record


def ratios(rows: Sequence[Row]) -> dict[str, list[float]]:
    """What was measured, "a, b against reference" -> `speed_up` and its uncertainty, a share.

    Rows without a reference may have `of_gemm`. Those of one round, of which there is no
    uncertainty, are left out.
    """
    found = {}
    for row in rows:
        told = [str(row[key]) for key in takewhile(lambda key: key not in MEASURED, row)]
        keys = ("reference", "speed_up", "uncertainty") if "reference" in row else IN_FLOPS
        reference, ratio, share = row.get(keys[0], keys[0]), row.get(keys[1]), row.get(keys[2])
        if None not in (ratio, share) and reference != told[-1]:
            found[f"{', '.join(told)} against {reference}"] = [ratio, share]
    return found


def compare(now: Mapping[str, Any], file: Path) -> list[str]:
    """Say which ratios of a record fell since that of a file, one a line.

    Those are told whose intervals, `uncertainty` to both sides, are more than `TOLERANCE` apart.

    Raises:
        OSError: there is no such file.
        ValueError: it is no record, or was measured with other options.
    """
    try:
        before = json.loads(file.read_text("utf-8"))
        both, told = [before["ratios"], now["ratios"]], list[str]()
        varied = [[[*r["options"]["overrides"]], r["options"]["amp_dtype"]] for r in (before, now)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{file}' is no record: `benchmark --record` writes them") from error
    if varied[0] != varied[1]:
        raise ValueError(f"'{file}' was measured with other --opts or --amp: {varied[0]}")
    for name in (name for name in both[0] if name in both[1]):
        (old, old_share), (new, new_share) = (ratios[name] for ratios in both)
        if new * (1 + new_share) < old * (1 - old_share) * (1 - TOLERANCE):
            told.append(f"{now['section']}: {name} {new}, was {old} on {before['date']}")
    return told
