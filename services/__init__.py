"""The services that workers run: image frames in, image frames out. Never imports `clients`."""
