//! The graph of credit lines, its federation and the search for routes.
