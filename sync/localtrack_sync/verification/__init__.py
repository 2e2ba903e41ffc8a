"""The jobs that read a remote back and say in what it differs from the store. Pure."""
