"""A job's life: admitted, queued, claimed under a lease, moved from state to state, listed."""
