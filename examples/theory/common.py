# SPDX-License-Identifier: GPL-3.0-or-later
"""What the scripts of this folder share: options, style, and a caption that says where a figure comes from."""
import argparse
import pathlib
import subprocess

import matplotlib
import torch

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

INK, PALE, BLUE, RED, GREEN, OCHRE, VIOLET = "#22262b", "#d9dde1", "#1b6ca8", "#c8553d", "#3c8d5a", "#c08a1e", "#7a5195"
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs" / "theory"


def options(doc, name, **numbers):
    """Parse --output (default docs/theory/NAME.png), --seed, and whole-number options with these defaults. One thread: the
    matrices are small, and figures then repeat to the digit."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER / f"{name}.png", help="the picture (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    for key, default in numbers.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=int, default=default, help="default: %(default)s")
    torch.set_num_threads(1)
    plt.rcParams.update({"font.size": 10, "axes.edgecolor": "#8a9199", "axes.labelcolor": INK, "text.color": INK,
                         "xtick.color": "#5b626a", "ytick.color": "#5b626a", "axes.titlesize": 11, "legend.fontsize": 9,
                         "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
                         "figure.dpi": 110, "axes.titlelocation": "left"})
    return parser.parse_args()


def commit():
    """`git describe` of the checkout, or "unknown commit" outside one."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown commit"


def save(figure, args, script):
    """Write the figure with a line below it that names script, seed and commit."""
    figure.supxlabel(f"{pathlib.Path(script).name}, seed {args.seed}, commit {commit()}", fontsize=7.5, color="#8a9199", x=0.99,
                     ha="right")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output)
    print(f"wrote {args.output}")
