"""The edge towards the disk: delivery state, locks, new files, and the books that are kept of both."""
