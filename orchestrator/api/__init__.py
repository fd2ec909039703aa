"""Studies as Python objects: what ``import orchestrator`` offers. Heavy packages are imported where they are needed."""
