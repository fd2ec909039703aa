"""What can be wrong with a study file beyond a single value: trials, combinations, stages, factors."""
