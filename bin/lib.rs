//! The programs of Offset, one module each, and what they share.
