//! Reports a node's capacities to an index server and asks it for routes.
