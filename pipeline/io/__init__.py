"""Files to volumes and back, in millimetres. Knows nothing of learning."""
