"""Drawings of lines and points in SVG. Matplotlib takes half a second to import and 60 ms for each of these."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]
LEFT, RIGHT, TOP, BOTTOM = 44.0, 10.0, 8.0, 44.0  # room for ticks and titles around the axes, in pixels


@dataclass
class Drawing:
    """Axes of `width` × `height` pixels in all from `x` = (least, most) to `y`; `logarithmic` in x.

    `margin` is room on the right for what `beside` writes there.
    """

    width: float
    height: float
    x: Point
    y: Point
    logarithmic: bool = False
    margin: float = RIGHT
    parts: list[str] = field(default_factory=list)

    def place(self, x: float, y: float) -> Point:
        """Where a point is, in pixels from the upper left corner."""
        low, high, at = map(math.log, (*self.x, x)) if self.logarithmic else (*self.x, x)
        across = LEFT + (self.width - LEFT - self.margin) * (at - low) / (high - low)
        return across, TOP + (self.height - TOP - BOTTOM) * (self.y[1] - y) / (self.y[1] - self.y[0])

    def axes(self, x: Mapping[float, str], y: Mapping[float, str], *, below: str, beside: str = "") -> None:
        """Lines and texts of the ticks (place: text), and the titles of the axes."""
        (left, bottom), (right, top) = self.place(self.x[0], self.y[0]), self.place(self.x[1], self.y[1])
        for value, text in y.items():
            _, height = self.place(self.x[0], value)
            self._path(f"M{left:.1f} {height:.1f}H{right:.1f}", "#e6e9ee")
            self._text(left - 6, height + 4, text, "end")
        for value, text in x.items():
            across, _ = self.place(value, self.y[0])
            self._path(f"M{across:.1f} {bottom:.1f}v4", "#1c2333")
            self._text(across, bottom + 17, text, "middle")
        self._path(f"M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}", "#1c2333")
        self._text((left + right) / 2, self.height - 6, below, "middle")
        if beside:
            middle = (top + bottom) / 2
            turned = f' transform="rotate(-90 12 {middle:.1f})"'
            self._text(12, middle, beside, "middle", turned)

    def line(self, points: Sequence[Point], colour: str, *, width: float = 1.8, dashes: str = "") -> None:
        """A line through `points`."""
        joined = "L".join(f"{x:.1f} {y:.1f}" for x, y in (self.place(*point) for point in points))
        self._path(f"M{joined}", colour, width, dashes)

    def band(self, low: Sequence[Point], high: Sequence[Point], colour: str) -> None:
        """The area between two lines, and its height at each point."""
        around = [*low, *reversed(high)]
        joined = "L".join(f"{x:.1f} {y:.1f}" for x, y in (self.place(*point) for point in around))
        self.parts.append(f'<path d="M{joined}Z" fill="{colour}" fill-opacity=".15"/>')
        for ends in zip(low, high, strict=True):
            self.line(ends, colour, width=1)

    def dot(self, point: Point, colour: str, *, radius: float = 3.5, hollow: bool = False) -> None:
        """A point."""
        x, y = self.place(*point)
        fill = "#fff" if hollow else colour
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
        )

    def beside(self, point: Point, height: float, text: str, colour: str) -> None:
        """A text right of the axes at a `height`, joined to its point."""
        (x, y), (right, across) = self.place(*point), self.place(self.x[1], height)
        self._path(f"M{x:.1f} {y:.1f}L{right:.1f} {across:.1f}h8", colour, 0.8)
        self._text(right + 11, across + 4, text, "start")

    @property
    def svg(self) -> str:
        """The <svg> element, which fills its place."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-size="12" fill="#1c2333">{"".join(self.parts)}</svg>'
        )

    def _path(self, path: str, colour: str, width: float = 1, dashes: str = "") -> None:
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashed}/>')

    def _text(self, x: float, y: float, text: str, anchor: str, more: str = "") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>')


def ticks(low: float, high: float, *, most: int = 6) -> dict[float, str]:
    """Round numbers from `low` to `high`, at most so many, with their texts."""
    rough = (high - low) / (most - 1)
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * it for it in (1, 2, 5, 10) if unit * it >= rough)
    decimals = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return {it * step: f"{it * step:.{decimals}f}" for it in range(first, last + 1)}
