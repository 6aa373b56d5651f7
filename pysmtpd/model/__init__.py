"""Values. Nothing here has an effect, and nothing here imports a room."""
