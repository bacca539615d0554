"""The model store: which files are published, which of them are here, and how they come here.

`published` is the list, `store` the folders on this machine, `source` and `download` bring files
into them. A daemon needs the first two only, and loads no HTTP client for it.
"""
