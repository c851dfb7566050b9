//! Client library for applications that talk to a node.
