//! Authenticated, encrypted, framed channels over any byte stream.
