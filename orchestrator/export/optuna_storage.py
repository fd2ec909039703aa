"""Optuna's studies -> a storage of Optuna's: a database by its address, or a journal file by its path."""

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, create_engine, inspect, make_url
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from orchestrator.errors import InputError, one_line
from orchestrator.export.optuna_studies import OptunaTrials
from orchestrator.store.addresses import redacted
from orchestrator.store.foreign_files import refuse_inside
from trainable.configfile.environment import SHORTEST_SECRET
from trainable.configfile.mistakes import close_names

STUDY_ID = "dropclass_study_id"
"""Among the attributes of an exported study: which study it is, so that a later export replaces it and no other."""
_DATABASES = (".db", ".sqlite", ".sqlite3")
_FORMS = {
    "sqlite": "sqlite:///study.db",
    "mysql": "mysql://USER:PASSWORD@HOST/DATABASE",
    "postgresql": "postgresql://USER:PASSWORD@HOST/DATABASE",
}
"""How the addresses of the databases are written that Optuna names first, by their kind."""
_DRIVERS = {
    "MySQLdb": "mysqlclient",
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "mysql": "mysql-connector-python",
    "mysql.connector": "mysql-connector-python",
}
"""Packages that hold a module of another name."""
_LONGEST_LINE = 1 << 24
"""Bytes of a journal's first line that are read at most."""


def write_studies(studies: Sequence[OptunaTrials], study_id: str, address: str, *, force: bool = False) -> None:
    """Write studies into a storage; those of an earlier export of the same study are replaced.

    Args:
        studies: What to write.
        study_id: Identity of the study that is exported.
        address: ``sqlite:///study.db`` or another address that Optuna takes, or the path of a journal file;
            ``check_address`` has taken it.
        force: Replace studies of equal names that come from elsewhere.

    Raises:
        InputError: the storage cannot be used, or it has such a study from elsewhere.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _mistakes(address), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = _opened(address)
        present = set(optuna.get_all_study_names(storage)) & {study.name for study in studies}
        foreign = [name for name in sorted(present) if _origin(storage, name) != study_id]
        if foreign and not force:
            raise InputError(
                f"--optuna {redacted(address)}: it has a study {foreign[0]} that is no export of this one; "
                "--force replaces it, another file or database keeps both"
            )
        for name in sorted(present):
            optuna.delete_study(study_name=name, storage=storage)
        for study in studies:
            _write(storage, study, study_id)


def _origin(storage: BaseStorage, name: str) -> object:
    return optuna.load_study(study_name=name, storage=storage).user_attrs.get(STUDY_ID)


def _write(storage: BaseStorage, study: OptunaTrials, study_id: str) -> None:
    made = optuna.create_study(study_name=study.name, storage=storage, directions=list(study.directions))
    made.set_user_attr(STUDY_ID, study_id)  # first: what is written in part is known for what it is
    for name, value in study.attrs.items():
        made.set_user_attr(name, value)
    made.set_metric_names(list(study.metrics))
    made.add_trials(study.trials)


def check_address(address: str, storage: str) -> None:
    """Refuse an address that no database of Optuna's can have, or that is a place of studies or other programs.

    Args:
        address: As ``write_studies``.
        storage: The folder of the studies.

    Raises:
        InputError: it is refused.
    """
    option = f"--optuna {redacted(address)}"
    if not address.strip():
        raise InputError("--optuna: names no database; write sqlite:///study.db, or the path of a journal file")
    if "://" not in address:
        if address.endswith(_DATABASES):
            raise InputError(f"{option}: write a database as an address: sqlite:///{address}")
        refuse_inside(option, address, storage)
        _check_file(option, address)
        return
    with _mistakes(address):
        _check_database(option, make_url(address), storage)


def _check_database(option: str, url: URL, storage: str) -> None:
    kind, file = url.get_backend_name(), (url.database or "").removeprefix("file:")
    try:
        url.get_dialect()
    except NoSuchModuleError as error:
        near = close_names(kind, list(_FORMS))
        forms = _FORMS[near[0]] if near else f"{', '.join(_FORMS.values())}, or the path of a journal file"
        raise InputError(
            f"{option}: {url.drivername} is no kind of database that Optuna takes; write {forms}"
        ) from error
    if kind == "sqlite":
        if file in ("", ":memory:"):
            raise InputError(f"{option}: names no file; write {_FORMS['sqlite']}")
        refuse_inside(option, file, storage)
        _check_file(option, file, journal=False)
    try:
        create_engine(url).dispose()
    except ModuleNotFoundError as error:
        package = _DRIVERS.get(error.name or "", error.name)
        raise InputError(f"{option}: its driver is not installed:  pip install {package}") from error
    if kind != "sqlite" or os.path.exists(file):
        _check_owner(option, url)


def _opened(address: str) -> BaseStorage:
    """The storage."""
    return RDBStorage(address) if "://" in address else JournalStorage(JournalFileBackend(address))


def _check_file(option: str, file: str, *, journal: bool = True) -> None:
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder):
        raise InputError(f"{option}: there is no folder {folder}")
    if os.path.isdir(file):
        raise InputError(f"{option}: is a folder; name a file")
    if journal and os.path.exists(file) and not _is_journal(option, file):
        raise InputError(f"{option}: is there, and is no journal of Optuna's; name another file")


def _is_journal(option: str, file: str) -> bool:
    """Whether the file is empty, or begins as Optuna's journals do: with an operation in a line of JSON."""
    if not os.path.isfile(file):
        return False
    try:
        with open(file, "rb") as opened:
            line = opened.readline(_LONGEST_LINE)
        return not line or "op_code" in json.loads(line)
    except OSError as error:
        raise InputError(f"{option}: {error.strerror}") from error
    except (ValueError, TypeError):
        return False


def _check_owner(option: str, url: URL) -> None:
    """Refuse a database of another program that counts its versions as Optuna does, such as MLflow's."""
    engine = create_engine(url)
    try:
        tables = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if "alembic_version" in tables and "version_info" not in tables:
        whose = "MLflow's" if "experiments" in tables else "another program's"
        raise InputError(f"{option}: this database is {whose}; give Optuna one of its own")


@contextmanager
def _mistakes(address: str) -> Iterator[None]:
    """Raise InputError in place of whatever databases and files raise, without the address's password."""
    try:
        yield
    except (SQLAlchemyError, ImportError, OSError, ValueError, optuna.exceptions.OptunaError) as error:
        reason = _innermost(error)
        text = f"--optuna {address}: {one_line(reason) or type(reason).__name__}"
        raise InputError(redacted(_without_password(text, address))[:400]) from error


def _innermost(error: BaseException) -> BaseException:
    """What the layers above only pass on: a database's own error, the module that is missing."""
    cause = getattr(error, "orig", None) or error.__cause__
    return _innermost(cause) if isinstance(cause, BaseException) else error


def _without_password(text: str, address: str) -> str:
    try:
        password = make_url(address).password
    except (SQLAlchemyError, ValueError):
        return text
    return text.replace(password, "***") if password and len(password) >= SHORTEST_SECRET else text
