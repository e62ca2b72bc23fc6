"""The page's colours, each with a light and a dark value; figures are drawn in the light ones and follow the page."""

from __future__ import annotations

TOKENS = {
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
"""Name -> (light, dark). Text on page and card has a contrast of at least 4.5, in both themes."""

ARMS = (
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
"""After Okabe and Ito 2008: a contrast of 3 with the card, and the first six apart for red- and green-blind readers."""

_VALUES = TOKENS | {f"arm-{number}": pair for number, pair in enumerate(ARMS)}
_NAMES = {light: name for name, (light, _) in _VALUES.items()}


def color(number: int) -> str:
    """The light colour of the arm with this number; they repeat."""
    return ARMS[number % len(ARMS)][0]


def variable(number: int) -> str:
    """The CSS value of the arm with this number: follows the theme."""
    return f"var(--arm-{number % len(ARMS)})"


def declarations() -> str:
    """CSS custom properties of all colours; a browser without `light-dark()` has the light ones."""
    both = "; ".join(f"--{name}: light-dark({light}, {dark})" for name, (light, dark) in _VALUES.items())
    light = "; ".join(f"--{name}: {light}" for name, (light, _) in _VALUES.items())
    return f":root {{ {light} }}\n@supports (color: light-dark(#000, #fff)) {{ :root {{ {both} }} }}"


def themed(svg: str) -> str:
    """An SVG drawn in the light colours, with variables in their place."""
    for value, name in _NAMES.items():
        svg = svg.replace(value, f"var(--{name})")
    return svg
