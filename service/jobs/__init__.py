"""The life cycle of jobs: admission, queue, leases, states, lists."""
