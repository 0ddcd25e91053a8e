"""The reproduction study: what each of the method's parts is good for, measured on held-out clips."""
