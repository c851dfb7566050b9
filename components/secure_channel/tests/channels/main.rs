//! Channels from outside: who gets one, what breaks one, what strangers see.

#[cfg(test)]
mod frames;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod pipe;
#[cfg(test)]
mod python;
#[cfg(test)]
mod strangers;
