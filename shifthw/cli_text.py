"""Text for the terminal: lines and tables in which nothing steers it."""

from rich.table import Table
from rich.text import Text

Part = Text | Table
"""What is printed one below the other."""


def plain(text: str) -> str:
    """One line in which nothing steers the terminal: names come from files of anybody's making."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def make_table(*columns: str, left: int = 1) -> Table:
    """Without lines; the first `left` columns aligned to the left."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(line(column), justify="left" if number < left else "right", no_wrap=True)
    return made


def add_row(into: Table, *cells: str, style: str | None = None) -> None:
    """Adds a row of plain text."""
    into.add_row(*(Text(plain(cell)) for cell in cells), style=style)


def line(text: str) -> Text:
    """A paragraph of plain text."""
    return Text(plain(text))


def short(value: float) -> str:
    """At most two decimals."""
    return f"{value:,.2f}".rstrip("0").rstrip(".")
