"""Images of a wire chamber: geometry, files, frames, pictures, a toy detector. No sockets."""
