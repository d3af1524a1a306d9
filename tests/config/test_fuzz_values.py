"""Values of any kind for several keys at once: a config that works, or an error with the key."""

from __future__ import annotations

import math

import pytest
import yaml
from detectron2.modeling import build_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from centernet_d2.config import KEYS, flattened, value_of
from centernet_d2.config.checks import DETECTRON2_RULES, RULES
from centernet_d2.engine.setup import load_config, setup

from .test_files import write
from .test_values import SIZES, SMALL, WITH, set_value

EXAMPLES = 100
# They name what must be there: files, registered names, a machine's devices.
PLACES = ("DATASETS.TRAIN", "DATASETS.TEST", "DATASETS.FROM_FILES", "MODEL.WEIGHTS", "OUTPUT_DIR")
KEYS_TRIED = [key for key in (*KEYS, *DETECTRON2_RULES) if key not in PLACES]
WORDS = sorted(
    {word for key in KEYS.values() for word in key.rule.says.split("'") if word.isidentifier()}
)

small = st.one_of(
    st.integers(-3, 9),
    st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0, 1e-12, -1e300, 1e300, 5e-324]),
    st.floats(-2, 2, width=16),
)
scalar = st.one_of(
    small,
    st.sampled_from([None, True, False, math.nan, math.inf, -math.inf, 10**400, "", " ", "\n"]),
    st.sampled_from([*WORDS, "{[]}", "(" * 300, "1e999", "__import__('os')", "coco:a:b", "~/a"]),
    st.text("ab0.'\"[]{}:,#-\\\t ü", max_size=5),
)
anything = st.one_of(
    scalar,
    st.lists(small, max_size=4),
    st.lists(st.one_of(scalar, st.lists(small, max_size=2)), max_size=3),
    st.dictionaries(st.sampled_from(["A", "b", "1"]), scalar, max_size=2),
)


@st.composite
def changes(draw) -> dict[str, object]:
    """Key -> value, half of them near the default's."""
    found = {}
    for key in draw(st.lists(st.sampled_from(KEYS_TRIED), min_size=1, max_size=4, unique=True)):
        default = KEYS[key].default if key in KEYS else None
        near = st.nothing()
        if isinstance(default, bool):
            near = st.booleans()
        elif isinstance(default, (int, float)):
            near = st.sampled_from([default, default + 1, default / 2, -default, int(default)])
        elif isinstance(default, list):
            near = st.permutations(default) | st.just(default[:1]) | st.just([*default, *default])
        found[key] = draw(anything | near)
        if key.endswith(SIZES) and largest(found[key]) > 64:
            found[key] = 16  # what is large takes memory, not an error
    return found


def largest(value: object) -> float:
    entries = value if isinstance(value, list) else [value]
    return max((e for e in entries if isinstance(e, (int, float)) and e == e), default=0)


def base_of(keys: dict[str, object]) -> list[object]:
    """Overrides of a small model that reads the first of these keys."""
    extra = (more for start, more in WITH.items() for key in keys if key.startswith(start))
    return [*SMALL, *next(extra, [])]


def outcome(load, keys: dict[str, object], *, builds: bool) -> None:
    """Fail unless it works, or is an error of one line that names one of the keys."""
    try:
        cfg = setup(load())
        if builds:
            build_model(cfg)
    except (ValueError, KeyError) as error:
        message = str(error.args[0])
    else:
        return
    assert any(key in message for key in keys), (keys, message)
    assert message.count("\n") == 0, message


options = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@options
@given(keys=changes())
def test_values_that_are_set_in_python(keys):
    cfg = load_config("", base_of(keys))
    for key, value in keys.items():
        set_value(cfg, key, value)
    builds = not any(key.startswith("MODEL.TIMM") for key in keys)
    outcome(lambda: cfg, keys, builds=builds)


@options
@given(keys=changes(), as_text=st.booleans())
def test_values_of_overrides(keys, as_text):
    pairs = [part for key, v in keys.items() for part in (key, str(v) if as_text else v)]
    outcome(lambda: load_config("", [*base_of(keys), *pairs]), keys, builds=False)


@options
@given(keys=changes(), dotted=st.booleans())
def test_values_of_files(keys, tmp_path, dotted):
    file = tmp_path / "a.yaml"
    if dotted:
        file.write_text(yaml.safe_dump(keys, allow_unicode=True), encoding="utf-8")
    else:
        write(file, keys)
    outcome(lambda: load_config(str(file), base_of(keys)), keys, builds=False)


@options
@given(data=st.data())
def test_texts_of_files(tmp_path, data):
    """A file with a piece cut out, doubled or exchanged is a config, or an error that names it."""
    text = "_BASE_: []\nSEED: 3\nSOLVER:\n  STEPS: [3, 5]\n  BASE_LR: 1e-3\nTEST: {FLIP: no}\n"
    for _ in range(data.draw(st.integers(1, 3))):
        a, b = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        new = ["", text[a:b] * 2, "\t", "&a", "*a", "- ", "{", "]", "!!x ", "\0", "é"]
        text = text[:a] + data.draw(st.sampled_from(new)) + text[b:]
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding=data.draw(st.sampled_from(["utf-8", "utf-16", "latin-1"])))
    message = ""
    try:
        assert set(flattened(load_config(str(file)))) >= set(RULES)
    except (ValueError, KeyError, FileNotFoundError) as error:
        message = str(error)
    assert not message or str(file) in message


def test_the_fuzz_reaches_models():
    """What the first test builds is no empty model."""
    cfg = load_config("", base_of({"MODEL.HOURGLASS.NORM": "GN"}))
    model = build_model(setup(cfg))
    assert sum(p.numel() for p in model.parameters()) > 1000
    assert value_of(cfg, "MODEL.DEVICE") == "meta"
    with pytest.raises(AssertionError, match="SEED"):
        outcome(lambda: load_config("", ["SEED", "x"]), {"VIS_PERIOD": 0}, builds=False)
