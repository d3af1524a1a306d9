"""Names and numbers of things in messages."""

from collections.abc import Sequence


def difference(expected: Sequence[str], found: Sequence[str], what: str = "class") -> str:
    """Say where two different lists of names first differ."""
    for index, pair in enumerate(zip(expected, found, strict=False)):
        if pair[0] != pair[1]:
            return f"{what} {index} is '{pair[0]}' in the first and '{pair[1]}' in the second"
    return f"{len(expected)} {plural(what)} in the first and {len(found)} in the second"


def plural(what: str) -> str:
    """Return "classes" for "class", "joints" for "joint"."""
    return f"{what}es" if what.endswith("s") else f"{what}s"


def counted(count: int, what: str) -> str:
    """Return "1 class", "2 classes", "1,000 images"."""
    return f"{count:,} {what if count == 1 else plural(what)}"
