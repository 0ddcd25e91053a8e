"""FlexTraj on diffusers' image-to-video models: the engines `cogvideox` and `wan`."""
