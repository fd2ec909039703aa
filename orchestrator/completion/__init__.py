"""What completes commands in a shell, made from the parsers of the commands. A script asks nobody: it is fast."""

from orchestrator.completion.shells import SHELLS, script

__all__ = ["SHELLS", "script"]
