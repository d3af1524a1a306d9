"""The verb `models`: what the zoo has, what a file says of itself, fetching and publishing."""

import argparse
import json
import os
import shutil
from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Any

from tabulate import tabulate

from ..atomic_write import atomic_write
from ..checkpoint.model_info import read_model_info
from ..engine.terminal import start_logging
from ..model_zoo import lookup
from ..model_zoo.entries import Benchmark, Entry
from ..model_zoo.hub import push_to_hub
from ..model_zoo.model_card import describe
from ..model_zoo.path_handlers import published_file


def run(args: argparse.Namespace) -> int:
    actions = {"list": show_list, "configs": show_configs, "show": show}
    (actions | {"download": download, "push": push})[args.action](args)
    return 0


def matching(known: Iterable[str], *patterns: str) -> list[str]:
    """Return the names that hold or match a pattern; UnknownModelError where none does of one."""
    known, found = list(dict.fromkeys(known)), []
    for pattern in patterns:
        wanted = pattern.lower() if set("*?") & set(pattern) else f"*{pattern.lower()}*"
        found += (fitting := [name for name in known if fnmatch(name.lower(), wanted)])
        if not fitting:
            near = lookup.nearest_names(pattern, known)
            raise lookup.UnknownModelError(f"The model zoo has no name like '{pattern}'{near}.")
    return found


def show_configs(args: argparse.Namespace) -> None:
    print("\n".join(matching(lookup.config_names(), args.pattern)))


def show_list(args: argparse.Namespace) -> None:
    shipped = lookup.shipped_models()
    found = [
        facts_of_shipped(name) if name in shipped else facts(lookup.find_entry(name))
        for name in matching(lookup.names(), args.pattern)
    ]
    keys = ("name", "scores", "metric", "licence")
    rows = [{"scores": entry.get("published"), **entry} for entry in found]
    table = tabulate([[words(row[key]) for key in keys] for row in rows], headers=keys)
    print(json.dumps(found, indent=1) if args.json else table)


def show(args: argparse.Namespace) -> None:
    card = ""
    if lookup.shipped_file(args.name):
        said, card = facts_of_shipped(args.name), f"\n\n{lookup.shipped_card(args.name)[1]}"
    elif not os.path.isfile(args.name) and lookup.without_ending(args.name) in lookup.known_names():
        said = facts(lookup.find_entry(args.name))
    else:
        said = {"file": args.name} | describe(read_model_info(published_file(args.name)))
    text = "\n".join(f"{key + ':':<15}{words(value)}" for key, value in said.items() if value)
    print(json.dumps(said, indent=1) if args.json else text + card)


def download(args: argparse.Namespace) -> None:
    start_logging()  # a line at start and end, and what is tried again
    file = published_file(args.name)
    if target := args.output:
        is_folder = os.path.isdir(target) or target.endswith(os.sep)
        target = os.path.join(target, file.name) if is_folder else target
        if os.path.exists(target):
            raise FileExistsError(f"'{target}' is there already: name another --output.")
        with open(file, "rb") as source, atomic_write(target) as stream:
            shutil.copyfileobj(source, stream)
    print(target or file)


def push(args: argparse.Namespace) -> None:
    start_logging()
    said = {"licence": args.licence, "data": args.data, "private": args.private}
    print(push_to_hub(args.file, args.repository, **said))


def facts_of_shipped(name: str) -> dict[str, Any]:
    """What the card of a model in the package states, and what its file says of itself."""
    file, (header, _) = lookup.shipped_models()[name], lookup.shipped_card(name)
    return {"name": name, "file": str(file)} | header | describe(read_model_info(file))


def facts(entry: Entry) -> dict[str, Any]:
    """What is known of an entry, plain values."""
    scored, where = entry.benchmark or Benchmark("", "", "", ""), entry.weights
    return {
        **{"name": entry.name, "config": entry.config, "weights": f"published:{entry.name}"},
        **{"from": where.page or where.url, "sha256": where.sha256},
        **{"authors' name": entry.published_name, "licence": entry.licence},
        **{"data": scored.dataset, "metric": scored.metric, "published": dict(entry.published)},
        **{"test": scored.resolution, "protocol": entry.protocol, "parameters": entry.parameters},
    }


def words(value: Any) -> str:
    """As text; of scores their protocol and value."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {'-' if score is None else score}" for k, score in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
