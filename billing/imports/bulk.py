"""Many rows in one statement: COPY for new ones, UPDATE from arrays for changed ones, look-ups by thousands of keys."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from django.db import connection, models
from django.db.models.fields import NOT_PROVIDED

M = TypeVar("M", bound=models.Model)
R = TypeVar("R")


def insert(rows: Sequence[models.Model]) -> None:
    """COPY new rows of one model into its table: one statement, and so one firing of its statement triggers.

    Primary keys and columns with a default of the database's own are left to it; the objects do not learn them.
    """
    if rows:
        names = [
            column.attname
            for column in rows[0]._meta.concrete_fields
            if not isinstance(column, models.AutoField) and column.db_default is NOT_PROVIDED
        ]
        insert_values(type(rows[0]), names, ([getattr(row, name) for name in names] for row in rows))


def insert_values(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """The same from bare values, for rows in such numbers that making objects of them would take too long."""
    meta = model._meta
    field_of = {column.attname: column for column in meta.concrete_fields}
    columns = ", ".join(_quoted(column) for column in (field_of[name] for name in names))
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,  # which Django does for `execute` alone
        cursor.copy(f"COPY {meta.db_table} ({columns}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def update(changes: Iterable[tuple[M, Iterable[str]]]) -> None:
    """Write those fields of each row that changed, and no others, so that nobody else's change to them is undone.

    Rows with the same changed fields share a statement. Fields are named as the object's attributes: `rate_deck_id`.
    """
    together: dict[frozenset[str], list[M]] = defaultdict(list)
    for row, names in changes:
        together[frozenset(names)].append(row)
    for names, rows in together.items():
        if names:
            _update_same_fields(rows, names)


def _update_same_fields(rows: list[M], names: frozenset[str]) -> None:
    meta = rows[0]._meta
    fields = [column for column in meta.concrete_fields if column.attname in names]
    columns = [_quoted(column) for column in fields]
    arrays = ", ".join(f"%s::{column.rel_db_type(connection)}[]" for column in [meta.pk, *fields])
    values = [[row.pk for row in rows], *([getattr(row, column.attname) for row in rows] for column in fields)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {meta.db_table} t SET {', '.join(f'{column} = v.{column}' for column in columns)}"  # noqa: S608
            f" FROM unnest({arrays}) AS v (pk, {', '.join(columns)}) WHERE t.{_quoted(meta.pk)} = v.pk",
            values,
        )


def _quoted(column: models.Field) -> str:
    return connection.ops.quote_name(str(column.column))


def analyze(*tables: type[models.Model]) -> None:
    """Tell the planner that the tables have grown, where later statements of the same transaction join them."""
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ANALYZE {table._meta.db_table}")


class AnyOf(models.Lookup):
    """`column = ANY(array)`: one value for the query, where `IN` would make a hundred thousand of them."""

    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        column, values = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", (*values, list(dict.fromkeys(self.rhs)))


def found_by(queryset: models.QuerySet[M, R], field: str, values: Iterable[Any]) -> models.QuerySet[M, R]:
    """What the query finds with one of these values in a field, however many there are."""
    return queryset.filter(AnyOf(models.F(field), list(values)))


def lock_balances(customer_ids: Iterable[int]) -> None:
    """Lock these customers' balances in id order, as everybody does who changes them, before changing more than one.

    Billing skips customers that are locked. Waits for whoever holds one of them just now.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT FROM billing_customerbalance WHERE customer_id = ANY(%s) ORDER BY customer_id FOR UPDATE",
            [sorted(set(customer_ids))],
        )
