"""Optuna's studies -> a storage of Optuna's: a database by its address, or a journal file by its path."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import InputError, one_line
from orchestrator.export.optuna_studies import OptunaTrials
from orchestrator.store.addresses import redacted
from trainable.configfile.environment import SHORTEST_SECRET

STUDY_ID = "dropclass_study_id"
"""Among the attributes of an exported study: which study it is, so that a later export replaces it and no other."""
_DATABASES = (".db", ".sqlite", ".sqlite3")


def write_studies(studies: Sequence[OptunaTrials], study_id: str, address: str, *, force: bool = False) -> None:
    """Write studies into a storage; those of an earlier export of the same study are replaced.

    Args:
        studies: What to write.
        study_id: Identity of the study that is exported.
        address: ``sqlite:///study.db`` or another address that Optuna takes, or the path of a journal file.
        force: Replace studies of equal names that come from elsewhere.

    Raises:
        InputError: the storage cannot be used, it belongs to another program, or it has such a study from elsewhere.
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


def _opened(address: str) -> BaseStorage:
    """The storage.

    Raises:
        InputError: its folder is missing, or it is another program's.
    """
    if "://" not in address:
        if address.endswith(_DATABASES):
            raise InputError(f"--optuna {address}: write a database as an address: sqlite:///{address}")
        _check_folder(address, address)
        return JournalStorage(JournalFileBackend(address))
    url = make_url(address)
    file = url.database or ""
    if url.get_backend_name() == "sqlite":
        if file in ("", ":memory:"):
            raise InputError(f"--optuna {address}: names no file; write sqlite:///study.db")
        _check_folder(address, file)
    if url.get_backend_name() != "sqlite" or os.path.exists(file):
        _check_owner(address)
    return RDBStorage(address)


def _check_folder(address: str, file: str) -> None:
    folder = os.path.dirname(os.path.abspath(file))
    if not os.path.isdir(folder):
        raise InputError(f"--optuna {address}: there is no folder {folder}")
    if os.path.isdir(file):
        raise InputError(f"--optuna {address}: is a folder; name a file")


def _check_owner(address: str) -> None:
    """Refuse a database of another program that counts its versions as Optuna does, such as MLflow's."""
    engine = create_engine(address)
    try:
        tables = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    if "alembic_version" in tables and "version_info" not in tables:
        whose = "MLflow's" if "experiments" in tables else "another program's"
        raise InputError(f"--optuna {redacted(address)}: this database is {whose}; give Optuna one of its own")


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
