"""Plot style: import ``plt`` from here. Okabe-Ito colours, titles that say the finding, alternative text for pictures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#7f7f7f",
)

mpl.rcParams.update(
    {
        "axes.prop_cycle": mpl.cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY]),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.labelsize": 9.5,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "figure.figsize": (7.2, 3.2),
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.alpha": 0.3,
    }
)


def png(figure: Figure) -> bytes:
    """The figure as PNG bytes, the same for the same figure; the figure is closed."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    plt.close(figure)
    return out.getvalue()


def show(figure: Figure, alt: str) -> None:
    """Shows a figure in the notebook with alternative text for those who cannot see it."""
    from IPython.display import Image, display

    display(Image(png(figure), alt=alt))


__all__ = ["BLUE", "GREEN", "GREY", "ORANGE", "PURPLE", "RED", "SKY", "plt", "png", "show"]
