"""The jobs that bring runs, logged models and experiments to a remote. Pure."""
