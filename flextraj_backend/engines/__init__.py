"""Engines: one interface (`base`), one folder or file each, looked up by name in `registry`."""
