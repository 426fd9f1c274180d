"""A bench's report for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from worldkv_cli.tables import Table, print_table

if TYPE_CHECKING:
    from core.schemas.bench import BenchReport


def print_bench(report: BenchReport, files: Sequence[Path]) -> None:
    """Print a report on stdout: for each family its results and differences, then the files."""
    from core.bench.tables import family_tables, what

    sys.stdout.write(f"{what(report)}\n")
    for family in report.families:
        for table in family_tables(report, family):
            sys.stdout.write("\n")
            words = (0, 1) if table.head[1] == "first leg" else (0,)
            print_table(Table(table.title, table.head, table.rows, words))
    sys.stdout.write("\n")
    for path in files:
        sys.stdout.write(f"{path}\n")
    sys.stdout.flush()
