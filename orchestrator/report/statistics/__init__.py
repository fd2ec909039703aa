"""Statistics of paired comparisons: intervals, exact sign flips, effects of factors, power. Pure numpy and scipy."""
