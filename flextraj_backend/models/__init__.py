"""FlexTraj's two-stream injection on diffusers' image-to-video transformers."""

import os

# Importing diffusers' Wan pipeline makes transformers warn of the missing torchvision, which nothing here needs.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
