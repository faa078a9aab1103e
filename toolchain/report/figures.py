"""Figures as inline SVG that takes its colours from the page, so that light and dark both work."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Json = dict[str, Any]

INK, QUIET, ONE, TWO = "#000001", "#000002", "#000003", "#000004"
_VARIABLES = {INK: "--ink", QUIET: "--quiet", ONE: "--one", TWO: "--two"}
"""Placeholders that the page's style sheet gives its colours."""
WIDTH = 7.2


def layers_figure(run: Json) -> str:
    """What is left of every layer of the dense model."""
    layers = run["layers"]
    figure, axes = _axes(height=2.4)
    for offset, colour, key, label in (
        (-0.2, ONE, "num_key_value_heads", "KV groups"),
        (0.2, TWO, "intermediate_size", "neurons"),
    ):
        shares = [
            100 * layer["after"][key] / layer["before"][key] if layer["after"] else 0
            for layer in layers
        ]
        places = [layer["index"] + offset for layer in layers]
        axes.bar(places, shares, 0.38, color=colour, label=label)
    gone = [layer["index"] for layer in layers if layer["after"] is None]
    for index in gone:
        axes.text(index, 2, "dropped", rotation=90, ha="center", va="bottom", color=INK, size=8)
    axes.set_ylim(0, 105)
    axes.set_ylabel("left, %")
    axes.set_xlabel("layer")
    _whole_numbers(axes)
    _legend(axes)
    return _svg(figure)


def stages_figure(run: Json) -> str:
    """Divergence from the dense model after each stage of recovery."""
    stages = run["pruning"]["stages"]
    figure, axes = _axes(height=0.6 + 0.35 * len(stages))
    names = [stage["name"].replace("_", " ") for stage in stages]
    values = [stage["divergence"] for stage in stages]
    axes.barh(names, values, 0.6, color=ONE)
    for place, value in enumerate(values):
        axes.text(value, place, f" {value:.4g}", va="center", color=INK, size=9)
    axes.set_xlim(0, 1.2 * max([*values, 1e-12]))
    axes.invert_yaxis()
    nats = run["pruning"]["measure"] == "kl"
    axes.set_xlabel("held-out KL to the dense model, nats per token" if nats else "distance")
    return _svg(figure)


def latency_figure(measured: Json) -> str:
    """Distribution of the time per token, one row per launch."""
    launches = measured["token_ms"]
    figure, axes = _axes(height=0.8 + 0.32 * len(launches))
    names = [f"launch {index + 1}" for index in range(len(launches))]
    axes.boxplot(
        launches,
        orientation="horizontal",
        tick_labels=names,
        widths=0.6,
        whis=(1, 99),
        boxprops={"color": ONE},
        whiskerprops={"color": ONE},
        capprops={"color": ONE},
        medianprops={"color": TWO, "linewidth": 2},
        flierprops={"marker": ".", "markersize": 3, "markeredgecolor": QUIET},
    )
    axes.set_xlim(left=0)
    axes.invert_yaxis()
    axes.set_xlabel("ms per token; box: quartiles, whiskers: 1% and 99%")
    return _svg(figure)


def temperature_figure(measured: Json) -> str | None:
    """Temperature at the end of each launch; None where the device has no sensor."""
    values = measured["temperature_celsius"]
    if any(value is None for value in values):
        return None
    figure, axes = _axes(height=1.8)
    axes.plot(range(1, len(values) + 1), values, marker="o", color=ONE)
    axes.set_xlabel("launch")
    axes.set_ylabel("°C")
    _whole_numbers(axes)
    return _svg(figure)


def memory_figure(bundle: Json) -> str:
    """Predicted parts of the engine's memory, and the measured peak of its process."""
    predicted = bundle["predicted_memory"]
    parts = {k.removesuffix("_bytes").replace("_", " "): v for k, v in predicted.items() if v}
    figure, axes = _axes(height=1.5)
    left = 0.0
    shades = (1.0, 0.72, 0.5, 0.36, 0.25)
    for (name, value), shade in zip(parts.items(), shades, strict=False):
        axes.barh(["predicted"], [value / 1e6], 0.6, left=left, color=ONE, alpha=shade, label=name)
        left += value / 1e6
    peak = bundle["measured"]["summary"].get("peak_rss_bytes") if bundle["measured"] else None
    if peak:
        axes.barh(["measured"], [peak["median"] / 1e6], 0.6, color=TWO, label="peak of the process")
    axes.invert_yaxis()
    axes.set_xlabel("MB")
    _legend(axes)
    return _svg(figure)


def pareto_figure(points: list[Json]) -> str:
    """Bytes against perplexity ratio, a point per bundle with its one-sided bound."""
    figure, axes = _axes(height=3.4)
    sizes = [point["bytes"] / 1e6 for point in points]
    middle = (min(sizes) + max(sizes)) / 2
    for point in points:
        size, ratio, high = point["bytes"] / 1e6, point["ratio"], point["high"]
        axes.plot([size], [ratio], "o", color=ONE if point["passed"] else TWO)
        if high is not None:
            axes.plot([size, size], [ratio, high], color=QUIET, linewidth=1)
        side, offset = ("left", 6) if size <= middle else ("right", -6)
        where = (offset, 5)
        axes.annotate(
            point["label"], (size, ratio), where, textcoords="offset points", ha=side,
            size=8, color=INK,
        )  # fmt: skip
    axes.margins(0.08)
    axes.set_xlabel("bytes of the bundle, MB")
    axes.set_ylabel("perplexity / dense")
    return _svg(figure)


def _axes(height: float) -> tuple[Figure, Axes]:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"text.color": INK, "axes.labelcolor": INK, "font.size": 9}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.tick_params(colors=INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_color(QUIET)
    return figure, axes


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(axes: Axes) -> None:
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, ncols=5, loc="lower left",
                bbox_to_anchor=(0, 1.0))  # fmt: skip


def _svg(figure: Figure) -> str:
    """The figure's `svg` element: text as text, colours as the page's variables."""
    from matplotlib import rc_context

    stream = io.StringIO()
    # A fixed salt makes the ids, and so the page, the same every time.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "paredown"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    # Several figures share a page: an id that nothing refers to would only stand there twice.
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([\w-]+)"', lambda m: m[0] if m[1] in used else "", text)
    return re.sub(r'width="[^"]*" height="[^"]*"', "", text, count=1)
