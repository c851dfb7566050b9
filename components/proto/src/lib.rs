//! Messages, canonical bytes and file formats as typed, checked values.
