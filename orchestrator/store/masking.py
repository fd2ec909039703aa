"""The one door to tables, pages and MLflow: values of environment variables are shown as the study file names them."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from pydantic import JsonValue

from orchestrator.store.flat_config import flatten
from orchestrator.store.stage_plan import Arm, StagePlan
from orchestrator.store.trial_record import Planned, Record
from orchestrator.studyfile.environment import literal
from trainable.configfile.environment import SHORTEST_SECRET
from trainable.configfile.node import JsonObject
from trainable.configfile.trees import read_tree, write_yaml
from trainable.parts.section import short_name

_BASELINE = "ablation.baseline."


def shown(record: Record, from_env: Mapping[str, str]) -> Record:
    """A trial as it may be shown: its settings as written, its reason and its picks without their values.

    Args:
        record: The trial. Hashes and fingerprints are those of the trial itself, never of what is shown.
        from_env: Dotted paths of settings whose values came from ``${NAME}``, with the text as written.
    """
    if not from_env:
        return record
    config, picks = record.planned.config, record.planned.picks
    if picks:  # names may hold labels of options
        texts = {name: shown_text(pick, config, from_env) for name, pick in picks.items() if isinstance(pick, str)}
        picks = {
            shown_text(n, config, from_env): texts.get(n, pick)
            if (text := _text_of(n, pick, from_env)) is None
            else text
            for n, pick in picks.items()
        }
    planned = replace(record.planned, config=shown_config(config, from_env), picks=picks)
    return replace(record, planned=planned, reason=record.reason and shown_text(record.reason, config, from_env))


def from_env_of(planned: Planned, from_env: Mapping[str, str], plan: StagePlan | None) -> Mapping[str, str]:
    """What names environment variables in a trial: in a run of an ablation, what its arm sets in place of the rest.

    Args:
        planned: The trial.
        from_env: Settings of the study that name environment variables, as written, by dotted path.
        plan: Of the stage that the trial is a run of, if any.
    """
    arm = next((arm for arm in plan.arms if arm.name == planned.arm), None) if plan else None
    if plan is None or arm is None or stage_of(planned) != "ablation":
        return from_env
    own = _of_baseline(from_env)
    for path, level in arm.levels.items():
        own = {name: text for name, text in own.items() if not _is_of(name, path)}
        own |= dict(_written(path, level, _shown_level(plan, arm, path, from_env)))
    return own


def _is_of(name: str, path: str) -> bool:
    """Whether an entry is of a setting, or of one below it."""
    return name == path or name.startswith((f"{path}.", f"{path}="))


def stage_of(planned: Planned) -> str:
    """The stage whose plan says what names environment variables in a trial: a prefix has the settings of an arm."""
    return "ablation" if planned.kind == "prefix" else planned.kind


def shown_plan(plan: StagePlan, from_env: Mapping[str, str]) -> StagePlan:
    """A comparison as it may be shown: levels that came from the environment as written."""
    if not from_env:
        return plan
    arms = tuple(
        replace(arm, levels={path: _shown_level(plan, arm, path, from_env) for path in arm.levels}) for arm in plan.arms
    )
    target = {path: plan.shown_level(path, level) for path, level in plan.target.items()}
    env = _of_baseline(from_env)
    trials = {"": dict(plan.base)} if plan.stage == "ablation" else plan.base
    bases = {name: shown_config(tree, env) for name, tree in trials.items() if isinstance(tree, dict)}
    base = bases.get("", bases)
    return replace(plan, arms=arms, factors={**plan.factors, **plan.shown}, target=target, base=base)


def _of_baseline(from_env: Mapping[str, str]) -> dict[str, str]:
    """What names environment variables in the trial that the arms change."""
    own = {name: text for name, text in from_env.items() if not name.startswith("ablation.")}
    return own | {n.removeprefix(_BASELINE): text for n, text in from_env.items() if n.startswith(_BASELINE)}


def _shown_level(plan: StagePlan, arm: Arm, path: str, from_env: Mapping[str, str]) -> JsonValue:
    """A level of an arm as the file writes it: of a factor, of a named arm, or what a search picked."""
    if path in plan.shown:
        return plan.shown_level(path, arm.levels[path])
    if plan.stage == "confirm":
        return from_env.get(path, arm.levels[path])
    name = f"ablation.arms.{arm.name}"
    if path == "preset" and name in from_env:
        return from_env[name]
    return shown_config({path: arm.levels[path]}, from_env, f"{name}.")[path]


def _written(path: str, level: JsonValue, text: JsonValue) -> Iterator[tuple[str, str]]:
    """The settings of a level that name environment variables, by dotted path."""
    if isinstance(level, dict) and isinstance(text, dict):
        for key in level:
            yield from _written(f"{path}.{key}", level[key], text.get(key))
    elif text != level:
        yield path, text if isinstance(text, str) else json.dumps(text)


def shown_config(tree: Mapping[str, JsonValue], from_env: Mapping[str, str], prefix: str = "") -> JsonObject:
    """A copy of a configuration, or of a study, with the settings that came from the environment as written."""
    return {name: _shown_value(value, from_env, f"{prefix}{name}") for name, value in tree.items()}


def _shown_value(value: JsonValue, from_env: Mapping[str, str], path: str) -> JsonValue:
    if not isinstance(value, dict):
        return value if (text := _text_of(path, value, from_env)) is None else text
    text = _text_of(path, value["name"], from_env) if "name" in value else None
    if text is None:
        return shown_config(value, from_env, f"{path}.")
    # the file wrote a name alone: the other settings are defaults of what is hidden, and would tell it
    return {"name": " | ".join(dict.fromkeys([text, from_env.get(f"{path}.name", text)]))}


def _text_of(path: str, value: object, from_env: Mapping[str, str]) -> str | None:
    """What a value is shown as; None where it is shown as it is."""
    return None if literal(path, value) in from_env else from_env.get(path)


def shown_best(text: str, from_env: Mapping[str, str]) -> str:
    """``best.yaml`` as it may be shown; YAML may write a value otherwise than it is, so the tree is masked.

    Raises:
        ConfigError: it is no configuration.
    """
    config = read_tree(text)
    head = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    return shown_text(head, config, from_env) + write_yaml(shown_config(config, from_env))


def shown_text(text: str, config: JsonObject, from_env: Mapping[str, str]) -> str:
    """A reason, a log or a file about a trial of this configuration, each value replaced by what the file says."""
    secrets = list(_secrets(flatten(config), from_env))
    for value, written in sorted(secrets, key=lambda secret: -len(secret[0])):  # one may hold another
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, written)
    return text


def _secrets(settings: Mapping[str, object], from_env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Values of variables in a configuration with what the file says, a class of the user's own by its name too."""
    for name in from_env:
        value = settings.get(name, settings.get(f"{name}.name"))
        written = _text_of(name, value, from_env)
        if isinstance(value, str) and written is not None:
            yield from dict.fromkeys([(value, written), (short_name(value), written)])
