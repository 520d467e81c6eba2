"""Reading a query's result from SQLite or PostgreSQL through SQLAlchemy."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from fraudfl.data.files import Raw
from fraudfl.data.origin import Origin
from fraudfl.errors import ConfigError, SchemaError, SourceError

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_TABLE_NAME = r'\s*[\w$"]+(\.[\w$"]+)?\s*'
_ROWS_AT_ONCE = 50_000


def connection_url(text: str, password_file: Path | None, base: Path) -> sa.URL:
    """Checks a database URL and puts the password in.

    Args:
        text: `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`, without a password.
        password_file: File with the password, readable by its owner only.
        base: Folder that a relative SQLite path starts from.

    Raises:
        ConfigError: when the URL holds a password, or names another kind of database.
        SourceError: when the password file or the SQLite file cannot be used.
    """
    try:
        url = sa.make_url(text)
    except (SQLAlchemyError, ValueError) as error:
        raise ConfigError(
            "the database URL cannot be read; expected DRIVER://USER@HOST/DATABASE. Correct it."
        ) from error
    if url.password is not None or "password" in url.query:
        raise ConfigError(
            f"{url.set(query={}).render_as_string()}: the URL holds a password, and configurations are shared. "
            "Put the password in a file of mode 0600 and name it in `password_file`."
        )
    driver = _DRIVERS.get(url.drivername.removesuffix("+psycopg"))
    if driver is None:
        raise ConfigError(f"{url}: databases of kind {url.drivername!r} are not read; expected sqlite or postgresql.")
    url = url.set(drivername=driver)
    if driver == "sqlite":
        return _read_only_sqlite(url, base)
    return url if password_file is None else url.set(password=_password(base / password_file))


def _read_only_sqlite(url: sa.URL, base: Path) -> sa.URL:
    """Opens read-only, so that a wrong path is an error and not a new, empty database."""
    if url.database in (None, "", ":memory:"):
        raise ConfigError(f"{url}: an SQLite URL needs a file; expected sqlite:///FILE.")
    file = (base / Path(str(url.database)).expanduser()).absolute()
    if not file.is_file():
        raise SourceError(f"{file}: there is no such SQLite file. Check the URL; four slashes start an absolute path.")
    if file.stat().st_size == 0:
        raise SourceError(f"{file}: the SQLite file is empty (0 bytes). Copy it again.")
    return url.set(database=file.as_uri(), query={"mode": "ro", "uri": "true"})


def _password(file: Path) -> str:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise SourceError(
                f"{file}: others may read the password (mode {mode:04o}); expected 0600. Run chmod 600 on it."
            )
        password = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SourceError(
            f"{file}: the password file cannot be read ({error.strerror}). Check `password_file`."
        ) from error
    if not password:
        raise SourceError(f"{file}: the password file is empty; expected one line with the password.")
    return password


class Database:
    """One query on one database, read in pieces.

    Attributes:
        name: The URL without its password, and the query, for messages.
    """

    def __init__(self, url: sa.URL, query: str) -> None:
        """Takes a URL from `connection_url` and SQL text, or a table's name."""
        self.url = url
        place = f"{url.drivername.split('+')[0]}:{url.database}" if url.host is None else url.render_as_string()
        self.statement = f"SELECT * FROM {query.strip()}" if re.fullmatch(_TABLE_NAME, query) else query
        self.name = f"{place} ({_shorten(query)})"

    def names(self) -> tuple[str, ...]:
        """Asks which columns the query gives, without reading rows."""
        pieces = list(self._run(f"SELECT * FROM ({_bare(self.statement)}) AS wanted LIMIT 0"))
        return pieces[0][0]

    def read(self, columns: Sequence[str]) -> Raw:
        """Reads some columns of all rows.

        Raises:
            SourceError: when the database refuses or breaks off; SchemaError: when there is no such column.
        """
        wanted = list(dict.fromkeys(columns))
        batches: dict[str, list[pa.Array]] = {name: [] for name in wanted}
        for names, rows in self._run(self.statement):
            missing = [name for name in wanted if name not in names]
            if missing:
                raise SchemaError(
                    f"{self.name}: there is no column {', '.join(map(repr, missing))}; found {', '.join(names)}. "
                    "Correct `columns` or `query` in the source. Nothing was trained and nothing was sent."
                )
            fields = list(zip(*rows, strict=True)) if rows else [()] * len(names)
            for name in wanted:
                batches[name].append(_array(fields[names.index(name)]))
        table = pa.table({name: _agree(pieces) for name, pieces in batches.items()})
        return Raw(table, Origin(((self.name, table.num_rows),)))

    def _run(self, statement: str) -> Iterator[tuple[tuple[str, ...], Sequence[Any]]]:
        """Yields column names and rows, piece by piece; the first piece comes even when there are no rows."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        try:
            with engine.connect().execution_options(stream_results=True) as connection:
                result = connection.exec_driver_sql(self._verbatim(statement))
                names = tuple(result.keys())
                yield names, result.fetchmany(_ROWS_AT_ONCE)
                while rows := result.fetchmany(_ROWS_AT_ONCE):
                    yield names, rows
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise self._failure(error) from error
        finally:
            engine.dispose()

    def _verbatim(self, statement: str) -> str:
        """Keeps the driver from taking a per cent sign for a parameter; a colon is none to `exec_driver_sql`."""
        return statement.replace("%", "%%") if self.url.drivername.startswith("postgresql") else statement

    def _failure(self, error: Exception) -> SourceError:
        cause = str(getattr(error, "orig", None) or error)
        if self.url.password:
            cause = cause.replace(str(self.url.password), "***")
        reason = (cause.strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        advice = "Check the query and the table's name." if re.search(r"no such|does not exist|syntax", cause) else (
            "Check the URL, `password_file`, and that the database is running and whole."
        )  # fmt: skip
        return SourceError(f"{self.name}: the database could not be read ({reason}). {advice}")


def _bare(statement: str) -> str:
    return statement.strip().rstrip(";")


def _shorten(query: str) -> str:
    text = " ".join(query.split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _array(values: Sequence[Any]) -> pa.Array:
    """Makes one piece of a column; a mixture (SQLite allows it) becomes text, to be judged by the contract."""
    if any(isinstance(value, Decimal) for value in values):
        values = [float(value) if isinstance(value, Decimal) else value for value in values]
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _agree(pieces: list[pa.Array]) -> pa.ChunkedArray:
    """Gives all pieces of a column one type."""
    kinds = {piece.type for piece in pieces if not pa.types.is_null(piece.type)}
    if not kinds:
        return pa.chunked_array(pieces, pa.null())
    kind = next(iter(kinds))
    if len(kinds) > 1:
        numeric = all(pa.types.is_integer(one) or pa.types.is_floating(one) for one in kinds)
        kind = pa.float64() if numeric else pa.string()
    return pa.chunked_array([piece.cast(kind, safe=False) for piece in pieces], kind)
