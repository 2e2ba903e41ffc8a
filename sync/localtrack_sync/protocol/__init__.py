"""The words of the replay, as values: requests, outcomes, verdicts, records of the delivery state, limits. Pure."""
