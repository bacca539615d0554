"""The protocols, without I/O: what messages mean, what may follow what, what is refused."""
