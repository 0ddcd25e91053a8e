"""The sampled shot in the viewport: points in ID colours, their paths, and the conditioning videos."""
