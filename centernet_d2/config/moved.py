"""Keys and values of version 0.1.0 that have another name now; for one release."""

from __future__ import annotations

from typing import Any

_CROP = "INPUT.CENTER_CROP"
_POINTS = "MODEL.POINTS_CENTERNET"

MOVED_KEYS = {
    _CROP: f"{_CROP}.MODE",  # was a word, is a group now
    "INPUT.CROP_SCALES": f"{_CROP}.SCALES",
    "INPUT.CROP_BASE": f"{_CROP}.BASE",
    "INPUT.CROP_BORDER": f"{_CROP}.BORDER",
    "INPUT.SHIFT": f"{_CROP}.SHIFT",
    "INPUT.SCALE": f"{_CROP}.SCALE",
    "INPUT.ROTATION": f"{_CROP}.ROTATION",
    "INPUT.ROTATION_PROBABILITY": f"{_CROP}.ROTATION_PROBABILITY",
    "KITTI.ALLOW_MISSING": "DATASETS.KITTI.ALLOW_MISSING",
}
# Key -> old value -> new value.
MOVED_VALUES = {
    f"{_POINTS}.REGRESSION_NORMALIZER": {"slots": "max_objects"},
    f"{_POINTS}.BOX3D.NORMALIZER": {"slots": "max_objects"},
}

# Backbones that had no frozen stages, whatever MODEL.BACKBONE.FREEZE_AT said.
NEVER_FROZEN = {
    f"build_{name}_backbone"
    for name in ("dla", "encoder_decoder", "hourglass", "resnet_deconv", "timm")
}


def moved(values: dict[str, Any]) -> list[str]:
    """Return what is moved among dotted keys and their values, as sentences without a dot."""
    keys = [f"{old} is now {new}" for old, new in MOVED_KEYS.items() if old in values]
    return keys + [
        f"{key} {values[key]!r} is now {words[values[key]]!r}"
        for key, words in MOVED_VALUES.items()
        if isinstance(values.get(key), str) and values[key] in words
    ]


def translated(values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` with the new names of keys and values, and what they meant."""
    renamed = {MOVED_KEYS.get(key, key): value for key, value in values.items()}
    for key, words in MOVED_VALUES.items():
        if isinstance(renamed.get(key), str):
            renamed[key] = words.get(renamed[key], renamed[key])
    if renamed.get("MODEL.BACKBONE.NAME") in NEVER_FROZEN:
        renamed["MODEL.BACKBONE.FREEZE_AT"] = 0
    return renamed
