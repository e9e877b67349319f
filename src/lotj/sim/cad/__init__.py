"""Connectors from CAD: two meshes become the features of a connector file."""
