"""The figures of ``compare.py`` as bars: seconds by case and method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

__all__ = ["draw"]

OURS, OTHERS = "#2a6fb0", "#b5b5b5"


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the chart of all cases, one above the other."""
    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "pgvector_restore", "font.size": 9}
    import matplotlib.pyplot as plt  # noqa: PLC0415 - after the backend was chosen

    heights = [len(result["seconds"]) + 1.5 for result in results.values()]
    figure, axes = plt.subplots(
        len(results),
        1,
        figsize=(7.5, 0.24 * sum(heights)),
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
        layout="constrained",
    )
    for ax, (name, result) in zip(axes[:, 0], results.items(), strict=True):
        names = list(result["seconds"])
        seconds = list(result["seconds"].values())
        colors = [OURS if n.startswith(("in_place", "swap")) else OTHERS for n in names]
        bars = ax.barh(names, seconds, color=colors)
        ax.bar_label(bars, [f"{s:.1f} s" for s in seconds], padding=3)
        ax.invert_yaxis()
        ax.margins(x=0.12)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.tick_params(bottom=False, labelbottom=False)
        size = result["size_bytes"] / 1e6
        title = f"{name}: {result['rows']:,} rows of {result['dims']} dimensions, {size:,.0f} MB"
        ax.set_title(title, loc="left", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
