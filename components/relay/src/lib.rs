//! A meeting point for nodes: circuits between two of its clients.
