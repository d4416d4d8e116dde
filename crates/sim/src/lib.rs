//! A seeded world with virtual time and a bad network.
