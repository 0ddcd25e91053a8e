"""FlexTraj backend: conditioning videos, engines and the local server. Runs in its own environment."""
