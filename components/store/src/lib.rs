//! The durable state of a node.
