"""Reliability diagrams: how often a network is right, by how sure it is.

Source: Guo et al., ICML 2017, arXiv 1706.04599, figure 1.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from orchestrator.report.charts.drawing import BASELINE, COLOURS, TEXT, panels, wrapped
from orchestrator.report.source import Floats

PANELS_PER_ROW = 4


def reliability_diagrams(bins: Mapping[str, Floats]) -> Figure:
    """A panel for each of some trials or arms; ``bins`` [M,3]: pixels, right ones, sum of confidences of each bin."""
    columns = min(PANELS_PER_ROW, len(bins))
    rows = -(-len(bins) // columns)
    figure, axes = panels(len(bins), columns, width=0.8 + 2.5 * columns, height=2.9 * rows + 0.4, sharey=True)
    for axis, (name, bins_M3) in zip(axes, bins.items(), strict=True):
        pixels, right, confidence = bins_M3.T
        seen = pixels > 0
        at = (np.arange(len(pixels)) + 0.5) / len(pixels)
        accuracy = right[seen] / pixels[seen]
        axis.bar(at[seen], accuracy, 0.92 / len(pixels), color=COLOURS[0], alpha=0.75, label="accuracy")
        axis.plot(confidence[seen] / pixels[seen], accuracy, ".", color="black", markersize=4, label="mean confidence")
        axis.plot([0, 1], [0, 1], "--", color=BASELINE, linewidth=1.2, label="calibrated")
        shares = pixels / max(1.0, float(pixels.sum()))
        axis.step(at, shares, where="mid", color=COLOURS[1], linewidth=1.2, label="share of the pixels")
        error = float(np.abs(right - confidence).sum() / max(1.0, float(pixels.sum())))
        axis.set_title(f"{wrapped(name, 28)}\nECE {error:.4f}")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.supxlabel("confidence of the prediction", fontsize=TEXT)
    return figure
