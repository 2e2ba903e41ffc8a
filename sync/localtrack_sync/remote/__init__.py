"""The edge towards a server: addresses, credentials, TLS, connections, storages."""
