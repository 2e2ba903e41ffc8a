"""Replay of localtrack journals to an MLflow server or Databricks, exactly once."""
