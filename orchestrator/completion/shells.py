"""Words -> a script for bash, zsh or fish."""

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from orchestrator.completion.words import Argument, Option, Words, words_of
from trainable.program import PROGRAM

_STUDIES = "studies"
"""Where studies lie unless ``--storage`` says otherwise."""

# zsh runs it too, where a local "path" would be PATH, and no program would be there
_BASH = """\
# bash completion of {program}:  eval "$({program} --print-completion bash)"
_{program}() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} at="" value="" option="" rest=0 place=0 storage={studies} word index
    for ((index = 1; index < COMP_CWORD; index++)); do
        word=${{COMP_WORDS[index]}}
        if [[ $word == = ]]; then continue; fi
        if [[ -n $value ]]; then
            if [[ $option == --storage ]]; then storage=$word; fi
            rest=$((rest - 1))
            if ((rest < 1)); then value=""; fi
            continue
        fi
        case "$at $word" in
{commands}
            *" -"*)
                option=$word rest=1
                case "$at $word" in
{values}
                esac ;;
            *) place=$((place + 1)) ;;
        esac
    done
    if [[ $cur == = ]]; then cur=""; fi
    if [[ -z $value ]]; then
        if [[ $cur == -* ]]; then
            case "$at" in
{options}
            esac
        else
            case "$at $place" in
{places}
            esac
        fi
    fi
    COMPREPLY=()
    case "$value" in
        "" | other) ;;
        file)
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$cur") ;;
        folder)
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -d -- "$cur") ;;
        *)
            if [[ $value == study ]]; then
                value=$(command ls -p -- "$storage" 2>/dev/null | sed -n 's|/$||p')
            fi
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "${{value#words }}" -- "$cur") ;;
    esac
}}
complete -F _{program} {program}"""
_ZSH = """\
# zsh completion of {program}:  eval "$({program} --print-completion zsh)"
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -u; }}
autoload -Uz bashcompinit && bashcompinit
{bash}"""


Commands: TypeAlias = Sequence[tuple[str, str, argparse.ArgumentParser]]


def script(shell: str, parsers: Commands, own: Sequence[Sequence[str]]) -> str:
    """The script of a shell.

    Args:
        shell: One of ``SHELLS``.
        parsers: Name, line and parser of each command.
        own: Names and lines of the program's own options.
    """
    shells = Argument("other", tuple(SHELLS))
    options = tuple(Option((name,), line, shells if "completion" in name else None) for name, line in own)
    commands = tuple(words_of(parser, (name,), line) for name, line, parser in parsers)
    return SHELLS[shell](Words((), "", options, (), commands))


def _bash(root: Words) -> str:
    every = list(root.all())
    commands = [
        f'            "{_path(parent)} {command.path[-1]}") at="{_path(command)}"; place=0 ;;'
        for parent in every
        for command in parent.commands
    ]
    return _BASH.format(
        program=PROGRAM,
        studies=_STUDIES,
        commands="\n".join(commands),
        values="\n".join(line for words in every for line in _bash_values(words)),
        options="\n".join(f'                "{_path(words)}") value="words {_names(words)}" ;;' for words in every),
        places="\n".join(line for words in every for line in _bash_places(words)),
    )


def _bash_values(words: Words) -> Iterator[str]:
    for option in words.options:
        if option.value is not None:
            pattern = "|".join(f'"{_path(words)} {name}"' for name in option.names)
            rest = f" rest={option.value.count}" if option.value.count > 1 else ""
            yield f"                    {pattern}) value={shlex.quote(_bash_value(option.value))}{rest} ;;"


def _bash_places(words: Words) -> Iterator[str]:
    if words.commands:
        yield f'                "{_path(words)} 0") value="words {" ".join(c.path[-1] for c in words.commands)}" ;;'
    for place, argument in enumerate(words.arguments):
        pattern = f'"{_path(words)} "*' if argument.repeated else f'"{_path(words)} {place}"'
        yield f"                {pattern}) value={shlex.quote(_bash_value(argument))} ;;"


def _bash_value(argument: Argument) -> str:
    return f"words {' '.join(argument.choices)}" if argument.choices else argument.kind


def _path(words: Words) -> str:
    return "/".join(words.path)


def _names(words: Words) -> str:
    return " ".join(name for option in words.options for name in option.names)


def _zsh(root: Words) -> str:
    return _ZSH.format(program=PROGRAM, bash=_bash(root).partition("\n")[2])


def _fish(root: Words) -> str:
    head = f"# fish completion of {PROGRAM}:  {PROGRAM} --print-completion fish | source\ncomplete -c {PROGRAM} -f"
    return "\n".join([head, *(line for words in root.all() for line in _fish_lines(words))])


def _fish_lines(words: Words) -> Iterator[str]:
    names = " ".join(command.path[-1] for command in words.commands)
    seen = [f"__fish_seen_subcommand_from {name}" for name in words.path]
    inside = "; and ".join([*seen, *([f"not __fish_seen_subcommand_from {names}"] if names else [])])
    start = f"complete -c {PROGRAM} -n {shlex.quote(inside or 'true')}"
    for command in words.commands:
        yield f"{start} -a {command.path[-1]} -d {shlex.quote(command.line)}"
    for option in words.options:
        flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
        value = "" if option.value is None else f" -x{_fish_value(option.value)}"
        yield f"{start} {flags} -d {shlex.quote(option.line)}{value}"
    for argument in words.arguments:
        if value := _fish_value(argument):
            yield f"{start}{value}"


def _fish_value(argument: Argument) -> str:
    if argument.choices:
        return f" -a {shlex.quote(' '.join(argument.choices))}"
    commands = {
        "file": "(__fish_complete_path (commandline -ct))",
        "folder": "(__fish_complete_directories (commandline -ct))",
        "study": f"(for each in {_STUDIES}/*/; basename $each; end)",
        "other": "",
    }
    return f" -a {shlex.quote(commands[argument.kind])}" if commands[argument.kind] else ""


SHELLS: Mapping[str, Callable[[Words], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""What writes the script of each shell."""
