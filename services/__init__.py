"""What workers run: frames of images in, frames of images out. Never imports `clients`."""
