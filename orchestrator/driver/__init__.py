"""Running the trials of a study on Ray Tune: resources, placement, concurrency, interruption. The room of ray."""
