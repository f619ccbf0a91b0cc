"""What the node answers as an archive: attributes, metadata, frames and pictures of its objects."""
