"""FlexTraj's two-stream injection on diffusers' image-to-video transformers."""

import os

# With diffusers' Wan pipeline, transformers warns that torchvision is missing, which nothing here needs.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
