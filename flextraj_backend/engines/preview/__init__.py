"""`preview`: a draft of the photo itself moving, without weights (see `engine.py`)."""
