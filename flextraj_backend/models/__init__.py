"""FlexTraj's two-stream injection on diffusers' image-to-video transformers."""
