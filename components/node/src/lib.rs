//! A node: wires the funder, the store, friend sessions, index client and app server.
