"""Pure NumPy core of the add-on: no bpy, so that the backend, the tests and Blender run the same code."""
