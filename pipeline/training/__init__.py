"""From an experiment to a run folder, by ignite engines."""
