"""Print a script that completes verbs, options and files of `centernet-d2` in a shell.

%(prog)s bash > ~/.local/share/bash-completion/completions/centernet-d2
%(prog)s zsh > ~/.zfunc/_centernet-d2          # a folder of $fpath
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"))
