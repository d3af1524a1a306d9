"""A parser that answers a wrong word with one sentence and the nearest option."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from ...checked_values import nearest

# What is said of a word left over, or taken for an option's value: a KEY of the config, often.
OVERRIDE = re.compile(r"^unrecognized arguments|invalid choice: '[A-Z0-9_]+\.[A-Z0-9_.]+'")


class Parser(argparse.ArgumentParser):
    """argparse's, without abbreviations; --help alone shows the usage."""

    def __init__(self, **given: Any) -> None:
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(**{"formatter_class": form, **given}, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        if OVERRIDE.search(message) and "--opts" in self.options():
            message += "; config overrides KEY VALUE stand behind --opts"
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")

    def options(self) -> set[str]:
        """Return every option, those of sub-commands too."""
        return {name for action in all_actions(self) for name in action.option_strings}

    def check_options(self, arguments: Sequence[str]) -> None:
        """Exit at the first option that is not there, before what it makes missing is told."""
        known = self.options()
        for word in arguments:
            name = word.partition("=")[0]
            if name in ("--opts", "--"):
                return
            if name.startswith("--") and name not in known:
                self.error(f"'{name}' is no option{nearest(name, known)}")

    def check_overrides(self, overrides: Sequence[str]) -> None:
        """Exit at an option that was taken for a config override, as it stands behind them."""
        for word in self.options().intersection(word.partition("=")[0] for word in overrides):
            self.error(f"'{word}' stands behind the config overrides KEY VALUE: put it before them")


def all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every argument of a parser and of those below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from all_actions(below)
