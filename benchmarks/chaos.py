"""Random SIGKILLs against a study, compared with the same study left in peace.

    python benchmarks/chaos.py --kills 30 --seed 0              fixed cells on a two-node cluster, tracked by a server
    python benchmarks/chaos.py --kills 10 --seed 0 --local      fixed cells on a Ray of the command's own, sqlite
    python benchmarks/chaos.py --kills 10 --seed 0 --search     TPE and ASHA, one trial at a time
    python benchmarks/chaos.py --kills 10 --seed 0 --prefix     trials that share their first epochs
    python benchmarks/chaos.py --kills 10 --seed 0 --ranks      trials on two ranks, of which one is killed
    python benchmarks/chaos.py --kills 20 --seed 0 --hosts 3    fixed cells on hosts in network namespaces; needs root

Real trials on tiny shapes under kills of the command, of a trial's process and of the second node's raylet (only what
this script started). A killed command is given again, a killed node is replaced, until the study is finished; studies
follow one another until all kills are spent. With ``--hosts`` a killed command is given again on any host, and hosts
die, the head among them, or are cut off, for a while or for good, and so is the tracking server. Checked:
results.parquet equal bit for bit, its wall-clock and memory columns aside; no trial lost or doubled; one MLflow run per
trial with every epoch once; at most one epoch that was handed on repeated per attempt; with ``--search`` also that a
planner fed the same records suggests and prunes alike; with ``--prefix`` also that all rows but those of prefixes are
those of the study that shares none, left in peace; with ``--ranks``, which kills one rank of a trial at a time, that
the others end within 20 s and no process outlives its study.
Exit code 1 on any difference.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from chaos_checks import decision_differences, differences, table
from chaos_ground import Ground, two_nodes
from chaos_hosts import several_hosts
from chaos_ranks import RankKills
from chaos_run import Run, Tally
from chaos_studies import CELLS, HEAD, HOSTS, ONE_PROCESS, PREFIX, SEARCH, SHORT, TWO_RANKS
from chaos_trace import TRACE, clear, repeats
from hosts import obstacle

from orchestrator.studyfile import load

ROOT = Path(__file__).resolve().parents[1]


def chaos(
    folder: Path,
    *,
    kills: int,
    seed: int,
    search: bool = False,
    prefix: bool = False,
    ranks: bool = False,
    local: bool = False,
    short: bool = False,
    hosts: int = 0,
    say: Callable[[str], None] = print,
) -> int:
    """Run it all below ``folder``; returns the exit code.

    Args:
        folder: An empty folder.
        kills: How many.
        seed: Decides their kinds and moments, as far as the machine's speed does not.
        search: TPE and ASHA instead of fixed cells.
        prefix: Trials that share their first epochs instead.
        ranks: Trials on two ranks instead, and kills of one of them.
        local: No cluster and no server.
        short: Half the cells.
        hosts: How many the cluster has; 0 for two nodes on this machine.
        say: Prints a line.
    """
    spec = folder / "chaos.yaml"
    fixed = HOSTS if hosts else SHORT if short else CELLS
    fixed = fixed.replace(ONE_PROCESS, TWO_RANKS) if ranks else fixed
    spec.write_text(HEAD + (SEARCH if search else PREFIX if prefix else fixed))
    trace = folder / "trace"
    paths = filter(None, [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH")])
    os.environ |= {TRACE: str(trace), "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    tally, random_ = Tally(), random.Random(seed)
    began = time.monotonic()
    with ExitStack() as stack:
        place = Ground(f"sqlite:///{folder}/mlflow.db")
        if hosts:
            place = stack.enter_context(several_hosts(folder, hosts, random_))
        elif not (local or search or prefix or ranks):
            place = stack.enter_context(two_nodes(folder))
        study = load(spec, [f"tracking.uri={place.tracking}"])
        clear(trace)
        calm = Run("calm", spec, folder / "calm", place, random_, Tally())
        calm.finish(0)
        say(f"undisturbed: {time.monotonic() - began:.0f} s, {len(table(calm.finished))} rows")
        if prefix:
            tally.differences += _unshared_differences(calm, spec, place, random_)
        left, rounds, rank_kills = kills, 0, RankKills() if ranks else None
        while left:
            clear(trace)
            rounds += 1
            run = Run(f"chaos-{rounds}", spec, folder / f"chaos-{rounds}", place, random_, tally, rank_kills)
            left = run.finish(left)
            tally.repeated += repeats()
            found = differences(calm.finished, run.finished, study)
            if search:
                found += decision_differences(run.finished.records, study)
            tally.differences += [f"study {rounds}: {line}" for line in found]
            say(f"study {rounds}: {kills - left} of {kills} kills, {len(found)} differences")
        tally.differences += place.remarks
    if rank_kills is not None:
        tally.take_ranks(rank_kills, str(trace))
    _print(tally, rounds, time.monotonic() - began, say)
    return 1 if tally.differences or max(tally.repeated, default=0) > 1 else 0


def _unshared_differences(calm: Run, spec: Path, place: Ground, random_: random.Random) -> list[str]:
    """How the study differs from one whose trials train all epochs themselves."""
    clear(Path(os.environ[TRACE]))
    settings = ("resources.share_prefixes=false",)
    alone = Run("unshared", spec, spec.parent / "unshared", place, random_, Tally(), settings=settings)
    alone.finish(0)
    one, other = table(calm.finished, prefixes=False), table(alone.finished, prefixes=False)
    return [] if one == other else [f"{sum(a != b for a, b in zip(one, other, strict=False))} rows of {len(other)}"]


def _print(tally: Tally, rounds: int, seconds: float, say: Callable[[str], None]) -> None:
    rows = {
        "studies finished": str(rounds),
        "kills": f"{tally.kills.total()}: " + ", ".join(f"{count} {kind}" for kind, count in tally.kills.items()),
        **tally.of_ranks,
        "launches": str(tally.launches),
        "launches that ended otherwise": str(len(tally.other_ends)),
        "attempts by handed-on epochs repeated": ", ".join(f"{n}: {c}" for n, c in sorted(tally.repeated.items())),
        "differences": str(len(tally.differences)),
        "seconds": f"{seconds:.0f}",
    }
    for name, value in rows.items():
        say(f"{name:<38} {value}")
    for line in (*tally.other_ends, *tally.differences):
        say(f"  {line}")


def main() -> int:
    """Run the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of their kinds and moments")
    parser.add_argument("--search", action="store_true", help="TPE and ASHA instead of fixed cells; implies --local")
    parser.add_argument("--prefix", action="store_true", help="trials that share their first epochs; implies --local")
    parser.add_argument("--ranks", action="store_true", help="trials on two ranks, of which one is killed")
    parser.add_argument("--local", action="store_true", help="no cluster and no server: kill commands and trials only")
    parser.add_argument("--hosts", type=int, default=0, metavar="N", help="kill hosts: a cluster over N of them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder and leave everything there")
    options = parser.parse_args()
    if options.hosts and (options.hosts < 2 or options.local or options.search or options.prefix or options.ranks):
        parser.error("--hosts takes at least 2, and none of --local, --search, --prefix and --ranks")
    if options.hosts and (reason := obstacle()):
        parser.error(f"--hosts: {reason}")
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        folder.mkdir(parents=True, exist_ok=True)
        what: dict[str, Any] = {"search": options.search, "prefix": options.prefix, "local": options.local}
        what |= {"hosts": options.hosts, "ranks": options.ranks}
        return chaos(folder.resolve(), kills=options.kills, seed=options.seed, **what)


if __name__ == "__main__":
    sys.exit(main())
