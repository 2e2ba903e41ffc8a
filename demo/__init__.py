"""The whole way in one command: train offline, replay to a real MLflow server twice, compare. `python -m demo`."""
