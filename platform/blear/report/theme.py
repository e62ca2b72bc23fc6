"""Colours of the page, each with a light and a dark value. Figures are drawn in light colours and follow the theme."""

from __future__ import annotations

COLORS = {
    "text": ("#1c1e21", "#e6e8eb"),
    "soft": ("#565d6a", "#a8afba"),
    "line": ("#d9dce1", "#3a3f47"),
    "page": ("#f6f7f9", "#16181b"),
    "card": ("#ffffff", "#202327"),
    "good": ("#00694c", "#4fd1a5"),
    "bad": ("#a8480c", "#ff9d66"),
    "note": ("#fff4d6", "#3d3312"),
    "code": ("#eef0f3", "#2b2f35"),
    "link": ("#0a5f96", "#74bdf2"),
    "grid": ("#e4e5e6", "#33373d"),
    "axis": ("#7c828c", "#7f8794"),
    "heat": ("#1172a8", "#4a9fd8"),
}
"""Name -> (light, dark). The contrast of text on page and card is at least 4.5 in both themes."""

ARM_COLORS = (
    ("#0072b2", "#4ba3e3"),
    ("#d55e00", "#ff8a4c"),
    ("#009e73", "#3ecf9b"),
    ("#b8578f", "#f0a6d6"),
    ("#7a4300", "#f5d76a"),
    ("#6b5fd6", "#9a8cff"),
    ("#2a2c30", "#f4f4f4"),
    ("#8a7a00", "#b5a642"),
    ("#767676", "#9a9a9a"),
)
"""(light, dark) colours of the arms, after Okabe and Ito 2008. The contrast with the card is at least 3. Readers with
red-green colour blindness can distinguish the first six."""

_VALUES = COLORS | {f"arm-{number}": pair for number, pair in enumerate(ARM_COLORS)}
_NAMES = {light: name for name, (light, _) in _VALUES.items()}


def arm_color(number: int) -> str:
    """Returns the light colour of an arm; colours repeat after the last one."""
    return ARM_COLORS[number % len(ARM_COLORS)][0]


def arm_variable(number: int) -> str:
    """Returns the CSS variable of an arm's colour, which follows the theme."""
    return f"var(--arm-{number % len(ARM_COLORS)})"


def declarations() -> str:
    """Returns CSS custom properties of all colours. A browser without `light-dark()` uses the light colours."""
    both = "; ".join(f"--{name}: light-dark({light}, {dark})" for name, (light, dark) in _VALUES.items())
    light = "; ".join(f"--{name}: {light}" for name, (light, _) in _VALUES.items())
    return f":root {{ {light} }}\n@supports (color: light-dark(#000, #fff)) {{ :root {{ {both} }} }}"


def with_css_variables(svg: str) -> str:
    """Replaces the light colours of an SVG by CSS variables."""
    for value, name in _NAMES.items():
        svg = svg.replace(value, f"var(--{name})")
    return svg
