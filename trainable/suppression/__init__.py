"""DropClass: gate and block, schedules, sampling and losses. Importing the package imports no torch."""
