"""Many writes to a database in few transactions, where MLflow's client writes to one itself.

MLflow commits up to 13 times for a trial, and a disk takes 2 to 15 ms for each. There is no public way to say what
belongs together: the session maker of its store is replaced by one whose sessions are savepoints of one transaction
(SQLAlchemy's own recipe for joining sessions into a transaction). Private to MLflow 3.17 and named here alone:
``_tracking_client.store.ManagedSessionMaker`` and ``_get_managed_session_maker``. A store without them commits as ever.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any

from mlflow import MlflowClient

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session

    SessionMaker = Callable[..., AbstractContextManager[Session]]

MOST_SECONDS = 0.5
"""How long a transaction may keep others from writing; what follows goes to the next one."""
_PRAGMAS = ("foreign_keys = ON", "busy_timeout = 20000", "case_sensitive_like = true")
"""As MLflow sets them in each of its sessions; within a transaction SQLite ignores the first."""


class Transactions:
    """Joins what one thread writes through a client."""

    def __init__(self, client: MlflowClient) -> None:
        store = getattr(getattr(client, "_tracking_client", None), "store", None)
        makes_sessions = hasattr(store, "ManagedSessionMaker") and hasattr(store, "engine")
        self._store = _joinable(store) if makes_sessions else None
        self._connection: Connection | None = None
        self._since = 0.0

    @property
    def of_database(self) -> bool:
        """Whether the client writes to a database, else to a server."""
        return self._store is not None

    @contextmanager
    def joined(self) -> Iterator[None]:
        """What is written within is there together or not at all, but for what `breathe` has committed.

        Raises:
            Exception: what was raised within, or the database's own; what was not committed is undone.
        """
        if self._store is None or self._connection is not None:
            yield
            return
        from mlflow.store.db.utils import _get_managed_session_maker
        from sqlalchemy.orm import sessionmaker

        with _connected(self._store.engine) as connection:
            sessions = sessionmaker(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
            self._connection = connection
            self._begin()
            # of no kind of database: SQLite's pragmas are set
            _joined.maker = _get_managed_session_maker(sessions, "")  # type: ignore[no-untyped-call]
            try:
                yield
                connection.commit()
            finally:
                del _joined.maker
                self._connection = None

    def breathe(self) -> None:
        """Commit what is there between two writes, if others have waited for long."""
        if self._connection is not None and time.monotonic() - self._since > MOST_SECONDS:
            self._connection.commit()
            self._begin()

    def _begin(self) -> None:
        assert self._connection is not None
        self._since = time.monotonic()
        self._connection.begin()
        if self._connection.dialect.name == "sqlite":  # at once: a lock that is asked for later may never come
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")


_joined = threading.local()
"""``maker``: of sessions within the transaction of this thread."""


def _joinable(store: Any) -> Any:
    """The store, whose sessions from now on join the transaction of their thread, if it has one."""
    own: SessionMaker = store.ManagedSessionMaker
    if not hasattr(own, "joins"):  # a store is shared by the clients of its address

        def maker(read_only: bool = True) -> "AbstractContextManager[Session]":
            joined: SessionMaker = getattr(_joined, "maker", own)
            return joined(read_only=read_only)

        maker.joins = True  # type: ignore[attr-defined]
        store.ManagedSessionMaker = maker
    return store


@contextmanager
def _connected(engine: "Engine") -> Iterator["Connection"]:
    """A connection on which nothing begins or ends a transaction by itself."""
    with closing(engine.connect()) as connection:
        if connection.dialect.name != "sqlite":
            yield connection
            return
        for pragma in _PRAGMAS:
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        connection.rollback()  # of nothing: what follows begins anew
        database: Any = connection.connection.dbapi_connection
        level, database.isolation_level = database.isolation_level, None
        try:
            yield connection
        finally:
            connection.rollback()
            database.isolation_level = level
