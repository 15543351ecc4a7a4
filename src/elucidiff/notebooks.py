"""Tables by which objects show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_LINE = "1px solid rgba(128, 128, 128, 0.4)"


def table_html(caption: str, rows: Iterable[Sequence[object]], columns: Sequence[str] = ()) -> str:
    """A small HTML table, for ``_repr_html_``. All texts are escaped; colours are those of the page, light or dark.

    Args:
        caption: what it is, in a few words.
        rows: the cells of each row; the first stands out where there are no columns.
        columns: names of the columns; none for a table of names and values.

    >>> from elucidiff.notebooks import table_html
    >>> print(table_html("a < b", [("n", 18)])[-71:])
    <td style="padding: 2px 12px; text-align: left">18</td></tr></table>
    """
    from markupsafe import Markup  # takes a moment, and only notebooks ask

    cell = Markup('<{} style="padding: 2px 12px; text-align: left">{}</{}>')
    row = Markup('<tr style="border-top: {}; background: none">{}</tr>')
    text = Markup()
    if columns:
        text += row.format(_LINE, Markup().join(cell.format("th", name, "th") for name in columns))
    for cells in rows:
        kinds = ["td" if columns or place else "th" for place in range(len(cells))]
        made = (cell.format(kind, value, kind) for kind, value in zip(kinds, cells, strict=True))
        text += row.format(_LINE, Markup().join(made))
    title = Markup('<caption style="text-align: left; font-weight: bold">{}</caption>').format(caption)
    table = Markup('<table style="border-collapse: collapse; color: inherit; background: none">{}{}</table>')
    return str(table.format(title, text))
