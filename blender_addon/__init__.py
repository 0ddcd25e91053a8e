"""FlexTraj for Blender: drive a photo with an animated rig through point trajectories."""
