"""The daemon: delivers what is owed to all remotes of its stores, as it comes, until it is told to stop."""
