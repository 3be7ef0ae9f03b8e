"""The My places tab as HTML: the table of what a visitor brought, and words about their database."""

from __future__ import annotations

from collections.abc import Sequence

from app.tabs.my_places.intake_report import IntakeReport, MyDatabase
from app.ui.html import counted, escape, row_html, table_html
from scicevpr.config import VARIANTS
from scicevpr.datasets import Dataset, Photo

IGNORED_SHOWN = 4


def report_html(report: IntakeReport, queries: Sequence[Photo]) -> str:
    """A row per photo: its name, where its position comes from, what it is for, and problems; problems first."""
    asked = {query.path for query in queries}
    rows = [(name, "", "", "left out", why) for name, why in report.left_out]
    for placed in sorted(report.photos, key=lambda placed: not placed.problem):
        photo = placed.photo
        where = "" if photo.utm is None else f"{photo.utm[0]:.1f} {photo.utm[1]:.1f}"
        where = f"{where} · {photo.zone}" if photo.zone and where else where
        role = "query" if photo.path in asked else "searched"
        rows.append((report.name(placed), placed.source or "none", where, role, placed.problem or ""))
    heads = ("photo", "position from", "east north (m) · zone", "used as", "problem")
    body = [row_html(name, cells, **({"class_": "panel__trouble"} if cells[-1] else {})) for name, *cells in rows]
    return table_html("What was read", heads, body, "panel--brought")


def waiting_html() -> str:
    """Words before anything was brought."""
    return _box("waiting", "Nothing here yet.", ["Choose photos, then press the button. Only your page will see them."])


def report_words_html(report: IntakeReport) -> str:
    """What was read, while it is being described."""
    read = f"{counted(len(report.photos), 'photo')} read, {report.positioned} with a position"
    return _box("waiting", f"{read}. They are being described now.", _remarks(report))


def database_html(database: MyDatabase, report: IntakeReport | None = None) -> str:
    """The finished database: sizes, groupings, and what can be done with it."""
    data = database.dataset
    searched, asked = len(data.database), len(data.queries)
    grouped = "; ".join(
        f"{VARIANTS[name].title if name in VARIANTS else name}: {_grouping(grouping)}"
        for name, grouping in database.groupings
    )
    lines = [
        f"Searched: {counted(searched, 'photo')}. "
        + (
            f"Offered as queries: {counted(asked, 'photo')}."
            if asked
            else "No photo is held back, so bring a query of your own."
        ),
        f"Photos that shared a batch: {grouped}.",
        *([] if report is None else _remarks(report)),
    ]
    lines.append(_verdicts(data))
    return _box("ready", f"{database.title} can be searched ({database.seconds:.0f} s).", lines)


def _remarks(report: IntakeReport) -> list[str]:
    lines = list(report.notes)
    if report.left_out:
        lines.append(f"{counted(len(report.left_out), 'photo')} left out; the table says why.")
    if ignored := report.gathered.ignored:
        more = f" and {len(ignored) - IGNORED_SHOWN} more" if len(ignored) > IGNORED_SHOWN else ""
        lines.append(f"{counted(len(ignored), 'other file')} ignored: {', '.join(ignored[:IGNORED_SHOWN])}{more}.")
    return lines


def _verdicts(data: Dataset) -> str:
    if data.labelled:
        return f"Every photo has a position, so answers are called right (within {data.truth.label()}) or wrong."
    missing = sum(photo.utm is None for photo in (*data.database, *data.queries))
    return (
        f"{counted(missing, 'photo')} without a position, so no answer can be called right or wrong. Leave them out, "
        "or bring a table of positions."
    )


def _grouping(label: str) -> str:
    """Which photos shared a batch, in a newcomer's words."""
    if label in ("alone", "independent of the batch"):
        return "every photo alone"
    kind, _, size = label.partition(" ")
    return f"{size} a batch, in the order of their paths" if kind == "sequential" else label


def _box(mood: str, title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<section class="mine mine--{mood}" role="status"><h3>{escape(title)}</h3>{items}</section>'
