//! Connections and listeners over real sockets and pipes in memory.

#[cfg(test)]
mod connections;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod purposes;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod support;
