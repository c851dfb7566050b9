//! Dialling and listening: typed connections with limits, backoff and keepalive.
