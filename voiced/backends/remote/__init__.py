"""Being remote: one way to ask a provider, with its key, its limits, retries and a circuit."""
