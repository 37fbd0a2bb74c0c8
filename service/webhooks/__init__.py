"""Messages to webhooks: stored in the transaction of the event, and sent until they arrive."""
