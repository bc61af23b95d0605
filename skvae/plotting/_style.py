"""What the pictures have in common: late import of matplotlib, colours and bare axes."""

from __future__ import annotations

INK, QUIET, FAINT = "0.15", "0.62", "0.84"
# Okabe and Ito, told apart by all common kinds of colour vision, reordered so that the first
# few also differ in lightness.  Up to ten classes take the muted set of Tol, and a dark grey.
BLUE, VERMILION = "#0072B2", "#D55E00"
FEW = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", VERMILION, "#4D4D4D")
MANY = (
    "#332288", "#DDCC77", "#44AA99", "#CC6677", "#88CCEE",
    "#882255", "#117733", "#999933", "#AA4499", "#4D4D4D",
)  # fmt: skip
SEQUENTIAL = "viridis"


def pyplot(caller: str):
    """Import ``matplotlib.pyplot`` or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib: pip install "skvae[plot]" brings it.'
        ) from error
    return plt


def axes(caller: str, ax, size: tuple[float, float]):
    """Give ``ax``, or that of a new figure, without the lines that say nothing."""
    plt = pyplot(caller)
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    for spine in ax.spines.values():
        spine.set_color(QUIET)
    ax.tick_params(color=QUIET, labelcolor=INK)
    return ax


def write_title(ax, title: str, name: str | None) -> None:
    """Left-aligned, as a sentence is; a name has a line of its own above."""
    ax.set_title(f"{name}\n{title}" if name else title, loc="left", fontsize="medium", color=INK)


def write_legend(ax, **style):
    """Beside the axes, where the figure lays itself out and makes room; elsewhere inside."""
    beside = ax.figure.get_layout_engine() is not None
    where = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if beside else {"loc": "best"}
    return ax.legend(
        frameon=not beside, edgecolor="none", framealpha=0.8, labelcolor=INK, alignment="left",
        **where, **style,
    )  # fmt: skip


def number(value: float) -> str:
    """Three or four figures, with the minus sign of the axes."""
    size = abs(value)
    digits = 0 if size >= 1000 else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")
