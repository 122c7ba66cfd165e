"""The only place that imports mlflow."""
