//! Connections and listeners over real sockets and pipes in memory.

#[cfg(test)]
mod connections;
#[cfg(test)]
mod support;
