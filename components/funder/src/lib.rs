//! The pure core: mutual credit, token channels, payments and invoices.
