"""The `mini` engine: a small model that runs on a processor and shows what the control does."""
